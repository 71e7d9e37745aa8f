"""Stored detections in AB3DMOT's text form to detections.arrow: which line is which frame's, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_tools.kitti_tracking.detection_set import detection_set
from data_tools.kitti_tracking.key_frames import key_frame_indices
from drive.boxes.detections import read_detections
from drive.cli import main
from drive.errors import UserError
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.store import Log, list_logs
from drive.logs.writer import LogWriter
from tests.data_tools.kitti_tracking.test_convert import CALIBRATION, LABELS, convert

# Frame, type, image box, score, height width length, bottom centre x y z, rotation_y, alpha.
CAR = "2,1,2,3,4,8.5,1.5,1.75,4.5,2,1.5,10,-1.5707963267948966,-2"
WALKER = "1,-1,-1,-1,-1,0.5,2,0.5,0.75,-3,1.5,20,0,-10"


@pytest.fixture
def kitti(tmp_path: Path) -> Log:
    """Three frames of a sequence 0001."""
    for kind, text in (("label_02", LABELS), ("calib", CALIBRATION)):
        (tmp_path / "raw/training" / kind).mkdir(parents=True)
        (tmp_path / "raw/training" / kind / "0001.txt").write_text(text)
    return convert(tmp_path / "raw", tmp_path / "logs")


def scene(root: Path, name: str, frames: int, period_ns: int) -> Log:
    with LogWriter(root, name, dataset="scenarionet", source_version="1", licence="CC0-1.0", split="") as log:
        for k in range(frames):
            log.add_frame(
                k * period_ns,
                rows={},
                pose_translation=[k, 0, 0],
                pose_rotation=quaternion_from_yaw(0.0),
                source_timestamp=k,
                source_token=str(k),
            )
    return Log.open(root / name)


def stored(root: Path, **files: str) -> Path:
    """Files by ``folder__sequence``."""
    for key, text in files.items():
        folder, sequence = key.split("__")
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"{sequence.replace('_', '-')}.txt").write_text(text)
    return root


def test_kitti(kitti: Log, tmp_path: Path) -> None:
    folder = stored(
        tmp_path / "found",
        prcnn_Car_val__0001=f"2,{CAR}\n0,{CAR}\n",
        prcnn_Pedestrian_val__0001=f"2,{WALKER}\n",
        prcnn_Pedestrian_val__0002=f"2,{WALKER}\n",
    )
    found, without = detection_set(folder, [kitti])
    assert without == []
    assert found.class_names == ("Pedestrian", "Car", "Cyclist")
    assert found.frame_ids == [f"kitti_tracking_0001/0001:{k:06d}" for k in range(3)]
    assert (found.frame_indices, found.offsets.tolist()) == ([0, 1, 2], [0, 1, 1, 3])
    assert (found.labels.tolist(), found.scores.tolist()) == ([1, 1, 0], [8.5, 8.5, 0.5])
    np.testing.assert_allclose(found.boxes[0], [10, -2, -0.75, 4.5, 1.75, 1.5, 0, 0, 0], atol=1e-12)
    assert not found.velocity_valid.any()
    # Nothing found in a whole sequence is an empty file, and every frame of it is in the set.
    nothing, _ = detection_set(stored(tmp_path / "nothing", prcnn_Car_val__0001=""), [kitti])
    assert (len(nothing.scores), nothing.offsets.tolist()) == (0, [0, 0, 0, 0])


@pytest.mark.parametrize(
    ("frames", "period_ns", "indices"), [(13, 100_000_000, [0, 5, 10]), (3, 500_000_000, [0, 1, 2])]
)
def test_nuscenes_key_frames(frames: int, period_ns: int, indices: list[int], tmp_path: Path) -> None:
    log = scene(tmp_path, "mini_scene-0103", frames, period_ns)
    other = scene(tmp_path, "mini_scene-0061", frames, period_ns)
    folder = stored(tmp_path / "found", a_Car_val__scene_0103=f"2,{CAR}\n", b_Car_val__scene_0103="")
    found, without = detection_set(folder, [log, other], "a")
    assert without == ["mini_scene-0061"]
    assert found.frame_indices == indices
    assert found.offsets.tolist() == [0, 0, 0, 1]
    assert found.class_names[found.labels[0]] == "car"
    # 10 m ahead of the camera (1.7 m before the ego's origin, 1.5 m up), 2 m to its right, bottom 1.5 m below it.
    np.testing.assert_allclose(found.boxes[0, :3], [11.7, -1.9, 0.7], atol=0.06)


def test_key_frames_are_found_where_the_clock_is_off(tmp_path: Path) -> None:
    """A car drives towards the standing ego at 10 m/s; from key frame 2 on the detections are 0.2 s older."""
    with LogWriter(tmp_path, "scene-0001", dataset="x", source_version="1", licence="CC0-1.0", split="") as writer:
        for k in range(26):
            writer.add_frame(
                k * 100_000_000,
                rows={},
                pose_translation=[0, 0, 0],
                pose_rotation=quaternion_from_yaw(0.0),
                source_timestamp=k,
            )
            box = np.array([[50.0 - k, 0, 1, 4, 2, 1.5, 0, 0, 0]])
            writer.add_boxes(
                k,
                box,
                ["vehicle.car"],
                ["a"],
                velocity_valid=np.zeros(1, bool),
                source_translation=box[:, :3],
                source_rotation=quaternion_from_yaw(box[:, 6]),
                source_size=box[:, 3:6],
            )
    log = Log.open(tmp_path / "scene-0001")
    seen = [0, 5, 8, 13, 18, 23]
    none = (np.zeros((0, 9)), np.zeros(0, np.int64), np.zeros(0))
    found = [(log.boxes(k).boxes, np.zeros(1, np.int64), np.ones(1)) for k in seen]
    assert key_frame_indices(log, found, ("car",), 5) == seen
    # Where nothing is seen the clock stays as it was; another class says nothing.
    assert key_frame_indices(log, [*found[:3], none, *found[4:]], ("car",), 5) == seen
    assert key_frame_indices(log, found, ("pedestrian",), 5) == [0, 5, 10, 15, 20, 25]
    assert key_frame_indices(log, [none] * 6, ("car",), 5) == [0, 5, 10, 15, 20, 25]
    assert key_frame_indices(log, [], ("car",), 5) == []


def test_the_command(kitti: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stored(tmp_path / "found", prcnn_Car_val__0001=f"2,{CAR}\n")
    words = ["convert", "ab3dmot_detections", folder, tmp_path / "out", "--logs", kitti.path.parent]
    assert main([str(w) for w in words]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out/detections.arrow: 1 detections in 3 frames of 1 logs\n"
    assert read_detections(tmp_path / "out/detections.arrow").boxes.dtype == np.float64
    words[-1] = kitti.path  # the log itself
    assert main([str(w) for w in words]) == 0
    capsys.readouterr()
    assert main([str(w) for w in words[:4]]) == 2
    assert "error: --logs: the logs of these detections are not named" in capsys.readouterr().err


def test_what_is_refused(kitti: Log, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder <detector>"):
        detection_set(tmp_path / "absent", [kitti])
    folder = stored(tmp_path / "a", one_Car_val__0001=f"2,{CAR}\n", one_Pedestrian_val__0002="")
    with pytest.raises(UserError, match=r"one_Pedestrian_val/0001.txt: the file is missing; other classes have"):
        detection_set(folder, [kitti])
    with pytest.raises(UserError, match="no detections of 'two'"):
        detection_set(folder, [kitti], "two")
    stored(folder, two_Car_val__0001="")
    with pytest.raises(UserError, match="detections of one and two; add --detector one"):
        detection_set(folder, [kitti])
    with pytest.raises(UserError, match="no file of it belongs to one of these logs"):
        detection_set(stored(tmp_path / "b", one_Car_val__0009=""), [kitti])
    with pytest.raises(UserError, match="frame 3, the log's last one is 2"):
        detection_set(stored(tmp_path / "c", one_Car_val__0001=f"3,{CAR}\n"), [kitti])
    with pytest.raises(UserError, match="type 7 is unknown"):
        detection_set(stored(tmp_path / "d", one_Car_val__0001=f"1,7{CAR[1:]}\n"), [kitti])
    with pytest.raises(UserError, match="without scene-NNNN in its name"):
        detection_set(folder, [scene(tmp_path, "other", 2, 500_000_000)], "one")
    with pytest.raises(UserError, match=r"frames 0.300 s apart"):
        detection_set(folder, [scene(tmp_path, "scene-0001", 4, 300_000_000)], "one")
    both = stored(tmp_path / "e", one_Car_val__0001="", one_Car_val__scene_0001="")
    with pytest.raises(UserError, match="logs of KITTI and of nuScenes"):
        detection_set(both, [kitti, scene(tmp_path / "more", "scene-0001", 2, 500_000_000)])


def test_real_detections(real_data: Path, tmp_path: Path) -> None:
    """Every key frame's detections lie where the labels of the log are."""
    words = ["scenarionet", real_data / "nuscenes/scenarionet", tmp_path / "logs", "--workers", 1, "--logs", "*-0103"]
    assert main(["convert", *map(str, words)]) == 0
    (log,) = [Log.open(path) for path in list_logs(tmp_path / "logs")]
    found, _ = detection_set(real_data / "nuscenes/detection_ab3dmot", [log], "centerpoint")
    late = [index - 5 * k for k, index in enumerate(found.frame_indices)]
    assert (late[0], late[-1], min(late), max(late), len(late)) == (0, 0, -2, 0, 40)
    near = total = 0
    for f, index in enumerate(found.frame_indices):
        mine = slice(found.offsets[f], found.offsets[f + 1])
        cars = (found.labels[mine] == found.class_names.index("car")) & (found.scores[mine] > 0.5)
        labels = log.boxes(index)
        truth = labels.boxes[[c == "vehicle.car" for c in labels.category], :2]
        apart = np.linalg.norm(found.boxes[mine][cars][:, None, :2] - truth[None], axis=2)
        near += int((apart.min(axis=1, initial=np.inf) < 1.0).sum())
        total += int(cars.sum())
    assert (total, near) == (609, 563)
