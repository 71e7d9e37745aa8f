"""End-to-end driving frames, written in their raw shape with numbers that one can check on paper."""

from __future__ import annotations

import io
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_tools.convert import convert, main
from data_tools.tfrecord import frame_record
from data_tools.verify import verify_log
from data_tools.waymo_e2e import Options, convert_log, list_logs
from data_tools.waymo_e2e.messages import E2ED_FRAME
from data_tools.waymo_perception.messages import CAMERAS
from data_tools.wire import encode
from drive.errors import UserError
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader


def jpeg(shade: int) -> bytes:
    """An 8 x 6 image."""
    data = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, shade, shade)).save(data, format="JPEG")
    return data.getvalue()


def trajectory(count: int, speed: float, **more: Any) -> dict[str, Any]:
    """`count` positions ahead at 4 Hz."""
    return {
        "pos_x": (np.arange(count) + 1) * speed / 4,
        "pos_y": np.full(count, 0.5),
        "pos_z": np.zeros(count),
    } | more


def frame(segment: str, number: int, **changes: Any) -> dict[str, Any]:
    """Eight cameras; 16 past states at 8 m/s, 20 future ones, two rated trajectories."""
    mounting = np.eye(4)
    mounting[:3, 3] = 1.5, 0.0, 2.0
    calibrations = [
        {
            "name": camera, "intrinsic": [10.0, 10.0, 4.0, 3.0, 0.1, 0.0, 0.0, 0.0, 0.0],
            "extrinsic": {"transform": mounting.reshape(-1)}, "width": 8, "height": 6, "rolling_shutter_direction": 2,
        }
        for camera in CAMERAS
    ]  # fmt: skip
    past = trajectory(16, 8.0) | {"pos_x": (np.arange(16) - 15) * 2.0}
    past |= {
        "vel_x": np.full(16, 8.0),
        "vel_y": np.zeros(16),
        "accel_x": np.linspace(0, 1.5, 16),
        "accel_y": np.ones(16),
    }
    return {
        "frame": {
            "context": {"name": f"{segment}-{number:03d}", "camera_calibrations": calibrations},
            "timestamp_micros": 1_700_000_000_000_000 + number * 100_000,
            "images": [{"name": camera, "image": jpeg(10 * camera + number)} for camera in CAMERAS],
        },
        "past_states": past,
        "future_states": trajectory(20, 8.0),
        "intent": 2,
        "preference_trajectories": [
            trajectory(20, 8.0, preference_score=7.5),
            trajectory(20, 2.0, preference_score=-1.0),
        ],
    } | changes  # fmt: skip


def write(path: Path, *frames: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(frame_record(encode(given, E2ED_FRAME)) for given in frames))
    return path


def converted(raw: Path, out: Path, **options: Any) -> list[Log]:
    segments = list_logs(raw, Options(**options))
    for segment in segments:
        convert_log(raw, segment, out, Options(**options))
        assert verify_log(out / segment.name).problems == []
    return [Log.open(out / segment.name) for segment in segments]


def test_segments_are_put_together_from_all_files(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write(raw / "training.tfrecord-00000-of-00002", frame("aa", 2), frame("bb", 0), frame("aa", 0))
    write(raw / "training.tfrecord-00001-of-00002", frame("aa", 1))
    report = convert("waymo_e2e", raw, tmp_path / "out")
    assert report.converted == ("aa", "bb")
    log = Log.open(tmp_path / "out" / "aa")
    assert (log.num_frames, log.split) == (3, "training")
    assert log.table("e2e_frames")["source_name"].to_pylist() == ["aa-000", "aa-001", "aa-002"]
    assert list(log.sensors) == [f"CAM_{name}" for name in CAMERAS.values()]
    for step in range(3):
        for number, name in CAMERAS.items():
            image = log.image(f"CAM_{name}", log.frame(step).rows[f"CAM_{name}"])
            assert (image.data, image.width, image.height) == (jpeg(10 * number + step), 8, 6)
    write(raw / "x.tfrecord", frame("aa", 1))
    with pytest.raises(UserError, match="frame aa-001 is also record 0"):
        list_logs(raw, Options())


def test_states_intent_and_ratings(tmp_path: Path) -> None:
    write(tmp_path / "raw" / "val.tfrecord", frame("aa", 0))
    (log,) = converted(tmp_path / "raw", tmp_path / "out")
    states = log.table("ego_states").to_pylist()
    past = [row for row in states if row["part"] == "past"]
    assert [row["time_s"] for row in past] == [-3.75 + 0.25 * i for i in range(16)]
    assert past[-1]["x_m"] == 0
    assert past[0]["x_m"] == -30
    assert past[0]["vx_mps"] == 8
    future = [row for row in states if row["part"] == "future"]
    assert (len(future), future[-1]["time_s"], future[-1]["x_m"]) == (20, 5.0, 40.0)
    assert future[0]["vx_mps"] is None
    rated = [row for row in states if row["part"] == "preference"]
    assert [row["x_m"] for row in rated if row["step"] == 19] == [40.0, 10.0]
    assert log.table("preferences").to_pylist() == [
        {"frame": 0, "trajectory": 0, "score": 7.5, "source_score": 7.5},
        {"frame": 0, "trajectory": 1, "score": None, "source_score": -1.0},
    ]
    expected = {"frame": 0, "source_name": "aa-000", "intent": "GO_LEFT", "pose_valid": False, "num_preferences": 2}
    assert log.table("e2e_frames").to_pylist() == [expected]
    (ego,) = log.table("ego").to_pylist()
    assert (ego["vx_mps"], ego["ax_mps2"], ego["ay_mps2"], ego["yaw_rate_rps"]) == (8.0, 1.5, 1.0, None)
    camera = log.sensors["CAM_REAR"]
    assert camera.distortion is not None
    np.testing.assert_allclose(camera.ego_from_sensor[:3, 2], [1, 0, 0])  # looks ahead here; optical axis is z
    np.testing.assert_allclose(camera.source_translation, [1.5, 0, 2])


def test_test_data_and_poses(tmp_path: Path) -> None:
    given = frame("aa", 0, future_states=None, preference_trajectories=[])
    pose = np.eye(4)
    pose[:3, 3] = 5, 6, 7
    given["frame"]["pose"] = {"transform": pose.reshape(-1)}
    write(tmp_path / "raw" / "test.tfrecord", given)
    (log,) = converted(tmp_path / "raw", tmp_path / "out", images=False)
    assert set(log.table("ego_states")["part"].to_pylist()) == {"past"}
    assert log.table("preferences").num_rows == 0
    assert log.table("e2e_frames")["pose_valid"].to_pylist() == [True]
    np.testing.assert_allclose(log.frame(0).pose_translation, [5, 6, 7])
    assert log.num_sweeps("CAM_FRONT") == 0


def test_a_name_that_does_not_stand_first(tmp_path: Path) -> None:
    whole = encode(frame("aa", 3), E2ED_FRAME)
    # The intent (field 7) written before the frame: the head cannot be read without decoding the record.
    moved = whole.replace(b"\x38\x02", b"", 1) if whole.count(b"\x38\x02") == 1 else whole
    path = tmp_path / "raw" / "a.tfrecord"
    path.parent.mkdir()
    path.write_bytes(frame_record(b"\x38\x02" + moved))
    assert [segment.name for segment in list_logs(tmp_path / "raw", Options())] == ["aa"]


def _changed(**changes: Any) -> dict[str, Any]:
    given = frame("aa", 1)
    given["frame"] |= changes
    return given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (frame("aa", 1, intent=9), "intent 9"),
        (frame("aa", 1, past_states={"pos_x": [1.0], "pos_y": []}), "past states: 1 of pos_x, 0 of pos_y"),
        (frame("aa", 1, future_states=trajectory(2, np.nan)), "pos_x of the future states is not finite"),
        (frame("aa", 1, preference_trajectories=[trajectory(2, 1.0, preference_score=11.0)]), "score 11"),
        (_changed(timestamp_micros=1), "goes back"),
        (_changed(timestamp_micros=None), "without time"),
        (_changed(images=[{"name": 1, "image": b"abc"}]), "broken or truncated"),
        (_changed(pose={"transform": [1.0]}), "16 finite numbers"),
    ],
)
def test_what_is_no_frame(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    write(tmp_path / "raw" / "a.tfrecord", frame("aa", 0), given)
    with pytest.raises(UserError, match=message) as caught:
        converted(tmp_path / "raw", tmp_path / "out")
    assert "a.tfrecord: record 1 at byte" in str(caught.value)
    assert not (tmp_path / "out" / "aa").exists()


def test_nothing_to_convert(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no TFRecord file with frames"):
        list_logs(tmp_path, Options())
    (tmp_path / "a.tfrecord").write_bytes(frame_record(b""))
    with pytest.raises(UserError, match="no frame name"):
        list_logs(tmp_path, Options())


@pytest.mark.parametrize("framed", [True, False])
def test_damaged_files(tmp_path: Path, framed: bool) -> None:
    """Damage to the file, and damage to a record whose checksum is right."""
    given = frame("aa", 0)
    given["frame"]["images"] = given["frame"]["images"][:1]
    path = tmp_path / "raw" / "a.tfrecord"
    path.parent.mkdir()
    path.write_bytes(frame_record(encode(given, E2ED_FRAME)) if framed else encode(given, E2ED_FRAME))
    out, count = tmp_path / "out", itertools.count()

    def read(damaged: Path) -> None:
        if not framed:
            damaged.write_bytes(frame_record(damaged.read_bytes()))
        for segment in list_logs(damaged.parent, Options()):
            target = out / str(next(count))
            convert_log(damaged.parent, segment, target, Options())
            assert verify_log(target / segment.name, fast=True).problems == []

    (tmp_path / "sound").mkdir()
    read(Path(shutil.copy(path, tmp_path / "sound")))  # what is imported at first use is no damage's fault
    assert check_reader(read, path) > (150 if framed else 30)


def test_images_in_records_cannot_be_referred_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "raw/val.tfrecord-00000-of-00001", frame("a", 1))
    words = ["waymo_e2e", str(tmp_path / "raw"), str(tmp_path / "out"), "--reference-images"]
    assert main(words) == 2
    assert "lie inside records: there is no file to refer to" in capsys.readouterr().err
