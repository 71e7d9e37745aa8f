"""STT as a tracker: stopped and gone on with to the bit, matching as scipy finds it, rules of life, bad input."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from drive.errors import UserError
from drive.tracks.state_file import read_state, write_state
from drive.tracks.stt import Association, Estimate
from drive.tracks.stt_config import SttConfig, SttLife
from drive.tracks.stt_match import matched_choice
from drive.tracks.stt_state import SttState
from drive.tracks.stt_tracker import SttTracker, placed
from drive.tracks.track import FrameDetections, TrackedFrame
from tests.tracks.stt_world import HISTORY, NAMES, network, small
from tests.tracks.track_world import run, seen, street

OPEN = {"birth": 0.0, "report": 0.0, "report_new": 0.0, "report_unseen": 0.0, "forget": 0.0, "match": 0.05}


def tracker(**life: float) -> SttTracker:
    """Random weights; by default everything is born, reported and kept."""
    return SttTracker(network(small(**(OPEN | life))))


def same(one: Any, other: Any) -> bool:
    """Every field equal, to the bit."""
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


class Sure:
    """In place of the network: the nearest detection is the track's, everything exists, states are 0."""

    def __init__(self, config: SttConfig) -> None:
        self.config = config

    def cpu(self) -> Sure:
        return self

    def eval(self) -> Sure:
        return self

    def prepared(self) -> Sure:
        return self

    def associate(self, x: Any) -> Association:
        n, k = x.nearby_valid.shape
        logits = torch.cat([torch.zeros(n, 1), 10.0 - torch.arange(k).float().expand(n, k)], dim=1)
        there = torch.cat([torch.ones(n, 1, dtype=torch.bool), x.nearby_valid], dim=1)
        return Association(torch.zeros(n, 1), torch.zeros(n, 1 + k, 1), logits.masked_fill(~there, float("-inf")))

    def estimate(self, association: Association, choice: torch.Tensor) -> Estimate:
        n = len(choice)
        return Estimate(torch.zeros(n, 4), torch.zeros(n, 4), torch.full((n,), 2.0), torch.zeros(n, 7))

    def newborn(self, alone: torch.Tensor) -> torch.Tensor:
        return torch.full((len(alone),), 2.0)


def sure(**life: float) -> SttTracker:
    return SttTracker(Sure(replace(small(), life=SttLife(**life))))  # type: ignore[arg-type]


def test_stopped_and_gone_on_with_to_the_bit(tmp_path: Path) -> None:
    frames = street(24, classes=2)
    whole_state, whole = run(tracker(), frames)
    assert sum(len(frame) for frame in whole) > 100
    state, first = run(tracker(), frames[:11])
    write_state(tmp_path / "state", state)
    again = tracker()
    state = read_state(tmp_path / "state", again.start())
    rest = []
    for frame in frames[11:]:
        state, out = again.step(state, frame)
        rest.append(out)
    assert same(state, whole_state)
    assert all(same(a, b) for a, b in zip(whole, first + rest, strict=True))


def test_a_step_leaves_its_state_alone() -> None:
    state, _ = run(tracker(), street(8, classes=2))
    arrays = {f.name: np.copy(getattr(state, f.name)) for f in fields(state)}
    frame = street(9, seed=3, classes=2)[8]
    one, other = tracker().step(state, frame), tracker().step(state, frame)
    assert all(np.array_equal(arrays[f.name], getattr(state, f.name)) for f in fields(state))
    assert same(one[0], other[0])
    assert same(one[1], other[1])


def test_ids_name_one_object_and_what_is_reported_fits() -> None:
    _, out = run(tracker(), street(30, classes=2))
    label_of: dict[int, int] = {}
    for frame in out:
        assert len(set(frame.ids.tolist())) == len(frame)
        for number, label in zip(frame.ids.tolist(), frame.labels.tolist(), strict=True):
            assert label_of.setdefault(number, label) == label
        assert len(set(frame.detection[frame.matched].tolist())) == frame.matched.sum()  # no detection twice
        assert np.isfinite(frame.boxes).all()
        assert (np.abs(frame.boxes[:, 6]) <= np.pi).all()
        assert (frame.sigma[frame.sigma_valid] > 0).all()


def test_a_ring_keeps_the_last_observations() -> None:
    state, _ = run(sure(), [seen(k, [(1.0 * k, 0.0)]) for k in range(7)])
    rows, times = state.newest_first(700_000_000)
    values = state.values.reshape(4, -1)[rows]
    assert state.counts.tolist() == [7]
    assert values[0, :, 0].tolist() == [6, 5, 4, 3]  # four places
    np.testing.assert_allclose(np.diff(times[0]), -0.1)
    assert rows.min() >= 0
    assert state.ids.tolist() == [1]


def test_a_track_goes_on_through_a_gap_and_ends_after_it() -> None:
    frames = [seen(k, [(1.0 * k, 0.0)] if k < 5 else []) for k in range(9)]
    back = [seen(9, [(9.0, 0.0)])]
    _, out = run(sure(max_unseen_s=0.5), frames + back)
    assert [frame.ids.tolist() for frame in out] == [[1]] * 10
    assert [bool(frame.matched[0]) for frame in out] == [True] * 5 + [False] * 4 + [True]
    assert out[7].boxes[0, 0] == pytest.approx(7.0, abs=0.3)  # it moved on as before
    _, out = run(sure(max_unseen_s=0.25), frames + back)
    assert [frame.ids.tolist() for frame in out][5:] == [[1], [1], [1], [], [2]]


@pytest.mark.parametrize(
    ("life", "reported"),
    [
        ({"birth": 0.9}, 0),
        ({"report_new": 0.9}, 2),
        ({"report": 0.9}, 1),
        ({}, 3),
        ({"forget": 0.9, "report_new": 0.5}, 3),
    ],
)
def test_rules_of_birth_report_and_end(life: dict[str, float], reported: int) -> None:
    """Belief is sigmoid(2) = 0.88 everywhere; three frames of one object."""
    _, out = run(sure(**life), [seen(k, [(0.0, 0.0)]) for k in range(3)])
    assert sum(len(frame) for frame in out) == reported
    if "forget" in life:
        assert [frame.ids.tolist() for frame in out] == [[1], [2], [3]]


def test_states_come_back_in_the_fixed_frame() -> None:
    """A quarter turn to the left: forward is y, left is -x."""
    anchors = np.zeros((1, 9))
    anchors[0, 6:9] = np.pi / 2, 1.0, 2.0
    anchors[0, 3:6] = 4, 2, 1.5
    estimate = Estimate(
        torch.tensor([[3.0, 0.5, 0.2, 0.1]]), torch.log(torch.tensor([[4.0, 1.0, 9.0, 16.0]])), torch.zeros(1),
        torch.tensor([[0.4, 0.1, -0.2, 0.1, 0.0, 0.0, 0.3]]),
    )  # fmt: skip
    boxes, acceleration, sigma = placed(anchors, anchors, estimate, correct=True)
    np.testing.assert_allclose(boxes[0, 7:], [1.0 - 0.5, 2.0 + 3.0], atol=1e-6)
    np.testing.assert_allclose(acceleration, [[-0.1, 0.2]], atol=1e-6)
    np.testing.assert_allclose(sigma, [[1.0, 2.0, 4.0, 3.0]], rtol=1e-5)
    np.testing.assert_allclose(boxes[0, :3], [-0.1, 0.4, -0.2], atol=1e-6)
    np.testing.assert_allclose(boxes[0, 3:7], [4 * np.exp(0.1), 2, 1.5, np.pi / 2 + 0.3], rtol=1e-6)
    plain, *_ = placed(anchors, anchors, estimate, correct=False)
    np.testing.assert_array_equal(plain[0, :7], anchors[0, :7])


@pytest.mark.parametrize("seed", range(5))
def test_the_most_likely_matching(seed: int) -> None:
    """Against scipy over detections and a "no match" of each track's own."""
    rng = np.random.default_rng(seed)
    n, detections, k = 7, 5, 4
    look_at = np.stack([rng.permutation(detections)[:k] for _ in range(n)])
    look_at[rng.random((n, k)) < 0.3] = -1
    logits = torch.from_numpy(rng.normal(0, 2, (n, 1 + k))).masked_fill(
        torch.from_numpy(np.column_stack([np.zeros(n, bool), look_at < 0])), float("-inf")
    )
    choice = matched_choice(logits.numpy(), look_at, detections, 0.1)
    share = logits.softmax(1).numpy()
    dense = np.full((n, detections + n), 1e6)
    for i in range(n):
        dense[i, detections + i] = -np.log(share[i, 0])
        for j, d in enumerate(look_at[i]):
            if d >= 0 and share[i, 1 + j] >= 0.1:
                dense[i, d] = -np.log(share[i, 1 + j])
    rows, columns = linear_sum_assignment(dense)
    expected = [0 if c >= detections else 1 + look_at[r].tolist().index(c) for r, c in zip(rows, columns, strict=True)]
    assert choice.tolist() == expected
    assert (choice > 0).any()


def test_what_no_match_is_worth() -> None:
    """A share of 0.6 for no detection, 0.4 for one: taken where "no match" counts for less than two thirds."""
    logits = torch.log(torch.tensor([[0.6, 0.4]]))
    given = logits.numpy(), np.zeros((1, 1), np.int64), 1, 0.05
    assert [matched_choice(*given, weight).tolist() for weight in (1.0, 0.7, 0.6, 0.1)] == [[0], [0], [1], [1]]


@pytest.mark.parametrize(("scores", "share", "expected"), [
    ("probability", 0.0, 1 / (1 + np.exp(-2.0))),
    ("probability", 0.5, 1 / (1 + np.exp(-2.0 - 0.5 * np.log(9.0)))),
    ("logit", 0.5, 2.0 + 0.5 * 0.9),
])  # fmt: skip
def test_the_score_that_is_reported(scores: str, share: float, expected: float) -> None:
    """Of the belief sigmoid(2) and a detection of 0.9, also where the track is not seen any more."""
    config = replace(small(), history=replace(HISTORY, scores=scores), life=SttLife(detector_share=share))
    _, out = run(SttTracker(Sure(config)), [seen(0, [(0.0, 0.0)]), seen(1, [])])  # type: ignore[arg-type]
    assert [frame.scores.tolist() for frame in out] == [[pytest.approx(expected, rel=1e-6)]] * 2


def test_nothing_to_match() -> None:
    none = np.zeros((0, 0), np.int64)
    assert matched_choice(np.zeros((0, 1), np.float32), none, 3, 0.3).tolist() == []
    assert matched_choice(np.zeros((2, 1), np.float32), np.zeros((2, 0), np.int64), 0, 0.3).tolist() == [0, 0]


def test_a_network_that_says_no_number() -> None:
    with pytest.raises(ValueError, match="not finite"):
        matched_choice(np.array([[0.0, np.nan]], np.float32), np.zeros((1, 1), np.int64), 1, 0.3)


# --- bad input ------------------------------------------------------------------------------------------------------


def test_no_detections_at_all() -> None:
    state, out = run(tracker(), [FrameDetections.empty(k) for k in range(1, 5)])
    assert (state.frames, len(state)) == (4, 0)
    assert [len(frame) for frame in out] == [0] * 4


@pytest.mark.parametrize(
    ("step", "message"), [(2.0, "repeats the last frame's time"), (1.0, "is earlier than the last")]
)
def test_time_that_stands_or_goes_back(step: float, message: str) -> None:
    state, _ = run(tracker(), street(3, classes=2))
    with pytest.raises(UserError, match=message):
        tracker().step(state, seen(step, [(0.0, 0.0)]))


def test_a_long_pause_ends_all_tracks() -> None:
    frames = [seen(0, [(0.0, 0.0)]), seen(1, [(0.0, 0.0)])]
    _, out = run(sure(max_gap_s=2.0), [*frames, seen(22, [(0.0, 0.0)])])
    assert [frame.ids.tolist() for frame in out] == [[1], [1], [2]]
    _, out = run(sure(max_gap_s=2.0), [*frames, seen(21, [(0.0, 0.0)])])
    assert out[-1].ids.tolist() == [1]


def test_broken_detections_are_left_out_and_counted() -> None:
    good = seen(1, [(0.0, 0.0), (10.0, 0.0), (20.0, 0.0), (30.0, 0.0)])
    good.boxes[1, 0], good.boxes[2, 3], good.scores[3] = np.nan, -1.0, np.inf
    state, out = run(tracker(), [seen(0, [(0.0, 0.0)]), good])
    assert state.left_out == 3
    assert out[1].ids.tolist() == [1]
    assert out[1].detection.tolist() == [0]


def test_a_velocity_that_is_no_number_counts_as_unmeasured() -> None:
    frame = seen(0, [(0.0, 0.0)], velocities=[(np.nan, 1.0)])
    state, out = run(tracker(), [frame])
    assert not out[0].velocity_valid.any()
    assert np.isfinite(state.values).all()


def test_thousands_of_detections() -> None:
    rng = np.random.default_rng(0)
    many = [seen(k, rng.uniform(-200, 200, (3000, 2)).tolist()) for k in range(2)]
    state, out = run(tracker(max_unseen_s=0.05), many)
    assert len(out[0]) == 3000
    assert out[1].matched.all() or len(out[1]) >= 3000
    assert len(state) >= 3000


def test_equal_detections_go_on_one_track_each() -> None:
    frames = [seen(k, [(0.0, 0.0)] * 3) for k in range(4)]
    _, out = run(sure(match=0.01), frames)
    assert [frame.ids.tolist() for frame in out] == [[1, 2, 3]] * 4
    assert all(len(set(frame.detection.tolist())) == 3 for frame in out)


def test_a_label_that_the_tracker_does_not_know() -> None:
    with pytest.raises(ValueError, match="labels must lie in"):
        tracker().step(tracker().start(), seen(0, [(0.0, 0.0)], labels=[2]))


def test_features_of_another_width() -> None:
    config = replace(small(), history=replace(HISTORY, appearance=3))
    looking = SttTracker(network(config))
    with pytest.raises(ValueError, match="trained with 3 features a box, got 0"):
        looking.step(looking.start(), seen(0, [(0.0, 0.0)]))
    frame = replace(seen(0, [(0.0, 0.0)]), features=np.ones((1, 3), np.float32))
    state, _ = looking.step(replace(looking.start()), frame)
    assert state.features.shape == (len(state), 4, 3)


def test_the_state_is_plain() -> None:
    """Numbers and arrays only: what ``state_file`` writes."""
    state = SttState.start(4, 0)
    assert {type(getattr(state, f.name)) for f in fields(state)} == {int, np.ndarray}
    assert tracker().class_names == NAMES
    assert isinstance(run(tracker(), street(2, classes=2))[1][0], TrackedFrame)
