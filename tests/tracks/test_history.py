"""Histories: a track looks the same wherever it is; who is whose successor; what is true; training goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drive.boxes.detections import write_detections
from drive.errors import UserError
from drive.experiment import Experiment
from drive.tracks.history import describe, describe_alone, extrapolate, nearby, observe
from drive.tracks.history_augment import NO_HISTORY_AUGMENT, HistoryAugment, mirrored_boxes, worsen
from drive.tracks.history_data import TrackDataset, log_histories
from drive.tracks.history_samples import Histories, join_histories
from drive.tracks.history_steps import COLUMNS, EGO_X, VELOCITY_VALID, arcsinhs, logs, traits
from drive.tracks.history_truth import motion
from drive.tracks.track import FrameDetections
from tests.tracks.stt_world import HISTORY, experiment, write_world
from tests.tracks.track_world import seen


def random_tracks(n: int = 6, t: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations [n, t, 17], times and which are there."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 3, (n, t, COLUMNS))
    values[..., 3:6] = rng.uniform(1, 4, (n, t, 3))
    values[..., VELOCITY_VALID] = rng.random((n, t)) < 0.5
    valid = np.arange(t) < rng.integers(1, t + 1, n)[:, None]
    return values, np.broadcast_to(-0.1 * np.arange(1, t + 1), (n, t)) * valid, valid


def moved(values: np.ndarray, angle: float, shift: tuple[float, float]) -> np.ndarray:
    """The same world, turned and then shifted, with the ego in it."""
    out = values.copy()
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for first in (0, EGO_X):
        out[..., first : first + 2] = out[..., first : first + 2] @ turn.T + shift
    out[..., 7:9] = out[..., 7:9] @ turn.T
    out[..., [6, EGO_X + 3]] += angle
    return out


def test_a_track_looks_the_same_everywhere() -> None:
    values, times, valid = random_tracks()
    labels, none = np.array([0, 1, 0, 1, 0, 1]), np.zeros((6, 4, 0), np.float32)

    def look(world: np.ndarray) -> np.ndarray:
        anchors = extrapolate(world, times, valid, HISTORY)
        return describe(world, times, anchors, world[:, 0], valid.sum(axis=1), labels, none, HISTORY)

    np.testing.assert_allclose(look(values), look(moved(values, 2.0, (300.0, -40.0))), atol=2e-4)
    assert np.abs(look(values) - look(values[::-1])).max() > 0.1  # and it is not the same for all


def test_extrapolation_of_uniform_motion() -> None:
    times = -0.1 * np.arange(1, 5)[None]
    values = np.zeros((1, 4, COLUMNS))
    values[0, :, 0], values[0, :, 1] = 5 + 8.0 * times[0], 2 - 3.0 * times[0]
    box = extrapolate(values, times, np.ones((1, 4), bool), replace(HISTORY, fit_prior_s2=0.0))
    np.testing.assert_allclose(box[0, :2], [5, 2], atol=1e-9)
    np.testing.assert_allclose(box[0, 7:], [8, -3], atol=1e-9)
    far = extrapolate(values, times - 5.0, np.ones((1, 4), bool), replace(HISTORY, fit_prior_s2=0.0))
    np.testing.assert_allclose(far[0, 0], 5 - 0.8 + 8.0 * HISTORY.horizon_s, atol=1e-9)  # not further than the horizon


def test_extrapolation_of_one_observation() -> None:
    values = np.zeros((2, 4, COLUMNS))
    values[:, 0, 7], values[1, 0, VELOCITY_VALID] = 4.0, 1.0
    valid = np.zeros((2, 4), bool)
    valid[:, 0] = True
    box = extrapolate(values, np.full((2, 4), -0.5) * valid, valid, HISTORY)
    np.testing.assert_allclose(box[:, 0], [0.0, 2.0])  # only a measured velocity moves it
    np.testing.assert_allclose(box[:, 7], [0.0, 4.0])


def test_nearby_against_all_pairs() -> None:
    rng = np.random.default_rng(1)
    anchors, boxes = rng.uniform(-6, 6, (9, 9)), rng.uniform(-6, 6, (30, 9))
    labels, others = rng.integers(0, 2, 9), rng.integers(0, 2, 30)
    found = nearby(anchors, labels, boxes, others, HISTORY)
    for i in range(9):
        far = np.hypot(*(boxes[:, :2] - anchors[i, :2]).T)
        expected = [j for j in np.argsort(far) if others[j] == labels[i] and far[j] <= HISTORY.gate_m[labels[i]]]
        assert found[i][found[i] >= 0].tolist() == expected[: HISTORY.candidates]
    assert nearby(anchors[:0], labels[:0], boxes, others, HISTORY).shape == (0, 0)
    assert nearby(anchors, labels, boxes[:0], others[:0], HISTORY).shape == (9, 0)


@pytest.mark.parametrize("most", [1, 3, 16])
def test_nearby_of_equal_distance(most: int) -> None:
    """On a grid many detections are equally far: the first of them comes first, also where the last is cut off."""
    rng = np.random.default_rng(most)
    anchors, boxes = np.zeros((20, 9)), np.zeros((60, 9))
    anchors[:, :2], boxes[:, :2] = rng.integers(-6, 7, (20, 2)), rng.integers(-6, 7, (60, 2))
    labels, others = rng.integers(0, 2, 20), rng.integers(0, 2, 60)
    found = nearby(anchors, labels, boxes, others, replace(HISTORY, candidates=most))
    for i in range(20):
        far = np.hypot(*(boxes[:, :2] - anchors[i, :2]).T)
        order = np.argsort(far, kind="stable")
        expected = [j for j in order if others[j] == labels[i] and far[j] <= HISTORY.gate_m[labels[i]]]
        assert found[i][found[i] >= 0].tolist() == expected[:most]


def test_rivals_are_surer_ones_of_the_class_and_frame() -> None:
    """0.5 beside 0.9: one rival at 1 m. The pedestrian there is none, nor is what another frame shows."""
    one = seen(0, [(0.0, 0.0), (1.0, 0.0), (0.0, 0.5)], labels=[0, 0, 1], scores=[0.5, 0.9, 0.95])
    two = seen(1, [(0.1, 0.0)], scores=[0.99])
    rows = observe([one, two], HISTORY)
    np.testing.assert_allclose(rows[:, 15], [0.25, 1, 1, 1])
    np.testing.assert_allclose(rows[0, 16], np.log(9.0) / 4)
    np.testing.assert_allclose(rows[1:, 16], 0.0)
    np.testing.assert_allclose(rows[0, 10], 0.0, atol=1e-12)  # logit of 0.5
    assert observe([FrameDetections.empty(1)], HISTORY).shape == (0, COLUMNS)


def test_features_of_nothing() -> None:
    none = np.zeros((0, COLUMNS))
    given = none, traits(none), np.zeros(0, np.int64), np.zeros((0, 0), np.float32), HISTORY
    assert describe_alone(*given).shape == (0, HISTORY.channels)


def test_logarithms_in_bulk() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([10.0 ** rng.uniform(-6, 10, 2000), [1.0, 2.0, np.sqrt(2.0), np.nextafter(1.0, 0.0)]])
    found = x.copy()
    logs(found)
    np.testing.assert_allclose(found, np.log(x), rtol=1e-12, atol=1e-15)
    both = np.concatenate([x, -x, [0.0]])
    np.testing.assert_allclose(arcsinhs(both), np.arcsinh(both), rtol=1e-12, atol=1e-12)


def test_motion_of_a_parabola() -> None:
    """Two objects whose rows are mixed; a gap of a second; the ends of a track are not known."""
    seconds = np.tile(np.arange(12) * 0.5, 2)
    tracks = np.repeat([7, 3], 12)
    places = np.stack([1 + 2 * seconds + 0.75 * seconds**2, np.where(tracks == 7, -seconds, 5.0)], axis=1)
    order = np.argsort(seconds, kind="stable")
    velocity, acceleration, valid = motion(places[order], seconds[order], tracks[order], 0.55)
    inside = (seconds[order] > 0) & (seconds[order] < 5.5)
    assert valid.tolist() == inside.tolist()
    np.testing.assert_allclose(velocity[inside, 0], (2 + 1.5 * seconds[order])[inside], atol=1e-9)
    np.testing.assert_allclose(velocity[inside, 1], np.where(tracks[order] == 7, -1.0, 0.0)[inside], atol=1e-9)
    np.testing.assert_allclose(acceleration[inside], np.tile([1.5, 0.0], (inside.sum(), 1)), atol=1e-9)
    assert not velocity[~inside].any()
    gone = np.delete(np.arange(12), 5)
    _, _, valid = motion(places[:12][gone], seconds[:12][gone], tracks[:12][gone], 0.55)
    assert valid.tolist() == [False, True, True, True, False, False, True, True, True, True, False]
    assert motion(np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64), 0.55)[2].shape == (0,)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, Histories]:
    made = experiment(tmp_path_factory.mktemp("world"))
    return made, log_histories(made.data, [Path(made.data.train_logs[0])], HISTORY)[0]  # type: ignore[arg-type]


def test_chains_follow_objects(built: tuple[Experiment, Histories]) -> None:
    _, all_ = built
    truth, linked = all_.truth, np.flatnonzero(all_.previous >= 0)
    before = all_.previous[linked]
    assert (all_.frames[before] < all_.frames[linked]).all()
    real = all_.shown[linked] >= 0
    assert (real == (all_.shown[before] >= 0)).all()
    assert (truth.tracks[all_.shown[linked][real]] == truth.tracks[all_.shown[before][real]]).all()
    assert (all_.frames[linked][~real] - all_.frames[before][~real] == 1).all()
    assert len(np.unique(before)) == len(before)  # nobody has two successors
    # Every detection of an object is shown it: 30 frames of 9 objects, one in eight missed.
    assert 0.8 < (all_.shown >= 0).sum() / (30 * 9) < 0.95
    van = truth.labels[all_.shown[all_.shown >= 0]] < 0
    assert van.sum() > 20


def test_rows_of_a_track(built: tuple[Experiment, Histories]) -> None:
    """Every step of a chain is one row with its target; frames without a detection, and after the end, have none."""
    _, all_ = built
    assert (np.diff(all_.frame) >= 0).all()
    hit = all_.target >= 0
    assert (all_.previous[all_.target[hit]] == all_.newest[hit]).all()
    assert hit.sum() == (all_.previous >= 0).sum()
    assert (all_.frames[all_.target[hit]] == all_.frame[hit]).all()
    age = all_.stamps_ns[all_.frame] - all_.stamps_ns[all_.frames[all_.newest]]
    real = all_.shown[all_.newest] >= 0
    assert age[real].max() <= 0.6e9
    assert age[~real].max() <= 0.2e9
    key = np.stack([all_.newest, all_.frame])
    assert np.unique(key, axis=1).shape[1] == key.shape[1]
    there = all_.object >= 0
    assert (all_.truth.tracks[all_.object[there]] == all_.truth.tracks[all_.shown[all_.newest[there]]]).all()
    assert (there[real]).mean() > 0.95  # objects of this world are there to the end


def test_targets_agree_with_the_world(built: tuple[Experiment, Histories]) -> None:
    """Cars and pedestrians move uniformly: no acceleration, and the velocity of the truth."""
    made, all_ = built
    batch_of = TrackDataset(all_, HISTORY, made.data, 0, ["world"])  # type: ignore[arg-type]
    batch = batch_of.collate([batch_of.plain(k) for k in range(len(batch_of))])
    assert len(batch.match) == len(all_.newest)
    assert (batch.match > 0).sum() == (all_.target >= 0).sum()  # every target lies within its gate
    known = batch.state_valid[:, 1]
    assert known.float().mean() > 0.5
    assert batch.state[known][:, 2:].abs().max() < 1e-6
    # A far-back history leads nearly to the right place with nearly the right speed.
    long = known & (batch.history_valid.sum(dim=1) == HISTORY.length)
    assert batch.state[long][:, :2].abs().mean() < 1.0
    matched = (batch.match > 0) & batch.box_valid
    assert batch.box[matched][:, :3].abs().mean() < 0.1  # the detector's noise is 5 cm
    assert batch.exists[matched].mean() > 0.9
    van = all_.truth.labels[np.where(all_.object >= 0, all_.object, 0)] < 0
    assert (batch.exists_weight.numpy()[van & (all_.object >= 0)] == 0).all()
    assert batch.born[batch.born_weight > 0].mean() > 0.4


def test_mirrored_samples_are_the_mirrored_world(built: tuple[Experiment, Histories]) -> None:
    made, all_ = built
    data = replace(made.data, augment=replace(NO_HISTORY_AUGMENT, mirror=1.0))
    dataset = TrackDataset(all_, HISTORY, data, 0, ["world"])  # type: ignore[arg-type]
    plain, mirrored = dataset.plain(1), dataset.item(1)
    np.testing.assert_array_equal(plain["match"], mirrored["match"])
    np.testing.assert_allclose(mirrored["state"], plain["state"] * [1, -1, 1, -1], atol=1e-5)
    np.testing.assert_allclose(mirrored["box"], plain["box"] * [1, -1, 1, 1, 1, 1, -1], atol=1e-5)
    odd = np.abs(plain["history"] - mirrored["history"]).max(axis=(0, 1)) > 1e-4
    assert set(np.flatnonzero(odd)) <= {1, 4, 11, 14, 18, 20}  # sideways offsets, speeds and the sines of angles
    assert odd[1]
    np.testing.assert_array_equal(mirrored_boxes(mirrored_boxes(all_.truth.boxes)), all_.truth.boxes)


def test_worse_histories(built: tuple[Experiment, Histories]) -> None:
    _, all_ = built
    rng = np.random.default_rng(0)
    rows = np.tile(np.arange(4)[None], (500, 1))
    near = np.full(len(all_.values), 2.0)
    kept = worsen(rows, np.ones((500, 4), bool), all_, near, replace(NO_HISTORY_AUGMENT, drop=(0.5, 0.5)), rng)[1]
    assert kept[:, 0].all()  # somebody is always left, and the valid ones come first
    assert (np.diff(kept.astype(int), axis=1) <= 0).all()
    assert 0.45 < kept.mean() < 0.6
    short = worsen(rows, np.ones((500, 4), bool), all_, near, replace(NO_HISTORY_AUGMENT, truncate=1.0), rng)
    assert set(short[1].sum(axis=1).tolist()) == {1, 2, 3, 4}
    np.testing.assert_array_equal(short[0], rows)
    same = worsen(rows, np.ones((500, 4), bool), all_, near, NO_HISTORY_AUGMENT, rng)
    np.testing.assert_array_equal(same[0], rows)
    wide = worsen(rows, np.ones((500, 4), bool), all_, near * 50, replace(NO_HISTORY_AUGMENT, swap=0.2), rng)[0]
    changed = wide != rows
    assert changed.mean() > 0.1
    assert (all_.frames[wide] == all_.frames[rows]).all()
    assert (all_.labels[wide] == all_.labels[rows]).all()


def test_samples_repeat_and_differ(built: tuple[Experiment, Histories]) -> None:
    made, all_ = built
    dataset = TrackDataset(all_, HISTORY, made.data, 0, ["world"])  # type: ignore[arg-type]
    one, again, later = dataset.item(2, 1), dataset.item(2, 1), dataset.item(2, 2)
    assert all(np.array_equal(one[k], again[k]) for k in one)
    assert not np.array_equal(one["history"], later["history"])
    assert dataset.presence().all(axis=1).sum() == len(dataset)
    assert HistoryAugment() != NO_HISTORY_AUGMENT


def test_logs_stay_apart(built: tuple[Experiment, Histories], tmp_path: Path) -> None:
    made, one = built
    both = join_histories([one, one])
    assert len(both.newest) == 2 * len(one.newest)
    second = both.newest[len(one.newest) :]
    assert (second >= len(one.values)).all()
    dataset = TrackDataset(both, HISTORY, made.data, 0, ["a", "b"])  # type: ignore[arg-type]
    half = len(dataset) // 2
    first, copy = dataset.plain(1), dataset.plain(half + 1)
    assert all(np.array_equal(first[k], copy[k]) for k in first if k != "frames")
    assert dataset.collate([copy]).frame_ids == ["b/5-9"]


@pytest.mark.parametrize("what", ["nothing found", "nothing labelled", "nothing at all"])
def test_logs_of_nothing(tmp_path: Path, what: str) -> None:
    """No detection, no label, or neither: samples without tracks, or an error that says so."""
    log, found = write_world(tmp_path, frames=6)
    made = experiment(tmp_path / "other", frames=6)
    if what != "nothing labelled":
        empty = np.zeros(len(found.offsets), np.int64)
        found = replace(
            found, offsets=empty, boxes=found.boxes[:0], scores=found.scores[:0], labels=found.labels[:0],
            velocity_valid=found.velocity_valid[:0], features=found.features[:0],
        )  # fmt: skip
    write_detections(tmp_path / "found.arrow", found)
    truth = made.data.truth  # type: ignore[union-attr]
    if what != "nothing found":
        truth = replace(truth, class_map=replace(truth.class_map, from_source={}))
    data = replace(made.data, truth=truth, train_detections=(str(tmp_path / "found.arrow"),))  # type: ignore[arg-type]
    if what == "nothing labelled":
        dataset = TrackDataset.of(data, [log], HISTORY, 0)  # type: ignore[arg-type]
        batch = dataset.collate([dataset.item(0)])
        assert not batch.exists.any()
        assert not batch.born.any()
    else:
        with pytest.raises(UserError, match="no detection has a successor"):
            TrackDataset.of(data, [log], HISTORY, 0)  # type: ignore[arg-type]


def test_detections_that_are_not_named_or_not_there(tmp_path: Path) -> None:
    made = experiment(tmp_path, frames=4)
    log = [Path(made.data.train_logs[0])]  # type: ignore[union-attr]
    with pytest.raises(UserError, match="names no file"):
        log_histories(replace(made.data, train_detections=()), log, HISTORY)  # type: ignore[arg-type]
    other, _ = write_world(tmp_path, "another", frames=4)
    with pytest.raises(UserError, match="no frame of this log"):
        log_histories(made.data, [other], HISTORY)  # type: ignore[arg-type]


def test_what_the_detector_saw_at_its_boxes(tmp_path: Path) -> None:
    """Features stand behind the measured columns; a frame without detections has none; too few are refused."""
    log, found = write_world(tmp_path, frames=8)
    first = found.offsets[3] - found.offsets[2]
    offsets = np.concatenate([found.offsets[:3], found.offsets[3:] - first])  # frame 2 is empty
    kept = np.r_[0 : found.offsets[2], found.offsets[3] : len(found.scores)]
    features = np.random.default_rng(0).normal(0, 1, (len(kept), 3)).astype(np.float32)
    found = replace(
        found, offsets=offsets, boxes=found.boxes[kept], scores=found.scores[kept], labels=found.labels[kept],
        velocity_valid=found.velocity_valid[kept], features=features,
    )  # fmt: skip
    write_detections(tmp_path / "found.arrow", found)
    made = experiment(tmp_path / "other", frames=4)
    looking = replace(HISTORY, appearance=3)
    data = replace(made.data, train_detections=(str(tmp_path / "found.arrow"),), frames_per_sample=1)  # type: ignore[arg-type]
    dataset = TrackDataset.of(data, [log], looking, 0)  # type: ignore[arg-type]
    batch = dataset.collate([dataset.plain(k) for k in range(len(dataset))])
    np.testing.assert_array_equal(batch.alone[:, -3:].numpy(), dataset.histories.features)
    assert dataset.plain(2)["alone"].shape == (0, looking.channels)
    assert len(dataset.plain(2)["match"]) > 5
    with pytest.raises(UserError, match="carry 3 features, the recipe asks for 4"):
        TrackDataset.of(data, [log], replace(HISTORY, appearance=4), 0)  # type: ignore[arg-type]
