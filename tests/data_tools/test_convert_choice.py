"""What a user chooses of a recording, for every data set alike: logs, sensors, a range of time, form of the payload."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_recording

from data_tools import convert as module
from data_tools.convert import Choice, convert, main, plan
from data_tools.kitti.convert import Options as KittiOptions
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.coding import ERROR_BOUND_M
from drive.logs.store import Log, list_logs


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(module.DATASETS, "toy", "toy_recording")
    return toy_recording.make_raw(tmp_path / "raw")


def one(toy: Path, out: Path, choice: Choice) -> Log:
    report = convert("toy", toy, out, choice=choice, logs=("log-b",))
    assert report.failed == ()
    log = Log.open(out / "log-b")
    result = verify_log(log.path)
    assert result.problems == []
    return log


def test_logs_by_name(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert convert("toy", toy, out, logs=("*-b",)).converted == ("log-b",)
    # Appending: other logs into the finished folder, what is there stays.
    more = convert("toy", toy, out, logs=("log-b", "*c"))
    assert (more.converted, more.skipped) == (("log-c",), ("log-b",))
    with pytest.raises(UserError, match=r"has no log 'log-x\*'; its logs are log-a, log-b, log-c"):
        convert("toy", toy, out, logs=("log-a", "log-x*"))


def test_sensors(toy: Path, tmp_path: Path) -> None:
    log = one(toy, tmp_path / "out", Choice(sensors=("LIDAR", "CA*")))
    assert list(log.sensors) == ["LIDAR", "CAM"]
    assert log.frame(1).rows == {"LIDAR": 5, "CAM": 1}
    assert log.manifest["choice"] == {"sensors": ["LIDAR", "CA*"]}
    assert sorted(p.name for p in log.path.glob("radar*")) == []
    camera = one(toy, tmp_path / "cam", Choice(sensors=("CAM",)))
    assert camera.num_frames == 2
    assert camera.frame(1).rows == {"CAM": 1}
    assert camera.table("point_labels").num_rows == 0
    report = convert("toy", toy, tmp_path / "none", choice=Choice(sensors=("SONAR",)))
    assert report.failed[0][1] == "log-a: has no sensor SONAR; its sensors are LIDAR, RADAR, CAM"


def test_time(toy: Path, tmp_path: Path) -> None:
    """Sweeps are at 0, 0.1 ... 0.9 s, images at 0.03 and 0.53, frames at 0 and 0.5."""
    whole = one(toy, tmp_path / "whole", Choice())
    log = one(toy, tmp_path / "late", Choice(start_s=0.3))
    assert (log.num_sweeps("LIDAR"), log.num_sweeps("RADAR"), log.num_sweeps("CAM"), log.num_frames) == (7, 7, 1, 1)
    frame = log.frame(0)
    assert (frame.token, frame.rows) == ("frame5", {"LIDAR": 2, "RADAR": 2, "CAM": 0})
    np.testing.assert_array_equal(log.sweep("LIDAR", 2).points, whole.sweep("LIDAR", 5).points)
    assert log.image("CAM", 0).data == whole.image("CAM", 1).data
    assert log.boxes(0).track_token == ["track5"]
    assert log.tracks["source_token"].to_pylist() == ["track5"]
    assert log.table("lights")["frame"].to_pylist() == [0]
    assert log.table("lights")["source_state"].to_pylist() == ["5"]
    assert log.table("point_labels")["row"].to_pylist() == [2]
    assert log.table("point_labels")["semantic"].to_pylist() == [[5]]
    assert log.table("track_roles")["track"].to_pylist() == ["track5"]
    assert log.table("ego").num_rows == 7
    early = one(toy, tmp_path / "early", Choice(end_s=0.3))
    assert (early.num_sweeps("LIDAR"), early.num_sweeps("CAM"), early.num_frames) == (3, 1, 1)
    empty = one(toy, tmp_path / "empty", Choice(start_s=100.0))
    assert (empty.num_sweeps("LIDAR"), empty.num_frames, list(empty.sensors)) == (0, 0, ["LIDAR", "RADAR", "CAM"])


def test_points(toy: Path, tmp_path: Path) -> None:
    raw = one(toy, tmp_path / "raw-points", Choice())
    packed = one(toy, tmp_path / "lz4", Choice(points="lz4"))
    rough = one(toy, tmp_path / "quantised", Choice(points="quantised"))
    for row in range(10):
        for sensor in ("LIDAR", "RADAR"):
            exact = raw.sweep(sensor, row).points
            np.testing.assert_array_equal(packed.sweep(sensor, row).points, exact)
            found = rough.sweep(sensor, row).points
            assert np.abs(found[:, :3] - exact[:, :3]).max(initial=0) <= ERROR_BOUND_M
            np.testing.assert_array_equal(found[:, 3:], exact[:, 3:])
        np.testing.assert_array_equal(rough.sweep("LIDAR", row).extra["ring"], raw.sweep("LIDAR", row).extra["ring"])
    with pytest.raises(UserError, match=r"begun with .*quantised.*, now asked: .*lz4"):
        convert("toy", toy, tmp_path / "quantised", choice=Choice(points="lz4"))


def test_images_by_reference(toy: Path, tmp_path: Path) -> None:
    copied = one(toy, tmp_path / "copied", Choice())
    log = one(toy, tmp_path / "referenced", Choice(reference_images=True))
    for row in range(2):
        assert log.image("CAM", row).data == copied.image("CAM", row).data
    assert b"\xff\xd8\xff" not in (log.path / "camera_CAM.arrow").read_bytes()
    (toy / "log-b" / "1.jpg").write_bytes(b"changed")
    with pytest.raises(UserError, match=r"1\.jpg: has 7 bytes, .*camera_CAM\.arrow refers to an image of 25; put"):
        log.image("CAM", 1)
    toy.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"0\.jpg: .*refers to this image, it cannot be read \(No such file"):
        log.image("CAM", 0)


def test_dry_run(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    planned = plan("toy", toy, out, logs=("*-a", "*-b"))
    assert (planned.names, planned.there, planned.measured) == (("log-a", "log-b"), 0, "log-b")
    assert not out.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]
    convert("toy", toy, out, logs=("log-b",))
    size = sum(p.stat().st_size for p in (out / "log-b").iterdir())
    assert planned.expected_bytes == 2 * size
    assert main(["toy", str(toy), str(out), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "2 logs to convert (log-a, log-c), 1 are there already" in text
    assert f"expected: {2 * size / 1e6:.1f} MB" in text
    assert "free on this disk" in text
    assert [path.name for path in list_logs(out)] == ["log-b"]
    (toy / "log-c" / "deed").write_text("user error")
    with pytest.raises(UserError, match=r"dry run: file\.bin: is bad"):
        plan("toy", toy, out, logs=("log-c",))
    nothing = plan("toy", toy, out, logs=("log-b",))
    assert (nothing.names, nothing.expected_bytes) == ((), 0)


def test_the_command_line(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["--logs", "log-a", "--sensors", "LIDAR", "--start-s", "0.2", "--end-s", "0.6", "--points", "lz4"]
    assert main(["toy", str(toy), str(out), "--workers", "1", *words]) == 0
    assert capsys.readouterr().out == f"{out}: 1 logs converted, 0 were there already\n"
    log = Log.open(out / "log-a")
    choice = {"sensors": ["LIDAR"], "start_s": 0.2, "end_s": 0.6, "points": "lz4"}
    assert log.manifest["choice"] == choice
    assert log.num_sweeps("LIDAR") == 4


def test_a_data_set_s_own_options_win(tmp_path: Path) -> None:
    from data_tools.convert_command import parse

    args = parse("nuscenes", ["raw", "out", "--sensors", "LIDAR_TOP", "--logs", "scene-*", "--points", "quantised"])
    assert args.options.sensors == ("LIDAR_TOP",)
    assert not hasattr(args, "sensors")
    assert (args.logs, args.points) == (("scene-*",), "quantised")
    assert parse("kitti", ["raw", "out", "--reference-images"]).options == KittiOptions()


def test_tiny_town(tiny_town: Path, tmp_path: Path) -> None:
    """A real converter under the same choice: nuScenes' shape, with radar, cameras, maps and boxes."""
    choice = Choice(sensors=("LIDAR_TOP", "CAM_FRONT"), start_s=0.6, end_s=1.6, reference_images=True, points="lz4")
    whole, part = tmp_path / "whole", tmp_path / "part"
    (name,) = convert("nuscenes", tiny_town, whole, logs=("*1",)).converted[:1]
    assert convert("nuscenes", tiny_town, part, choice=choice, logs=(name,)).converted == (name,)
    log, all_of_it = Log.open(part / name), Log.open(whole / name)
    assert verify_log(log.path).problems == []
    assert list(log.sensors) == ["CAM_FRONT", "LIDAR_TOP"]
    assert 0 < log.num_frames < all_of_it.num_frames
    for i in range(log.num_frames):
        frame = log.frame(i)
        same = all_of_it.frame(all_of_it.frame_tokens.index(frame.token))
        for sensor, row in frame.rows.items():
            if sensor == "LIDAR_TOP":
                ours, theirs = log.sweep(sensor, row), all_of_it.sweep(sensor, same.rows[sensor])
                np.testing.assert_array_equal(ours.points, theirs.points)
            else:
                ours, theirs = log.image(sensor, row), all_of_it.image(sensor, same.rows[sensor])
                assert ours.data == theirs.data
            assert ours.source_token == theirs.source_token
        np.testing.assert_array_equal(log.boxes(i).boxes, all_of_it.boxes(same.index).boxes)
    marker = json.loads((part / "logs.json").read_text())
    assert marker["choice"]["points"] == "lz4"
    shutil.rmtree(whole)
    assert "data_tools.nuscenes" in sys.modules


def test_time_of_a_real_log(real_data: Path, tmp_path: Path) -> None:
    """Labels of 15.5 s at 10 Hz, two sweeps somewhere in the middle: time counts from the first label."""
    choice = Choice(start_s=3.0, end_s=8.0)
    (name,) = convert("av2", real_data / "av2" / "sensor", tmp_path, choice=choice).converted
    log = Log.open(tmp_path / name)
    assert log.num_frames == 50
    assert verify_log(log.path).problems == []
    assert len(log.table("frame_attributes")) == 50
