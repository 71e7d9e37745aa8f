"""Scenario and tf.Example records, GPUDrive's JSON: hand-made ones, real ones number by number, damaged ones."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.convert import convert
from data_tools.tfrecord import TFRecordFile, frame_record
from data_tools.verify import verify_log
from data_tools.waymo_motion import MotionLog, Options, convert_log, list_logs
from data_tools.waymo_motion.messages import EXAMPLE, SCENARIO
from data_tools.wire import decode, encode
from drive.errors import UserError
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader
from tests.data_tools.scenario_round_trip import assert_same, states_of
from tests.data_tools.waymo_motion import records


def converted(path: Path, out: Path, record: int | None = 0, **options: Any) -> Log:
    source = MotionLog(path, record)
    convert_log(path.parent, source, out, Options(**options))
    assert verify_log(out / source.name).problems == []
    return Log.open(out / source.name)


def test_a_scenario_by_hand(tmp_path: Path) -> None:
    path = records.write(tmp_path / "raw" / "training.tfrecord-00000-of-01000", records.scenario())
    log = converted(path, tmp_path / "out")
    assert log.name == "training.tfrecord-00000-of-01000_00000"
    assert log.split == "training"
    assert log.frame_timestamps_ns.tolist() == [0, 100_000_000, 200_000_000]
    first = log.boxes(0)
    np.testing.assert_allclose(first.boxes, [[0, 0, 0, 4.5, 2, 1.5, 0, 10, 0], [20, 0, 0, 4.5, 2, 1.5, 0, 10, 0]])
    assert first.category == ["TYPE_VEHICLE", "TYPE_PEDESTRIAN"]
    assert [len(log.boxes(i).boxes) for i in range(3)] == [2, 2, 1]
    np.testing.assert_allclose(log.frame(2).pose_translation, [records.EAST + 2, -50, 2])
    roles = [(row["track"], row["role"], row["difficulty"]) for row in log.table("track_roles").to_pylist()]
    assert roles == [("7", "ego", None), ("9", "predict", 2), ("9", "interest", None)]
    assert [(r["frame"], r["feature_id"], r["state"], r["source_state"]) for r in log.table("lights").to_pylist()] == [
        (0, "5", "red", "LANE_STATE_STOP"),
        (2, "5", "green", "LANE_STATE_GO"),
    ]
    assert log.table("lights")["stop_point"][0].as_py() == [8, 0, 0]
    facts = {"scenario_id": "abc123", "current_time_index": 1, "file": path.name, "record": 0}
    assert log.table("scenario").to_pylist() == [facts]
    assert log.table("camera_tokens").to_pylist() == [{"frame": 0, "camera": "FRONT", "tokens": [5, 8191]}]
    kinds = {f.feature_id: f for f in log.map_features()}
    assert [f.kind for f in kinds.values()] == ["lane", "road_line", "road_edge", "stop_sign", "ped_crossing"]
    lane = kinds["5"]
    assert (lane.predecessors, lane.successors, lane.is_polygon) == (("4",), ("6", "7"), False)
    assert lane.attributes["speed_limit_mph"] == 35
    line = {"lane_start": 0, "lane_end": 1, "feature_id": 40, "type": 7}
    span = {"self_start": 0, "self_end": 1, "neighbor_start": 2, "neighbor_end": 3}
    assert lane.attributes["left_neighbors"] == [{"feature_id": 8, **span, "boundaries": [line]}]
    assert lane.attributes["left_boundaries"] == [{"lane_start": 0, "lane_end": 1, "feature_id": 40, "type": 7}]
    assert log.table("map_features_without_points")["feature_id"].to_pylist() == ["44"]


def test_a_tf_example_by_hand(tmp_path: Path) -> None:
    log = converted(records.write(tmp_path / "raw" / "a.tfrecord", records.example()), tmp_path / "out")
    assert log.frame_timestamps_ns.tolist() == [0, 100_000_000, 200_000_000]
    np.testing.assert_allclose(
        log.boxes(0).boxes, [[0, 0, 0, 4.5, 2, 1.5, 0, 10, 0], [20, 0, 0, 4.5, 2, 1.5, 0, 10, 0]], atol=1e-3
    )
    assert [len(log.boxes(i).boxes) for i in range(3)] == [2, 2, 1]
    assert log.boxes(0).extra["source_speed"] == [10, 10]
    assert log.table("track_attributes")["track"].to_pylist() == ["7", "9"]
    roles = [(row["track"], row["role"], row["difficulty"]) for row in log.table("track_roles").to_pylist()]
    assert roles == [("7", "ego", None), ("9", "predict", 2), ("9", "interest", None)]
    assert [(r["frame"], r["feature_id"], r["state"]) for r in log.table("lights").to_pylist()] == [
        (0, "5", "red"),
        (2, "5", "green"),
    ]
    features = log.map_features()
    assert [(f.feature_id, f.kind, len(f.geometry), f.attributes.get("part")) for f in features] == [
        ("5", "lane", 2, None),
        ("40", "road_line", 2, None),
        ("43", "ped_crossing", 3, None),
        ("5", "lane", 1, 1),  # the same id again: a second part, not joined by a guess
    ]
    assert log.table("scenario").to_pylist()[0]["current_time_index"] == 1


def test_files_hold_many_scenarios(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    records.write(raw / "a.tfrecord", records.scenario(), records.example(), {**records.scenario(), "scenario_id": "x"})
    (raw / "notes.txt").write_text("")
    (raw / ".b.tfrecord").write_bytes(b"")
    assert [log.name for log in list_logs(raw, Options())] == [f"a.tfrecord_0000{i}" for i in range(3)]
    report = convert("waymo_motion", raw, tmp_path / "out")
    assert len(report.converted) == 3
    ids = [Log.open(tmp_path / "out" / name).table("scenario")["scenario_id"][0].as_py() for name in report.converted]
    assert ids == ["abc123", "abc123", "x"]
    with pytest.raises(UserError, match="no TFRecord file with records"):
        list_logs(raw, Options(files="*.pb"))
    records.write(raw / "b" / "a.tfrecord", records.scenario())
    with pytest.raises(UserError, match="the same name"):
        list_logs(raw, Options())


def _changed(**changes: Any) -> dict[str, Any]:
    return {**records.scenario(), **changes}


def _with_track(**changes: Any) -> dict[str, Any]:
    given = records.scenario()
    given["tracks"][1].update(changes)
    return given


def _with_state(name: str, value: float) -> dict[str, Any]:
    given = records.scenario()
    given["tracks"][1]["states"][name] = np.full(records.STEPS, value)
    return given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (_changed(timestamps_seconds=[]), "no timestamps"),
        (_changed(timestamps_seconds=[0.0, 0.1, 0.1]), "time does not increase"),
        (_changed(timestamps_seconds=[0.0, 0.1]), "3 states for 2 steps"),
        (_changed(sdc_track_index=2), "track index 2 of 2"),
        (_changed(sdc_track_index=None), "no sdc_track_index"),
        (_changed(tracks_to_predict=[{"track_index": -1}]), "track index -1"),
        (_changed(objects_of_interest=[77]), "track 77"),
        (_changed(dynamic_map_states=[{"lane_states": [{"lane": 1, "state": 9}]}]), "signal state 9"),
        (_changed(dynamic_map_states=[{"lane_states": []}] * 4), "signals at 4 steps"),
        (_with_track(object_type=12), "object type 12"),
        (_with_track(id=7), "track 7: the track is there twice"),
        (_with_state("center_x", np.nan), "track 9, step 0: position"),
        (_with_state("length", 0.0), "track 9, step 0: size"),
        ({"features": {"entries": []}}, "no numbers state/id"),
    ],
)
def test_what_is_no_scenario(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    path = records.write(tmp_path / "raw" / "a.tfrecord", records.scenario(), given)
    with pytest.raises(UserError, match=message) as caught:
        converted(path, tmp_path / "out", 1)
    assert "a.tfrecord: record 1 at byte" in str(caught.value)
    assert not (tmp_path / "out" / "a.tfrecord_00001").exists()


def test_the_real_scenario(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "waymo/motion/scenario/motion_data_one_scenario.tfrecord"
    with TFRecordFile(path) as file:
        given = decode(file.read(0), SCENARIO)
    log = converted(path, tmp_path)
    found = states_of(log)
    assert len(given["tracks"]) == log.tracks.num_rows == 83
    assert sum(valid.sum() for valid in found.valid.values()) == 4596
    assert log.table("lights").num_rows == 1092
    assert len(log.map_features()) == len(given["map_features"]) == 301
    kinds = list(found.category.values())
    assert [kinds.count(f"TYPE_{k}") for k in ("VEHICLE", "PEDESTRIAN", "CYCLIST")] == [70, 10, 3]
    for track in given["tracks"]:
        token, states = str(track["id"]), track["states"]
        valid = states["valid"]
        assert np.array_equal(found.valid[token], valid)
        for i, axis in enumerate("xyz"):
            assert_same(found.position[token][:, i], states[f"center_{axis}"], valid)
        for i, side in enumerate(("length", "width", "height")):
            assert_same(found.size[token][:, i], states[side], valid)
        for i, axis in enumerate("xy"):
            assert_same(found.velocity[token][:, i], states[f"velocity_{axis}"], valid)
        assert_same(np.sin(found.heading[token]), np.sin(states["heading"].astype(float)), valid)
        assert_same(np.cos(found.heading[token]), np.cos(states["heading"].astype(float)), valid)
    features = {f.feature_id: f for f in log.map_features()}
    for given_feature in given["map_features"]:
        body = next(value for name, value in given_feature.items() if name != "id")
        if "points" in body:
            points = np.stack([body["points"][axis] for axis in "xyz"], axis=1)
            assert_same(features[str(given_feature["id"])].geometry, points, np.ones(len(points), bool))
    for lane in (f for f in given["map_features"] if "lane" in f):
        kept = features[str(lane["id"])].attributes
        for side in ("left_neighbors", "right_neighbors"):
            assert [n["feature_id"] for n in kept[side]] == [n["feature_id"] for n in lane["lane"][side]]
            boundaries = [n["boundaries"]["feature_id"].tolist() for n in lane["lane"][side]]
            assert [[b["feature_id"] for b in n["boundaries"]] for n in kept[side]] == boundaries
    lanes = [f for f in features.values() if f.kind == "lane"]
    assert sum(len(lane.successors) for lane in lanes) > 100
    assert {s for lane in lanes for s in (*lane.successors, *lane.predecessors)} <= set(features)


def test_the_real_example(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "waymo/motion/tf_example/motion_data_one_example.tfrecord"
    with TFRecordFile(path) as file:
        given = decode(file.read(0), EXAMPLE)
    lists = {e["key"]: next(iter(e["value"].values()))["values"] for e in given["features"]["entries"]}
    assert len(lists) == 72
    log = converted(path, tmp_path)
    assert log.table("scenario")["scenario_id"].to_pylist() == ["a3bb37c25ce56418"]
    found = states_of(log)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([lists[f"state/{p}/{name}"].reshape(128, -1) for p in ("past", "current", "future")], 1)

    valid = joined("valid") == 1
    assert sum(v.sum() for v in found.valid.values()) == valid.sum() > 0
    for row, number in enumerate(lists["state/id"]):
        token = str(int(number))
        if not valid[row].any():
            continue
        assert np.array_equal(found.valid[token], valid[row])
        for i, axis in enumerate("xyz"):
            assert_same(found.position[token][:, i], joined(axis)[row], valid[row])
        for i, axis in enumerate("xy"):
            assert_same(found.velocity[token][:, i], joined(f"velocity_{axis}")[row], valid[row])
    seen = sum(int((lists[f"traffic_light_state/{p}/valid"] == 1).sum()) for p in ("past", "current", "future"))
    assert log.table("lights").num_rows == seen
    keep = lists["roadgraph_samples/valid"] == 1
    points = np.concatenate([f.geometry for f in log.map_features()])
    assert_same(points, lists["roadgraph_samples/xyz"].reshape(-1, 3)[keep], np.ones(len(points), bool))


def test_the_real_json_files(real_data: Path, tmp_path: Path) -> None:
    objects = {}
    for path in sorted((real_data / "waymo/motion/scenario_json").glob("*.json")):
        data = json.loads(path.read_bytes())
        log = converted(path, tmp_path, None)
        found = states_of(log)
        objects[data["scenario_id"]] = log.table("track_attributes").num_rows
        for thing in data["objects"]:
            token, valid = str(thing["id"]), np.array(thing["valid"])
            if not valid.any():
                continue
            assert np.array_equal(found.valid[token], valid)
            assert_same(found.position[token], [[p["x"], p["y"], p["z"]] for p in thing["position"]], valid)
            assert_same(found.velocity[token], [[v["x"], v["y"]] for v in thing["velocity"]], valid)
            assert_same(found.size[token], [[thing["length"], thing["width"], thing["height"]]] * 91, valid)
        points = [[p["x"], p["y"], p["z"]] for road in data["roads"] for p in road["geometry"]]
        kept = np.concatenate([f.geometry for f in log.map_features()])
        assert_same(kept, points, np.ones(len(kept), bool))
        shown = [state for signal in data["tl_states"].values() for state in signal["state"]]
        assert (log.table("lights").num_rows if log.has_table("lights") else 0) == len(shown)
        egos = [row for row in log.table("track_roles").to_pylist() if row["role"] == "ego"]
        assert len(egos) == int("metadata" in data)
    assert list(objects.values()) == [15, 18, 49, 8, 7, 65]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "broken JSON"),
        ("[]", "not as GPUDrive"),
        ('{"objects": [], "roads": [{"type": "lane"}], "scenario_id": 1, "name": ""}', "KeyError: 'geometry'"),
        ('{"objects": [{"id": 1, "valid": [true], "position": [], "goalPosition": {"x": 1, "y": 2}, "heading": [0],'
         ' "velocity": []}], "roads": [], "scenario_id": 1, "name": ""}', "0 of position"),
    ],
)  # fmt: skip
def test_what_is_no_json_scenario(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        converted(path, tmp_path / "out", None)


def _read_damaged(out: Path) -> Any:
    """Converts all records of a damaged file; what comes out must be whole."""
    count = itertools.count()

    def read(path: Path) -> None:
        for source in list_logs(path.parent, Options(files=path.name)):
            target = out / str(next(count))
            convert_log(path.parent, source, target, Options())
            assert verify_log(target / source.name, fast=True).problems == []

    return read


@pytest.mark.parametrize("kind", ["scenario", "example"])
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    given = {"scenario": records.scenario(), "example": records.example()}[kind]
    path = records.write(tmp_path / "raw" / "a.tfrecord", given)
    read = _read_damaged(tmp_path / "out")
    read(path)  # the sound file can be read; what is imported and compiled at first use is no damage's fault
    assert check_reader(read, path) > 150


@pytest.mark.parametrize("kind", ["scenario", "example"])
def test_damaged_records_with_right_checksums(tmp_path: Path, kind: str) -> None:
    """What a checksum would find, without it: the message itself is damaged."""
    description = SCENARIO if kind == "scenario" else EXAMPLE
    given = records.scenario() | {"laser_data": [records.laser_frame(0)]} if kind == "scenario" else records.example()
    path = tmp_path / "raw" / "a.tfrecord"
    path.parent.mkdir()
    path.write_bytes(encode(given, description))
    read_framed = _read_damaged(tmp_path / "out")

    def read(damaged: Path) -> None:
        damaged.write_bytes(frame_record(damaged.read_bytes()))
        read_framed(damaged)

    read(Path(shutil.copy(path, tmp_path / "b.tfrecord")))
    assert check_reader(read, path) > 30


def test_damaged_json(tmp_path: Path, real_data: Path) -> None:
    source = real_data / "waymo/motion/scenario_json/tfrecord-00004-of-00150_74e892ddfe3b9b8.json"
    data = json.loads(source.read_bytes())
    data["roads"], data["objects"] = data["roads"][:20], data["objects"][:3]
    data["metadata"] = {"sdc_track_index": 2, "objects_of_interest": [], "tracks_to_predict": []}
    path = tmp_path / "raw" / "s.json"
    path.parent.mkdir()
    path.write_text(json.dumps(data))
    read = _read_damaged(tmp_path / "out")
    read(path)
    assert check_reader(read, path) > 50
