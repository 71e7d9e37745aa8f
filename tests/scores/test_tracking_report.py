"""Every tracking metric from a file of tracks and logs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import data_tools.kitti_tracking as kitti_tracking
from data_tools.kitti.frames import boxes_of_camera
from data_tools.kitti_tracking.detections import kitti_ego_from_camera
from drive.errors import UserError
from drive.geometry.box import transform_boxes
from drive.geometry.rigid import from_translation_rotation, quaternion_from_yaw
from drive.runs import score_command
from drive.samples.classes import ClassMap
from drive.score_tracks import is_tracking, score_tracking
from drive.scores.clear_mot_kitti import load_kitti_mot, place_in_camera
from drive.scores.tracking_report import METRICS, score_tracks, usual_metrics
from drive.scores.tracking_truth import load_sides, usual_classes
from drive.tracks.sequence import TrackSet, write_tracks
from drive.tracks.track import TrackedFrame
from tests.scores.mot_world import make_sequence, parse
from tests.scores.track_world import CLASSES, FRAMES, only, perfect_tracks, write_log


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs"))


def test_perfect_tracks(log: Path) -> None:
    tracks = perfect_tracks([log])
    report = score_tracks(tracks, [log], CLASSES)
    assert report.metrics == ("ab3dmot", "clear", "hota", "nuscenes", "state")
    flat = report.flat()
    for name in CLASSES.names:
        assert flat[f"ab3dmot.{name}.iou07.mota"] == 1.0
        assert flat[f"clear.{name}.iou05.mota"] == flat[f"clear.{name}.2m.idf1"] == 1.0
        assert flat[f"hota.{name}.iou3d.hota"] == pytest.approx(1.0)
        assert flat[f"nuscenes.{name}.amota"] == 1.0
        assert flat[f"state.{name}.iou025.smota.v05"] == 1.0
        assert flat[f"state.{name}.iou025.motps.velocity"] == pytest.approx(0, abs=1e-9)
    assert (flat["nuscenes.mean.amota"], flat["nuscenes.mean.ids"], flat["ab3dmot.car.iou05.fn"]) == (1.0, 0, 0)
    assert (report.missing_frames, flat["counts.frames"], flat["counts.tracks"]) == ([], FRAMES, 3)
    json.dumps(report.to_dict(), allow_nan=False)
    console = Console(record=True, width=160)
    report.print(console)
    text = console.export_text()
    assert "samota" in text
    assert "not comparable with the paper" in text


def test_two_logs_use_the_same_ids(tmp_path: Path) -> None:
    paths = [write_log(tmp_path, name) for name in ("first", "second")]
    flat = score_tracks(perfect_tracks(paths), paths, CLASSES).flat()
    assert (flat["counts.tracks"], flat["clear.car.iou05.trajectories"], flat["clear.car.iou05.ids"]) == (6, 4, 0)
    # The tracks of one log only: the other one's frames count as empty, and are named.
    report = score_tracks(perfect_tracks(paths[:1]), paths, CLASSES)
    assert report.missing_frames == [f"second-{f}" for f in range(FRAMES)]
    assert report.flat()["nuscenes.car.recall"] == pytest.approx(0.5)
    # And of both, scored on one: the other one's frames are extra.
    assert score_tracks(perfect_tracks(paths), paths[:1], CLASSES).counts["extra_frames"] == FRAMES


def test_resampled_labels_count_where_tracks_are(tmp_path: Path) -> None:
    path = write_log(tmp_path, "scene", dataset="scenarionet", tokens=False)
    other = write_log(tmp_path, "scene2", dataset="scenarionet", tokens=False)
    report = score_tracks(perfect_tracks([path, other], step=3), [path, other], CLASSES)
    assert report.counts["frames"] == 2 * FRAMES // 3
    assert report.missing_frames == []
    assert report.flat()["nuscenes.mean.mota"] == 1.0


def test_speeds_by_hand(log: Path) -> None:
    tracks = perfect_tracks([log])
    car = (tracks.labels == 0) & (tracks.ids == tracks.ids[0])
    boxes = tracks.boxes.copy()
    boxes[car, 7] += 0.7  # one of the two cars is wrong by 0.7 m/s, always
    figures = score_tracks(replace(tracks, boxes=boxes), [log], CLASSES, ["state"]).rows("state")["car iou025"]
    # Half of the pairs are a miss and a false positive each: 1 - (12 + 12) / 24.
    assert (figures["smota.v05"], figures["smota.v1"], figures["mota"]) == (0.0, 1.0, 1.0)
    assert figures["motps.velocity"] == pytest.approx(0.35)
    # The second car brakes by 0.8 m/s^2 and the tracks claim 0; its first and last frame have no true acceleration.
    assert (figures["smota.v1_a1"], figures["motps.acceleration_pairs"], figures["motps.acceleration_given"]) == (
        1,
        20,
        0,
    )
    assert figures["motps.acceleration"] == pytest.approx(0.4)
    assert figures["motps.velocity.speed1to3_pairs"] == 12 + 5
    braking = tracks.acceleration.copy()
    braking[car] = (3.0, 0.0)
    given = replace(tracks, acceleration=braking, acceleration_valid=np.ones(len(car), bool))
    figures = score_tracks(given, [log], CLASSES, ["state"]).rows("state")["car iou025"]
    assert figures["smota.v1_a2"] == pytest.approx(1 - 2 * 10 / 24)
    silent = replace(tracks, velocity_valid=~car)
    figures = score_tracks(silent, [log], CLASSES, ["state"]).rows("state")["car iou025"]
    assert (figures["smota.v2"], figures["motps.velocity_given"], figures["motps.velocity"]) == (0.0, 0.5, 0.0)


def test_waymo_types(tmp_path: Path) -> None:
    path = write_log(tmp_path, "segment", dataset="waymo_perception")
    tracks = perfect_tracks([path])
    report = score_tracks(tracks, [path], CLASSES)
    assert "waymo" in report.metrics
    name = "waymo.OBJECT_TYPE_TYPE_VEHICLE_LEVEL_2"
    assert (report.figures[f"{name}.mota"], report.figures[f"{name}.objects"]) == (1.0, 24)
    assert report.figures["waymo.OBJECT_TYPE_TYPE_PEDESTRIAN_LEVEL_1.mota"] == 1.0
    half = only(tracks, (tracks.labels == 1) | (tracks.ids == tracks.ids[0]))
    assert score_tracks(half, [path], CLASSES, ["waymo"]).figures[f"{name}.mota"] == pytest.approx(0.5)
    with pytest.raises(UserError, match="outside 0..1"):
        score_tracks(replace(tracks, scores=tracks.scores * 3), [path], CLASSES, ["waymo"])


def test_no_tracks_and_one_frame(log: Path) -> None:
    tracks = perfect_tracks([log])
    nothing = only(tracks, np.zeros(len(tracks.ids), bool))
    flat = score_tracks(nothing, [log], CLASSES).flat()
    assert (flat["ab3dmot.car.iou05.mota"], flat["ab3dmot.car.iou05.samota"], flat["hota.car.2m.hota"]) == (0, 0, 0)
    assert (flat["nuscenes.mean.amota"], flat["state.car.iou025.smota.v2"]) == (0.0, 0.0)
    one = tracks.select([4])
    report = score_tracks(one, [log], CLASSES)
    assert len(report.missing_frames) == FRAMES - 1
    assert report.flat()["clear.car.iou05.tp"] == 2


def test_bad_tracks(log: Path, tmp_path: Path) -> None:
    tracks = perfect_tracks([log])
    twice = replace(tracks, ids=np.where(tracks.labels == 0, 3, tracks.ids))
    with pytest.raises(UserError, match="one, frame 0: id 3 stands twice"):
        score_tracks(twice, [log], CLASSES)
    boxes = tracks.boxes.copy()
    boxes[0, 0] = np.nan
    with pytest.raises(UserError, match="is not finite"):
        score_tracks(replace(tracks, boxes=boxes), [log], CLASSES)
    with pytest.raises(UserError, match="frame 0 of one is listed twice"):
        score_tracks(replace(tracks, frame_indices=[0] * FRAMES), [log], CLASSES)
    with pytest.raises(UserError, match="none of its frames"):
        score_tracks(replace(tracks, logs=["other"] * FRAMES), [log], CLASSES)
    with pytest.raises(UserError, match="no tracking metric 'motx'"):
        score_tracks(tracks, [log], CLASSES, ["motx"])
    with pytest.raises(UserError, match="given twice"):
        load_sides(tracks, [log, log], CLASSES)
    with pytest.raises(UserError, match="those of the labels car"):
        score_tracks(tracks, [log], ClassMap(("car",), {"vehicle.car": "car"}))
    trams = ClassMap(("tram", "lift"), {"vehicle.car": "tram", "human.pedestrian.adult": "lift"})
    with pytest.raises(UserError, match="no class tram, lift"):
        score_tracks(replace(tracks, class_names=trams.names), [log], trams, ["nuscenes"])


def test_classes_that_nuscenes_does_not_track(log: Path) -> None:
    classes = ClassMap(("cone", "car"), {"human.pedestrian.adult": "cone", "vehicle.car": "car"})
    flat = score_tracks(perfect_tracks([log], classes), [log], classes).flat()
    assert (flat["nuscenes.car.amota"], flat["nuscenes.car.gt"], flat["nuscenes.mean.amota"]) == (1.0, 24, 1.0)
    assert "nuscenes.cone.amota" not in flat
    assert flat["ab3dmot.cone.iou05.mota"] == 1.0


def test_classes_without_a_recipe() -> None:
    assert usual_classes(("Car", "Cyclist")).from_source == {"Car": "Car", "Cyclist": "Cyclist"}
    assert usual_classes(("car", "bus")).names == ("car", "bus")
    with pytest.raises(UserError, match="'tram' is not known"):
        usual_classes(("car", "tram"))
    assert usual_metrics("kitti_tracking", ("Car",), False) == ("ab3dmot", "clear", "hota")
    assert set(usual_metrics("waymo_perception", ("car",), True)) == set(METRICS)


CALIBRATION = """P0: 721 0 609 0 0 721 173 0 0 0 1 0
P1: 721 0 609 0 0 721 173 0 0 0 1 0
P2: 721 0 609 0 0 721 173 0 0 0 1 0
P3: 721 0 609 0 0 721 173 0 0 0 1 0
R_rect 1 0 0 0 1 0 0 0 1
Tr_velo_cam 0.008 -0.99996 -0.004 -0.01 0.0 0.004 -0.99999 -0.06 0.99997 0.008 0.0 -0.33
Tr_imu_velo 1 0 0 -0.5 0 1 0 0 0 0 1 0
"""


@pytest.fixture
def kitti(tmp_path: Path) -> tuple[Path, TrackSet]:
    """A made-up KITTI sequence as a log, and its tracks."""
    raw, (labels, found) = tmp_path / "raw", make_sequence(11, 30)
    for kind, text in (("label_02", "\n".join(labels) + "\n"), ("calib", CALIBRATION)):
        (raw / "training" / kind).mkdir(parents=True)
        (raw / "training" / kind / "0001.txt").write_text(text)
    options = kitti_tracking.Options()
    (spec,) = kitti_tracking.list_logs(raw, options)
    kitti_tracking.convert_log(raw, spec, tmp_path / "logs", options)
    ego_from_camera = kitti_ego_from_camera(raw / "training/calib/0001.txt")
    names = ("Car", "Pedestrian", "Cyclist")
    frames = []
    for f in range(30):
        rows = [line.split() for line in found if int(line.split()[0]) == f]
        n = len(rows)
        numbers = np.array([row[10:17] for row in rows], np.float64).reshape(n, 7)
        frames.append(
            TrackedFrame(
                f * 100_000_000, np.array([int(row[1]) for row in rows], np.int64),
                boxes_of_camera(numbers, ego_from_camera), np.array([float(row[17]) for row in rows]).reshape(n),
                np.array([names.index(row[2]) for row in rows], np.int64), np.zeros(n, bool), np.zeros((n, 2)),
                np.zeros(n, bool), np.zeros((n, 4)), np.zeros(n, bool), np.arange(n), np.ones(n, bool),
            )
        )  # fmt: skip
    (path,) = (p for p in (tmp_path / "logs").iterdir() if p.is_dir())
    ids = [f"{path.name}/{f}" for f in range(30)]
    return path, TrackSet.join(names, ids, [path.name] * 30, list(range(30)), frames)


def test_kitti_logs_give_back_the_text(kitti: tuple[Path, TrackSet]) -> None:
    path, tracks = kitti
    labels, found = parse([make_sequence(11, 30)], [30])
    truth = load_kitti_mot([path])
    placed, missing = place_in_camera(tracks, truth)
    assert missing == []
    np.testing.assert_allclose(placed.boxes, found.boxes, atol=1e-9)
    assert placed.kind == found.kind
    pose = from_translation_rotation(np.array([300.0, -20.0, 1.0]), quaternion_from_yaw(0.3))
    moved = replace(tracks, boxes=transform_boxes(pose, tracks.boxes))
    again = place_in_camera(moved, replace(truth, global_from_ego=np.tile(pose, (30, 1, 1))))[0]
    np.testing.assert_allclose(again.boxes[:, :6], found.boxes[:, :6], atol=1e-9)
    np.testing.assert_allclose(np.cos(again.boxes[:, 6] - found.boxes[:, 6]), 1.0, atol=1e-12)
    # The log keeps the labels that are no DontCare in the order of the frames; each is there exactly.
    order = np.lexsort((labels.track, labels.frame))
    own = np.lexsort((truth.labels.track, truth.labels.frame))
    assert len(order) == len(own)
    np.testing.assert_array_equal(truth.labels.boxes[own][:, 0].sum(), labels.boxes[order][:, 0].sum())
    np.testing.assert_array_equal(np.sort(truth.labels.boxes, axis=0), np.sort(labels.boxes, axis=0))
    np.testing.assert_array_equal(truth.labels.dont_care, labels.dont_care)
    assert np.bincount(truth.labels.occlusion).tolist() == np.bincount(labels.occlusion).tolist()
    # Image boxes: KITTI's eight corners through P2, cut at the border of the usual image.
    for box, image in zip(found.boxes, placed.image_box, strict=True):
        x, y, z = -box[1], box[5] / 2 - box[2], box[0]
        turn = -box[6] - np.pi / 2
        along, aside, up = np.meshgrid([-box[3] / 2, box[3] / 2], [-box[4] / 2, box[4] / 2], [0, -box[5]])
        depth = z - np.sin(turn) * along + np.cos(turn) * aside
        columns = 609 + 721 * (x + np.cos(turn) * along + np.sin(turn) * aside) / depth
        rows = 173 + 721 * (y + up) / depth
        if depth.min() > 0.5:
            expected = np.clip([columns.min(), rows.min(), columns.max(), rows.max()], 0, [1241, 374, 1241, 374])
            np.testing.assert_allclose(image, expected, atol=1e-6)


def test_kitti_from_logs(kitti: tuple[Path, TrackSet]) -> None:
    path, tracks = kitti
    report = score_tracks(tracks, [path])
    assert report.metrics == ("ab3dmot", "clear", "hota")
    assert set(report.rows("ab3dmot")) == {f"{n} iou{o}" for n in ("car", "pedestrian", "cyclist") for o in
                                           ("025", "05", "07")}  # fmt: skip
    assert report.flat()["ab3dmot.car.iou025.tp"] > 20
    with pytest.raises(UserError, match="only where the logs have ego poses"):
        score_tracks(tracks, [path], metrics=["state"])


def test_file_and_folder(log: Path, tmp_path: Path) -> None:
    tracks = perfect_tracks([log])
    write_tracks(tmp_path / "tracks.arrow", tracks)
    (tmp_path / "other.arrow").write_bytes(b"no Arrow file")
    assert is_tracking(tmp_path / "tracks.arrow")
    assert is_tracking(tmp_path)
    assert not is_tracking(tmp_path / "other.arrow")
    assert not is_tracking(tmp_path / "nothing.arrow")
    report = score_tracking(tmp_path, [log], ["ab3dmot"])
    assert report.flat()["ab3dmot.car.iou05.mota"] == 1.0
    assert json.loads((tmp_path / "scores.json").read_text())["ab3dmot.car.iou05.mota"] == 1.0


def test_drive_score(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tracks.arrow"
    write_tracks(file, perfect_tracks([log]))
    words = [str(file), "--logs", str(log)]
    assert score_command([*words, "--out", str(tmp_path / "out.json"), "--metric", "ab3dmot"]) == 0
    assert "AB3DMOT" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["ab3dmot.car.iou05.mota"] == 1.0
    write_tracks(file, perfect_tracks([log]).select([0, 1]))
    assert score_command([*words, "--metric", "hota"]) == 1  # frames without tracks
    assert "one-2 has no predictions" in capsys.readouterr().err
    with pytest.raises(UserError, match="not named"):
        score_command([str(file)])
    with pytest.raises(UserError, match="no tracks, which hota is a metric of"):
        score_command([str(tmp_path / "out.json"), "--logs", str(log), "--metric", "hota"])
