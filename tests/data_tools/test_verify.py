"""drive verify: silent on whole logs, one line for each thing that is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_tools import av2, kitti
from data_tools.verify import main, verify_log
from drive.errors import UserError
from drive.logs.store import list_logs
from drive.logs.writer import LogWriter

IDENTITY = {"pose_translation": np.zeros(3), "pose_rotation": np.array([1.0, 0, 0, 0])}


def make_log(root: Path, name: str = "good") -> Path:
    """Two sweeps, an image, two frames (the second without sweep), three boxes of two tracks, a lane, a file."""
    with LogWriter(root, name, dataset="made_up", source_version="1", licence="none") as log:
        log.add_sensor(
            "top", "lidar", np.zeros(3), [1, 0, 0, 0], columns=("x", "y", "z", "intensity"), intensity_max=1.0
        )
        log.add_sensor("front", "camera", np.zeros(3), [1, 0, 0, 0], intrinsics=np.eye(3), width=4, height=3)
        for i in range(2):
            log.add_sweep(
                "top", i, np.full((3 + i, 4), i, np.float32), **IDENTITY, extra={"ring": np.zeros(3 + i, np.uint8)},
                is_key_frame=i == 0, source_timestamp=i, source_name=f"{i}.bin",
            )  # fmt: skip
        log.add_image(
            "front", 0, b"\xff\xd8\xff\xe0", 4, 3, **IDENTITY, is_key_frame=True, source_timestamp=0, source_name="0"
        )
        for i, tracks in enumerate((["a", "b"], ["a"])):
            frame = log.add_frame(i, rows={"top": 0} if i == 0 else {}, **IDENTITY, source_timestamp=i)
            boxes = np.tile([5.0, 0, 0, 4, 2, 1.5, 0, 0, 0], (len(tracks), 1))
            log.add_boxes(
                frame, boxes, ["car"] * len(tracks), tracks, velocity_valid=np.zeros(len(tracks), bool),
                source_translation=boxes[:, :3], source_size=boxes[:, 3:6],
                source_rotation=np.tile([1.0, 0, 0, 0], (len(tracks), 1)),
            )  # fmt: skip
        log.add_map_feature("1", "lane", np.zeros((2, 3)), is_polygon=False)
        log.add_table("notes", pa.table({"text": ["hello"]}))
        log.add_file("notes.txt", b"hello")
    return root / name


def rewrite(log: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a table and make size and checksum agree again, as a wrong converter would leave it."""
    table = change(pa.ipc.open_file(pa.OSFile(str(log / name), "rb")).read_all())
    with pa.OSFile(str(log / name), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = (log / name).read_bytes()
    manifest = json.loads((log / "log.json").read_text())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (log / "log.json").write_text(json.dumps(manifest))


def with_column(name: str, edit: Callable[[list], list]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index(name)
        field = table.schema.field(name)
        return table.set_column(index, field, pa.array(edit(table[name].to_pylist()), field.type))

    return change


def first(value: object) -> Callable[[list], list]:
    return lambda values: [value, *values[1:]]


def test_a_whole_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = verify_log(make_log(tmp_path))
    assert result.problems == []
    assert result.counts == {
        "frames": 2, "boxes": 3, "tracks": 2, "sweeps": 2, "images": 1, "points": 7, "map": 1,
    }  # fmt: skip
    make_log(tmp_path, "other")
    (tmp_path / ".third.partial-1").mkdir()
    assert main([str(tmp_path), "--workers", "1"]) == 0
    printed = capsys.readouterr()
    assert "other" in printed.out
    assert "all 2" in printed.out
    assert printed.err == ""
    assert main([str(tmp_path / "good"), "--fast"]) == 0


BOX = [5.0, 0, 0, 4, 2, 1.5, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("boxes.arrow", with_column("box", first([np.nan, *BOX[1:]])), "frame 0, row 0 (car): number is not finite"),
        ("boxes.arrow", with_column("box", first([*BOX[:3], -4, *BOX[4:]])), "size is not positive"),
        ("boxes.arrow", with_column("box", first([*BOX[:6], 90.0, 0, 0])), "yaw is outside"),
        ("boxes.arrow", with_column("box", first([*BOX[:7], 1.0, 0])), "velocity is masked but not 0"),
        ("boxes.arrow", with_column("track", first(9)), "track does not exist"),
        ("boxes.arrow", with_column("track", first(1)), "num_boxes does not agree"),
        ("boxes.arrow", with_column("frame", first(2)), "frame does not exist"),
        ("boxes.arrow", with_column("frame", lambda frames: frames[::-1]), "not sorted by frame"),
        ("boxes.arrow", lambda table: table.slice(1), "counts.boxes says 3, the tables hold 2"),
        ("boxes.arrow", lambda table: table.drop_columns(["box"]), "column box is missing"),
        ("frames.arrow", with_column("timestamp_ns", lambda stamps: stamps[::-1]), "time does not increase"),
        ("frames.arrow", with_column("row_top", first(7)), "points beyond the 2 rows of top"),
        ("frames.arrow", with_column("pose_rotation", first([2.0, 0, 0, 0])), "poses are not finite or not rotations"),
        ("sweeps.arrow", with_column("timestamp_ns", first(5)), "top row 1: time goes back"),
        ("sweeps.arrow", with_column("pose_translation", first([np.inf, 0, 0])), "poses are not finite"),
        ("sweeps.arrow", with_column("sensor", first(2)), "sensor column is not sorted"),
        ("sensors.arrow", with_column("ego_from_sensor", first(np.diag([1, -1, 1, 1.0]).ravel())), "mirrors"),
        ("sensors.arrow", with_column("ego_from_sensor", first(np.diag([9, 1, 1, 1.0]).ravel())), "not a rigid motion"),
        ("lidar_top.arrow", with_column("ring", first([0])), "ring is not as long as the points"),
        ("lidar_top.arrow", with_column("points", first([np.nan] * 12)), "points are not finite"),
        ("lidar_top.arrow", with_column("points", first([0.0] * 4)), "counts.points says"),
        ("camera_front.arrow", with_column("data", first(b"text")), "not a JPEG or PNG"),
        ("map.arrow", with_column("geometry", first([])), "lane 1 is empty or not finite"),
    ],
)  # fmt: skip
def test_wrong_tables(
    tmp_path: Path, name: str, change: Callable[[pa.Table], pa.Table], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = make_log(tmp_path)
    rewrite(log, name, change)
    problems = verify_log(log).problems
    assert any(message in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(problems)
    assert all(line.startswith("problem: ") for line in lines)


def test_damaged_files(tmp_path: Path) -> None:
    log = make_log(tmp_path)
    path = log / "lidar_top.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert any("SHA-256" in problem for problem in verify_log(log).problems)
    assert verify_log(log, fast=True).problems == []
    path.write_bytes(bytes(data[:-8]))
    (problem,) = verify_log(log, fast=True).problems
    assert "bytes, the manifest says" in problem
    path.unlink()
    (problem,) = verify_log(log).problems
    assert "missing" in problem


def test_foreign_file_and_unknown_version(tmp_path: Path) -> None:
    log = make_log(tmp_path)
    (log / "extra.txt").write_text("?")
    (problem,) = verify_log(log).problems
    assert "does not list this file" in problem
    manifest = json.loads((log / "log.json").read_text())
    (log / "log.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    (problem,) = verify_log(log).problems
    assert "version 99" in problem


def test_one_broken_log_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_log(tmp_path)
    shutil.copytree(make_log(tmp_path, "bad"), tmp_path / "worse")
    (tmp_path / "bad/log.json").write_text("{")
    (tmp_path / "worse/boxes.arrow").write_bytes(b"")
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 2
    assert "good" in printed.out


def test_no_logs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished log"):
        main([str(tmp_path)])
    with pytest.raises(UserError, match="no such folder"):
        main([str(tmp_path / "nowhere")])


def test_real_logs(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module, raw in ((kitti, "kitti/object"), (av2, "av2/sensor")):
        for spec in module.list_logs(real_data / raw, module.Options()):
            module.convert_log(real_data / raw, spec, tmp_path, module.Options())
    assert len(list_logs(tmp_path)) == 12
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
