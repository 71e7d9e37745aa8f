"""Argoverse 2 motion scenarios: one by hand, the real one number by number, damaged ones."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.av2_motion import SIZES, MotionScenario, Options, convert_log, list_logs
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader
from tests.data_tools.scenario_round_trip import assert_same, states_of

LANE = {
    "id": 1,
    "lane_type": "VEHICLE",
    "is_intersection": False,
    "left_lane_boundary": [{"x": 0, "y": 2, "z": 5}, {"x": 9, "y": 2, "z": 5}],
    "right_lane_boundary": [{"x": 0, "y": -2, "z": 5}, {"x": 9, "y": -2, "z": 5}],
    "centerline": [{"x": 0, "y": 0, "z": 0}, {"x": 9, "y": 0, "z": 0}],
    "predecessors": [],
    "successors": [2],
}


def rows(**changes: Any) -> dict[str, list[Any]]:
    """The ego drives east from (10, 20), a bus north of it is seen at the second of two steps."""
    columns: dict[str, list[Any]] = {
        "observed": [True, False, False],
        "track_id": ["AV", "AV", "7"],
        "object_type": ["vehicle", "vehicle", "bus"],
        "object_category": [1, 1, 3],
        "timestep": [0, 1, 1],
        "position_x": [10.0, 11.0, 11.0],
        "position_y": [20.0, 20.0, 30.0],
        "heading": [0.0, 0.0, 1.0],
        "velocity_x": [10.0, 10.0, 0.0],
        "velocity_y": [0.0, 0.0, 2.0],
        "scenario_id": ["s"] * 3,
        "start_timestamp": [1e18] * 3,
        "end_timestamp": [1e18 + 1e8] * 3,
        "num_timestamps": [2] * 3,
        "focal_track_id": ["7"] * 3,
        "city": ["austin"] * 3,
    }
    return columns | changes


def saved(folder: Path, columns: dict[str, list[Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "scenario_s.parquet")
    (folder / "log_map_archive_s.json").write_text(json.dumps({"lane_segments": {"1": LANE}}))
    return folder / "scenario_s.parquet"


def converted(path: Path, out: Path) -> Log:
    source = MotionScenario(path)
    convert_log(path.parent, source, out, Options())
    assert verify_log(out / source.name).problems == []
    return Log.open(out / source.name)


def test_a_scenario_by_hand(tmp_path: Path) -> None:
    log = converted(saved(tmp_path / "val" / "s", rows()), tmp_path / "out")
    assert (log.name, log.split, log.location) == ("s", "val", "austin")
    assert log.frame_timestamps_ns.tolist() == [10**18, 10**18 + 10**8]
    np.testing.assert_allclose(log.boxes(0).boxes, [[0, 0, 0, *SIZES["vehicle"], 0, 10, 0]])
    np.testing.assert_allclose(log.boxes(1).boxes[1], [0, 10, 0, *SIZES["bus"], 1, 0, 2])
    assert log.boxes(1).source_size.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert [log.boxes(i).extra["observed"] for i in range(2)] == [[True], [False, False]]
    roles = [(row["track"], row["role"]) for row in log.table("track_roles").to_pylist()]
    assert roles == [("AV", "ego"), ("7", "focal")]
    assert log.table("track_attributes")["object_category"].to_pylist() == ["UNSCORED_TRACK", "FOCAL_TRACK"]
    assert {f.kind: f.successors for f in log.map_features()} == {"lane": ("2",), "centerline": ("2",)}


def test_the_real_scenario(real_data: Path, tmp_path: Path) -> None:
    (source,) = list_logs(real_data / "av2" / "motion-forecasting", Options())
    table = pq.read_table(source.path)
    log = converted(source.path, tmp_path)
    assert log.num_frames == 110
    assert log.tracks.num_rows == 58
    data = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    found = states_of(log)
    assert sum(valid.sum() for valid in found.valid.values()) == table.num_rows
    for token in found.valid:
        own = data["track_id"] == token
        steps = data["timestep"][own]
        position, velocity = np.zeros((110, 3)), np.zeros((110, 2))
        position[steps, 0], position[steps, 1] = data["position_x"][own], data["position_y"][own]
        velocity[steps, 0], velocity[steps, 1] = data["velocity_x"][own], data["velocity_y"][own]
        assert_same(found.position[token], position, found.valid[token])
        assert_same(found.velocity[token], velocity, found.valid[token])
        assert_same(found.heading[token][steps], data["heading"][own], np.ones(len(steps), bool))
    roles = {row["role"]: row["track"] for row in log.table("track_roles").to_pylist()}
    assert roles == {"ego": "AV", "focal": "138951", "scored": "139344"}
    given = json.loads(next(source.path.parent.glob("*.json")).read_bytes())
    kinds = [feature.kind for feature in log.map_features()]
    assert kinds.count("lane") == kinds.count("centerline") == len(given["lane_segments"]) == 71
    assert kinds.count("ped_crossing") == 6
    assert kinds.count("drivable_area") == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position_x": [10.0, float("nan"), 11.0]}, "row 1: position_x"),
        ({"position_x": ["a", "b", "c"]}, "position_x is string"),
        ({"timestep": [0, 1, 2]}, "row 2: timestep 2 of 2"),
        ({"timestep": [0, -1, 1]}, "row 1: timestep -1"),
        ({"timestep": [1, 1, 1]}, "two rows at the same timestep"),
        ({"num_timestamps": [2, 2, 3]}, "differ from row to row"),
        ({"end_timestamp": [1e18] * 3}, "differ from row to row"),
        ({"object_type": ["vehicle", "bus", "bus"]}, "row 1: track AV changes"),
        ({"object_type": ["tank", "tank", "bus"]}, "track AV: object type 'tank'"),
        ({"object_category": [9, 9, 3]}, "category 9"),
        ({"focal_track_id": ["8"] * 3}, "track 8"),
        ({"city": ["a", "b", "a"]}, "column city has 2 values"),
        ({"track_id": ["AV", None, "7"]}, "column track_id"),
    ],
)
def test_what_is_no_scenario(tmp_path: Path, changes: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        converted(saved(tmp_path / "raw", rows(**changes)), tmp_path / "out")
    assert "scenario_s.parquet" in str(caught.value)
    assert not (tmp_path / "out" / "s").exists()


def test_missing_files_and_columns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scenario_"):
        list_logs(tmp_path, Options())
    columns = rows()
    del columns["heading"]
    path = saved(tmp_path / "a", columns)
    with pytest.raises(UserError, match="columns heading are missing"):
        converted(path, tmp_path / "out")
    path = saved(tmp_path / "a", {name: values[:0] for name, values in rows().items()})
    with pytest.raises(UserError, match="no rows"):
        converted(path, tmp_path / "out")
    path = saved(tmp_path / "a", rows())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with pytest.raises(UserError, match="is also"):
        list_logs(tmp_path, Options())
    (tmp_path / "a" / "log_map_archive_s.json").unlink()
    with pytest.raises(UserError, match="log_map_archive_s.json"):
        converted(path, tmp_path / "out")


def test_damaged_files(tmp_path: Path) -> None:
    path = saved(tmp_path / "raw", rows())
    out, count = tmp_path / "out", itertools.count()

    def read(folder: Path) -> None:
        target = out / str(next(count))
        convert_log(folder, MotionScenario(folder / "scenario_s.parquet"), target, Options())
        assert verify_log(target / "s", fast=True).problems == []

    files = [path, path.with_name("log_map_archive_s.json")]
    read(path.parent)  # the sound files can be read; what is imported at first use is no damage's fault
    assert check_reader(read, files, root=path.parent) > 100
