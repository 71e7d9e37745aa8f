"""Every number of the raw tables and files is in the log, bit for bit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.convert import convert
from data_tools.nuscenes import Options, tables
from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation, transform_points
from drive.logs.store import Log, list_logs

# The order of the fields in a radar file of nuScenes.
NAMES_BEFORE_RCS = ("x", "y", "z", "dyn_prop", "id")
NAMES_AFTER_RCS = ("vx", "vy", "vx_comp", "vy_comp", "is_quality_valid", "ambig_state", "x_rms", "y_rms",
                   "invalid_state", "pdh0", "vx_rms", "vy_rms")  # fmt: skip


@pytest.fixture(autouse=True)
def _compiled_pass_for_small_tables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SMALL_BYTES", 0)


def same_bits(found: np.ndarray, expected: Any) -> None:
    assert np.asarray(found, np.float64).tobytes() == np.asarray(expected, np.float64).tobytes()


def convert_all(raw: Any, out: Path, **options: Any) -> list[Log]:
    report = convert("nuscenes", raw.root, out, Options(**options))
    assert report.failed == ()
    return [Log.open(path) for path in list_logs(out)]


def test_every_number_comes_back(raw: Any, tmp_path: Path) -> None:
    logs = convert_all(raw, tmp_path / "out")
    assert [(log.name, log.split) for log in logs] == [("scene-0001", "mini_train"), ("scene-0103", "mini_val")]
    table = {name: {record["token"]: record for record in records} for name, records in raw.tables.items()}
    seen = 0
    for log in logs:
        log.verify_checksums()
        for name, sensor in log.sensors.items():
            calibration = table["calibrated_sensor"][sensor.source_token]
            assert table["sensor"][calibration["sensor_token"]]["channel"] == name
            same_bits(sensor.source_translation, calibration["translation"])
            same_bits(sensor.source_rotation, calibration["rotation"])
            if sensor.modality == "camera":
                same_bits(sensor.intrinsics, calibration["camera_intrinsic"])
                assert (sensor.width, sensor.height) == (16, 9)
            for row in range(log.num_sweeps(name)):
                entry = log.image(name, row) if sensor.modality == "camera" else log.sweep(name, row)
                record = table["sample_data"][entry.source_token]
                pose = table["ego_pose"][record["ego_pose_token"]]
                seen += 1
                assert entry.source_name == record["filename"]
                assert entry.source_pose_token == record["ego_pose_token"]
                assert entry.source_timestamp == record["timestamp"]
                assert entry.timestamp_ns == 1000 * record["timestamp"]
                assert entry.source_pose_timestamp == pose["timestamp"]
                assert entry.is_key_frame == record["is_key_frame"]
                assert record["calibrated_sensor_token"] == sensor.source_token
                same_bits(entry.pose_translation, pose["translation"])
                same_bits(entry.pose_rotation, pose["rotation"])
                data = (raw.root / record["filename"]).read_bytes()
                if sensor.modality == "camera":
                    assert entry.data == data
                elif sensor.modality == "lidar":
                    assert entry.points.tobytes() == data
                else:
                    assert _radar_bytes(entry) + b"\n" == data[data.index(b"DATA binary\n") + 12 :]
        frames = {log.frame(i).token: i for i in range(log.num_frames)}
        samples = [r for r in raw.tables["sample"] if r["token"] in frames]
        assert log.frame_timestamps_ns.tolist() == sorted(1000 * r["timestamp"] for r in samples)
        for token, i in frames.items():
            frame = log.frame(i)
            assert frame.source_timestamp == table["sample"][token]["timestamp"]
            assert set(frame.rows) == set(log.sensors)
            for name, row in frame.rows.items():
                entry = log.image(name, row) if log.sensors[name].modality == "camera" else log.sweep(name, row)
                assert table["sample_data"][entry.source_token]["sample_token"] == token
                assert entry.is_key_frame
            np.testing.assert_array_equal(
                frame.global_from_ego, log.sweep("LIDAR_TOP", frame.rows["LIDAR_TOP"]).global_from_ego
            )
            expected = [r for r in raw.tables["sample_annotation"] if r["sample_token"] == token]
            boxes = log.boxes(i)
            assert boxes.source_token == [r["token"] for r in expected]
            assert boxes.track_token == [r["instance_token"] for r in expected]
            assert boxes.visibility == [r["visibility_token"] for r in expected]
            assert boxes.num_lidar_points.tolist() == [r["num_lidar_pts"] for r in expected]
            assert boxes.num_radar_points.tolist() == [r["num_radar_pts"] for r in expected]
            names = [[table["attribute"][t]["name"] for t in r["attribute_tokens"]] for r in expected]
            assert boxes.attributes == [";".join(n) for n in names]
            for column, key in (("translation", "translation"), ("rotation", "rotation"), ("size", "size")):
                same_bits(getattr(boxes, f"source_{column}"), [r[key] for r in expected])
            instances = [table["instance"][r["instance_token"]] for r in expected]
            assert boxes.category == [table["category"][r["category_token"]]["name"] for r in instances]
            centre = transform_points(frame.global_from_ego, boxes.boxes[:, :3])
            np.testing.assert_allclose(centre, boxes.source_translation, atol=1e-9)
            np.testing.assert_array_equal(boxes.boxes[:, 3:6], boxes.source_size[:, [1, 0, 2]])
        source = log.table("source").to_pylist()[0]
        assert source["scene_description"] == "rain, }, night"
        assert source["log_vehicle"] == "n008"
        raster = log.table("map_raster").to_pylist()[0]
        assert (raster["width"], raster["height"], raster["file"]) == (20, 30, "prior.png")
        assert log.file_path("prior.png").read_bytes() == (raw.root / "maps" / "prior.png").read_bytes()
    assert seen == len(raw.tables["sample_data"])
    assert sum(log.manifest["counts"]["boxes"] for log in logs) == len(raw.tables["sample_annotation"])


def _radar_bytes(sweep: Any) -> bytes:
    floats = dict(zip(sweep.columns, sweep.points.T, strict=True))
    names = (*NAMES_BEFORE_RCS, "rcs", *NAMES_AFTER_RCS)
    columns = {n: floats.get(n, sweep.extra.get(n)) for n in names}
    assert columns["id"].dtype == np.int16
    assert columns["pdh0"].dtype == np.int8
    packed = np.zeros(len(sweep.points), [(n, c.dtype) for n, c in columns.items()])
    for name, values in columns.items():
        packed[name] = values
    return packed.tobytes()


def test_empty_sweep_and_frame_without_boxes(raw: Any, tmp_path: Path) -> None:
    log = convert_all(raw, tmp_path / "out", scenes=("scene-0103",))[0]
    assert log.sweep("LIDAR_TOP", 0).points.shape == (0, 5)
    assert log.boxes(1).boxes.shape == (0, 9)
    assert log.sweep("RADAR_FRONT", 0).points.shape == (0, 8)


def test_selection(raw: Any, tmp_path: Path) -> None:
    (log,) = convert_all(raw, tmp_path / "out", split=("mini_val",), sensors=("LIDAR_TOP",), key_frames_only=True)
    assert list(log.sensors) == ["LIDAR_TOP"]
    assert log.num_sweeps("LIDAR_TOP") == 3
    assert log.num_frames == 3


def test_interpolated_boxes(raw: Any, tmp_path: Path) -> None:
    log = convert_all(raw, tmp_path / "out", scenes=("scene-0001",), interpolate_boxes=True)[0]
    assert log.num_frames == 3 + 8
    assert log.frame_interpolated.tolist() == ([False] + [True] * 4) * 2 + [False]
    assert (np.diff(log.frame_timestamps_ns) > 0).all()
    frame, boxes = log.frame(2), log.boxes(2)
    assert set(frame.rows) == {"LIDAR_TOP"}
    assert boxes.interpolated.all()
    assert len(boxes.category) == 2  # the third instance appears at the second key frame only
    before, after = log.boxes(0), log.boxes(5)
    share = (frame.timestamp_ns - log.frame(0).timestamp_ns) / (log.frame(5).timestamp_ns - log.frame(0).timestamp_ns)
    expected = (1 - share) * before.source_translation[:2] + share * after.source_translation[:2]
    np.testing.assert_allclose(boxes.source_translation, expected, atol=1e-12)
    assert not boxes.num_lidar_points_valid.any()
    # Yaw goes the short way across pi: -3.0 + 0.05 k, so the turn is even.
    box = from_translation_rotation(boxes.source_translation, boxes.source_rotation)
    yaw = np.arctan2(box[:, 1, 0], box[:, 0, 0])
    np.testing.assert_allclose(yaw, [-3.0 + 0.05 * share, -2.5 + 0.05 * share], atol=1e-9)


def test_optional_tables(raw: Any, tmp_path: Path) -> None:
    sweeps = [r for r in raw.tables["sample_data"] if "LIDAR" in r["filename"] and r["is_key_frame"]]
    labels = {}
    for record in sweeps[:2]:
        count = (raw.root / record["filename"]).stat().st_size // 20
        labels[record["token"]] = np.arange(count, dtype=np.uint8)
        raw.add_file(f"lidarseg/{record['token']}.bin", labels[record["token"]].tobytes())
    raw.tables["lidarseg"] = [
        {"token": t, "sample_data_token": t, "filename": f"lidarseg/{t}.bin"} for t in sorted(labels)
    ]
    raw.tables["scene_3d"] = [
        {
            "token": "a",
            "scene_token": raw.tables["scene"][0]["token"],
            "filename": raw.add_file("scene_3d/a.npz", b"3d"),
            "bodies_filename": raw.add_file("scene_3d/a_bodies.npz", b"bodies"),
        }
    ]
    messages = [{"utime": 1, "pos": [1.5, 2.25]}, {"utime": 2, "pos": [2.5, 0.1]}]
    raw.add_file("can_bus/scene-0103_pose.json", json.dumps(messages).encode())
    raw.add_file("can_bus/scene-0103_route.json", b"[[1, 2]]")
    raw.write()
    log = convert_all(raw, tmp_path / "out", scenes=("scene-0103",))[0]
    for row in log.table("point_labels").to_pylist():
        sweep = log.sweep(row["sensor"], row["row"])
        assert row["semantic"] == labels[sweep.source_token].tolist()
        assert row["instance"] is None
    assert log.table("can_pose").to_pylist() == messages
    assert log.file_path("can_route.json").read_bytes() == b"[[1, 2]]"
    assert log.file_path("scene_3d.npz").read_bytes() == b"3d"
    assert log.file_path("bodies_3d.npz").read_bytes() == b"bodies"
    assert "synthetic" in log.manifest["licence"]


def spoil(raw: Any, kind: str) -> None:
    record = next(r for r in raw.tables["sample_data"] if "scene-0103" in r["filename"] and "LIDAR" in r["filename"]
                  and r["prev"])  # fmt: skip
    image = next(r for r in raw.tables["sample_data"] if "scene-0103" in r["filename"] and "CAM" in r["filename"])
    file = raw.root / record["filename"]
    if kind == "truncated sweep":
        file.write_bytes(file.read_bytes()[:-7])
    elif kind == "missing sweep":
        file.unlink()
    elif kind == "other columns":
        points = np.full((4, 5), 0.5, np.float32)
        file.write_bytes(points.tobytes())
    elif kind == "truncated image":
        (raw.root / image["filename"]).write_bytes((raw.root / image["filename"]).read_bytes()[:-20])
    elif kind == "not an image":
        (raw.root / image["filename"]).write_bytes(b"hello")
    elif kind == "truncated radar":
        path = next((raw.root / "samples" / "RADAR_FRONT").glob("scene-0103*"))
        path.write_bytes(path.read_bytes().replace(b"WIDTH 0", b"WIDTH 9"))
    elif kind == "NaN box":
        raw.tables["sample_annotation"][0]["translation"][1] = float("nan")
    elif kind == "size zero":
        raw.tables["sample_annotation"][0]["size"][1] = 0.0
    elif kind == "lost neighbour":
        raw.tables["sample_annotation"][0]["next"] = "feed"
    raw.write()


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("truncated sweep", r"\.pcd\.bin: \d+ bytes are not whole points of 5 float32; the file was cut"),
        ("missing sweep", r"\.pcd\.bin: the file is missing; get it"),
        ("other columns", r"\.pcd\.bin: point 0 has ring 0\.5, not a whole number"),
        ("truncated image", r"\.jpg: the JPEG ends early"),
        ("not an image", r"\.jpg: not an image"),
        ("truncated radar", r"\.pcd: the header promises 9 points, the file holds 0"),
        ("NaN box", r"sample_annotation\.json: annotation '\w+' has translation \[.*nan"),
        ("size zero", r"scene-0103, frame 0, box 0 \(vehicle\.car, track \w+\): not a box"),
        ("lost neighbour", r"has next 'feed', which is not in its scene"),
    ],
)
def test_bad_scenes_fail_alone_with_one_line(raw: Any, tmp_path: Path, kind: str, line: str) -> None:
    spoil(raw, kind)
    report = convert("nuscenes", raw.root, tmp_path / "out")
    assert report.converted == ("scene-0001",)
    ((name, error),) = report.failed
    assert name == "scene-0103"
    assert "\n" not in error
    assert re.search(line, error), error
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["logs.json", "scene-0001"]


def cut(raw: Any, name: str) -> None:
    path = raw.root / raw.version / f"{name}.json"
    path.write_text(path.read_text()[:-30])


@pytest.mark.parametrize(
    ("spoiler", "line"),
    [
        (lambda raw: cut(raw, "sample_data"), r"sample_data\.json: broken JSON at line \d+, column \d+"),
        (lambda raw: cut(raw, "scene"), r"scene\.json: broken JSON at line \d+"),
        (lambda raw: (raw.root / raw.version / "ego_pose.json").unlink(), r"ego_pose\.json: the table is missing"),
        (
            lambda raw: raw.tables["sample"].pop() and raw.write(),
            r"sample_data\.json: record \d+ refers to a sample that is not there",
        ),
        (
            lambda raw: raw.tables["scene"][0].update(nbr_samples=4) or raw.write(),
            r"sample\.json: has 3 samples of scene-0103, its record says 4",
        ),
        (
            lambda raw: raw.tables["ego_pose"].append(raw.tables["ego_pose"][0]) or raw.write(),
            r"ego_pose\.json: a token stands there twice",
        ),
        (
            lambda raw: raw.tables["sample_data"][3].pop("sample_token") and raw.write(),
            r"sample_data\.json: record 3 has 'sample_token' = None, not a token",
        ),
    ],
)
def test_bad_tables_are_named(raw: Any, tmp_path: Path, spoiler: Any, line: str) -> None:
    spoiler(raw)
    with pytest.raises(UserError, match=line):
        convert("nuscenes", raw.root, tmp_path / "out")


@pytest.mark.parametrize(
    ("spoiler", "line"),
    [
        (
            lambda t: t["ego_pose"].pop(0),
            r"sample_data\.json: record '\w+' refers to ego_pose_token '\w+', which is not",
        ),
        (lambda t: t["instance"].pop(0), r"record '\w+' refers by instance_token to '\w+', which is not there"),
        (lambda t: t["attribute"].pop(0), r"record '\w+' refers by attribute_tokens to '\w+', which is not there"),
        (
            lambda t: t["sample_data"][5].update(timestamp="soon"),
            r"sample_data\.json: record '\w+' has 'timestamp' = 'soon', expected an integer",
        ),
        (
            lambda t: t["ego_pose"][5].pop("rotation"),
            r"ego_pose\.json: record '\w+' has 'rotation' = None, expected 4 numbers",
        ),
        (lambda t: t["ego_pose"][5]["rotation"].pop(), r"ego_pose\.json: record '\w+' has 'rotation' = \[.*expected 4"),
        (lambda t: t["sample_annotation"][0].update(prev=None), r"has 'prev' = None, expected text"),
    ],
)
def test_bad_records_fail_their_scene(raw: Any, tmp_path: Path, spoiler: Any, line: str) -> None:
    spoiler(raw.tables)
    raw.write()
    report = convert("nuscenes", raw.root, tmp_path / "out")
    lines = dict(report.failed)
    assert re.search(line, lines["scene-0103"]), lines
    if "attribute" not in line:  # that one is missing for all scenes
        assert report.converted == ("scene-0001",)


def test_braces_in_names_take_the_slow_way(raw: Any, tmp_path: Path) -> None:
    """A name that the compiled pass does not take for text: the parser's way gives the same log."""
    convert_all(raw, tmp_path / "fast")
    for name in ("sample_data", "ego_pose", "sample_annotation", "sample", "instance"):
        raw.tables[name][0]["note"] = 'a "}, {" of \u00e4\u00f6'
    raw.write()
    for path in (raw.root / raw.version).glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False), encoding="utf-8")
    convert_all(raw, tmp_path / "slow")
    for fast, slow in zip(list_logs(tmp_path / "fast"), list_logs(tmp_path / "slow"), strict=True):
        assert Log.open(fast).manifest == Log.open(slow).manifest


def test_tokens_of_any_kind(raw: Any, tmp_path: Path) -> None:
    """Tokens need not be 32 hexadecimal digits."""
    for path in (raw.root / raw.version).glob("*.json"):
        path.write_text(re.sub(r'"([0-9a-f]{32})"', r'"id-\1"', path.read_text()))
    log = convert_all(raw, tmp_path / "out")[0]
    assert log.frame_tokens[0].startswith("id-")
    assert len(log.boxes(0).boxes) == 2


def test_wrong_choices(raw: Any, tmp_path: Path) -> None:
    for options, line in (
        (Options(version="v1.0-trainval"), "no such version; --version is one of: v1.0-mini"),
        (Options(scenes=("scene-9999",)), "has no scene 'scene-9999'; the scenes there: scene-0001 to scene-0103"),
        (Options(split=("val",)), "has no scene in split 'val'; the splits there: mini_train, mini_val"),
        (Options(sensors=("SONAR",)), "has no sensor 'SONAR'"),
    ):
        with pytest.raises(UserError, match=line):
            convert("nuscenes", raw.root, tmp_path / "out", options)
    with pytest.raises(UserError, match="holds no nuScenes tables"):
        convert("nuscenes", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
