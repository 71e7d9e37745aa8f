"""A log appears whole or not at all; what cannot be stored is refused; anything else survives the round trip."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.errors import UserError
from drive.logs.partial import owner, sweep_partials
from drive.logs.store import Log, list_logs
from drive.logs.writer import LogWriter

IDENTITY = [1.0, 0.0, 0.0, 0.0]
KEYS = {"is_key_frame": True, "source_timestamp": 0, "source_name": "f"}


def writer(root: Path, name: str = "a") -> LogWriter:
    return LogWriter(root, name, dataset="toy", source_version="1", licence="none")


def with_lidar(log: LogWriter) -> LogWriter:
    log.add_sensor("L", "lidar", [0, 0, 0], IDENTITY, columns=("x", "y", "z"))
    return log


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def fail_inside() -> None:
        with writer(tmp_path) as log:
            with_lidar(log).add_sweep("L", 0, np.zeros((5, 3), np.float32), [0, 0, 0], IDENTITY, **KEYS)
            assert [p.name for p in tmp_path.iterdir()] == [f".a.partial-{owner()}"]
            assert list_logs(tmp_path) == []
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_log(tmp_path: Path) -> None:
    with writer(tmp_path):
        pass
    log = Log.open(tmp_path / "a")
    log.verify_checksums()
    assert (log.num_frames, log.sensors, log.map_features()) == (0, {}, [])
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_existing_log_is_kept(tmp_path: Path) -> None:
    with writer(tmp_path):
        pass
    with pytest.raises(UserError, match="already there"), writer(tmp_path):
        pass
    Log.open(tmp_path / "a")


def test_killed_writers_are_swept(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from drive.logs.writer import LogWriter\n"
        "log = LogWriter(Path(sys.argv[1]), 'a', dataset='t', source_version='', licence='').__enter__()\n"
        "log.add_file('x', b'1'); os.kill(os.getpid(), 9)"
    )
    repo = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=repo, check=False).returncode == -9
    (partial,) = tmp_path.iterdir()
    assert partial.name.startswith(".a.partial-")
    assert list_logs(tmp_path) == []
    with writer(tmp_path, "b"):  # a living writer's folder is left alone
        assert sweep_partials(tmp_path) == [partial]
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: the system refuses the write in the same place.
    code = (
        "import resource, sys, numpy as np; from pathlib import Path\n"
        "from drive.errors import UserError; from drive.logs.writer import LogWriter\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))\n"
        "try:\n"
        "    with LogWriter(Path(sys.argv[1]), 'a', dataset='t', source_version='', licence='') as log:\n"
        "        log.add_sensor('L', 'lidar', [0] * 3, [1, 0, 0, 0], columns=('x', 'y', 'z'))\n"
        "        log.add_sweep('L', 0, np.zeros((50_000, 3), np.float32), [0] * 3, [1, 0, 0, 0], is_key_frame=True,\n"
        "                      source_timestamp=0, source_name='')\n"
        "except UserError as error:\n"
        "    print(error); sys.exit(3)\n"
    )
    repo = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        cwd=repo,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "lidar_L.arrow: no space left to write this file; free some space and start again" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


BOX = np.array([[1.0, 2, 3, 4, 2, 1.5, 0.1, 0, 0]])


def add_box(log: LogWriter, box: np.ndarray) -> None:
    frame = log.add_frame(0, rows={}, pose_translation=[0, 0, 0], pose_rotation=IDENTITY, source_timestamp=0)
    log.add_boxes(
        frame, box, ["car"], ["t"], velocity_valid=np.array([True]), source_translation=box[:, :3],
        source_rotation=np.array([IDENTITY]), source_size=box[:, 3:6],
    )  # fmt: skip


@pytest.mark.parametrize(("column", "value"), [(0, np.nan), (7, np.inf), (4, 0.0), (5, -1.0)])
def test_a_bad_box_is_named(tmp_path: Path, column: int, value: float) -> None:
    box = BOX.copy()
    box[0, column] = value
    line = r"a, frame 0, box 0 \(car, track t\): not a box: .*; every number"
    with pytest.raises(UserError, match=line), writer(tmp_path) as log:
        add_box(log, box)
    assert list(tmp_path.iterdir()) == []


def test_programming_errors(tmp_path: Path) -> None:
    points = np.zeros((2, 3), np.float32)
    with writer(tmp_path) as log:
        with_lidar(log)
        log.add_sweep("L", 5, points, [0, 0, 0], IDENTITY, extra={"a": np.zeros(2, np.uint8)}, **KEYS)
        wrong = [
            lambda: log.add_sweep("L", 4, points, [0] * 3, IDENTITY, extra={"a": np.zeros(2, np.uint8)}, **KEYS),
            lambda: log.add_sweep("L", 6, points, [0] * 3, IDENTITY, extra={"a": np.zeros(2, np.int8)}, **KEYS),
            lambda: log.add_sweep("L", 6, points, [0] * 3, IDENTITY, extra={"a": np.zeros(3, np.uint8)}, **KEYS),
            lambda: log.add_sweep("L", 6, points[:, :2], [0] * 3, IDENTITY, **KEYS),
            lambda: log.add_sweep("M", 6, points, [0] * 3, IDENTITY, **KEYS),
            lambda: log.add_image("L", 6, b"", 1, 1, [0] * 3, IDENTITY, **KEYS),
            lambda: log.add_sensor("L", "lidar", [0] * 3, IDENTITY, columns=("x", "y", "z")),
            lambda: log.add_sensor("N", "sonar", [0] * 3, IDENTITY),
            lambda: log.add_sensor("../N", "camera", [0] * 3, IDENTITY),
            lambda: log.add_frame(
                0, rows={"L": 7}, pose_translation=[0] * 3, pose_rotation=IDENTITY, source_timestamp=0
            ),
            lambda: log.add_file("../x", b""),
        ]
        for call in wrong:
            with pytest.raises(ValueError):
                call()
    with pytest.raises(ValueError, match="file name"):
        writer(tmp_path, "a/b")


FLOATS32 = hnp.arrays(np.float32, st.tuples(st.integers(0, 20), st.just(5)), elements={"allow_nan": True})
WHOLE = st.integers(-(2**62), 2**62)
ANY64 = st.floats(allow_nan=False, allow_infinity=False, width=64)


@settings(max_examples=15, deadline=None)
@given(
    sweeps=st.lists(st.tuples(FLOATS32, WHOLE, st.lists(ANY64, min_size=7, max_size=7), st.text()), max_size=4),
    image=st.binary(max_size=300),
)
def test_any_sweep_survives(tmp_path_factory: pytest.TempPathFactory, sweeps: list, image: bytes) -> None:
    root = tmp_path_factory.mktemp("any")
    sweeps.sort(key=lambda sweep: sweep[1])
    with writer(root) as log:
        log.add_sensor("L", "lidar", [0, 0, 0], IDENTITY, columns=("x", "y", "z", "i", "r"))
        log.add_sensor("C", "camera", [0, 0, 0], IDENTITY)
        for points, stamp, pose, text in sweeps:
            keys = {"is_key_frame": False, "source_timestamp": -stamp, "source_name": text, "source_token": text[::-1]}
            extra = {"n": np.arange(len(points), dtype=np.int16)}
            log.add_sweep("L", stamp, points, pose[:3], pose[3:], extra=extra, **keys)
        log.add_image("C", 0, image, 3, 2, [0, 0, 0], IDENTITY, **KEYS)
    found = Log.open(root / "a")
    assert found.image("C", 0).data == image
    assert found.num_sweeps("L") == len(sweeps)
    for row, (points, stamp, pose, text) in enumerate(sweeps):
        with np.errstate(all="ignore"):  # quaternions of any numbers make no rotation; they are stored all the same
            sweep = found.sweep("L", row)
        assert sweep.points.tobytes() == points.tobytes()  # NaN payloads and signed zeros included
        assert sweep.points.shape == points.shape
        assert (sweep.timestamp_ns, sweep.source_timestamp) == (stamp, -stamp)
        assert (sweep.source_name, sweep.source_token) == (text, text[::-1])
        assert np.concatenate([sweep.pose_translation, sweep.pose_rotation]).tobytes() == np.array(pose).tobytes()
        np.testing.assert_array_equal(sweep.extra["n"], np.arange(len(points)))


SIZE = st.floats(1e-3, 1e3)
BOXES = st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3, SIZE, SIZE, SIZE, *[st.floats(-50, 50)] * 3), max_size=5)


@settings(max_examples=15, deadline=None)
@given(frames=st.lists(BOXES, max_size=4), order=st.randoms(use_true_random=False))
def test_any_boxes_survive(tmp_path_factory: pytest.TempPathFactory, frames: list, order: object) -> None:
    root = tmp_path_factory.mktemp("any")
    todo = list(range(len(frames)))
    order.shuffle(todo)  # type: ignore[attr-defined]
    with writer(root) as log:
        for i in range(len(frames)):
            log.add_frame(i, rows={}, pose_translation=[0, 0, 0], pose_rotation=IDENTITY, source_timestamp=i)
        for i in todo:
            boxes = np.array(frames[i], np.float64).reshape(-1, 9)
            log.add_boxes(
                i, boxes, ["car"] * len(boxes), [f"t{j}" for j in range(len(boxes))],
                velocity_valid=np.ones(len(boxes), bool), source_translation=boxes[:, :3],
                source_rotation=boxes[:, 3:7], source_size=boxes[:, 3:6],
            )  # fmt: skip
    found = Log.open(root / "a")
    for i, boxes in enumerate(frames):
        assert found.boxes(i).boxes.tobytes() == np.array(boxes, np.float64).reshape(-1, 9).tobytes()
        assert found.boxes(i).track_token == [f"t{j}" for j in range(len(boxes))]
