"""ScenarioNet pickles: real ones found again in the log number by number, hand-made ones, damaged ones."""

from __future__ import annotations

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.convert import convert
from data_tools.scenarionet import Options, ScenarioFile, convert_log, list_logs
from data_tools.unpickle import load_pickle
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader
from tests.data_tools.scenario_round_trip import assert_same, states_of

STEPS = 4


def small(dataset: str = "waymo") -> dict[str, Any]:
    """A scenario as ScenarioNet writes it, of four steps."""

    def track(kind: str, x: float) -> dict[str, Any]:
        states = {
            "position": np.array([[x + i, 2.0, 0.5] for i in range(STEPS)], np.float32),
            "length": np.full(STEPS, 4.5, np.float32),
            "width": np.full(STEPS, 2.0, np.float32),
            "height": np.full(STEPS, 1.5, np.float32),
            "heading": np.zeros(STEPS, np.float32),
            "velocity": np.full((STEPS, 2), [10.0, 0.0], np.float32),
            "valid": np.array([True] * (STEPS - 1) + [kind == "VEHICLE"]),
        }
        return {"type": kind, "state": states, "metadata": {"type": kind, "object_id": "?", "track_length": STEPS}}

    return {
        "id": "s1",
        "version": "v",
        "length": STEPS,
        "tracks": {"10": track("VEHICLE", 0.0), "11": track("PEDESTRIAN", 30.0)},
        "dynamic_map_states": {
            "5": {
                "type": "TRAFFIC_LIGHT",
                "state": {"object_state": [None, "LANE_STATE_STOP", "LANE_STATE_GO", "TRAFFIC_LIGHT_GREEN"]},
                "lane": 5,
                "stop_point": np.array([20.0, 2.0, 0.0], np.float32),
            }
        },
        "map_features": {
            "5": {"type": "LANE_SURFACE_STREET", "polyline": np.zeros((2, 3), np.float32), "entry_lanes": [4],
                  "exit_lanes": [6, 7], "width": np.ones((2, 2))},
            "6": {"type": "ROAD_LINE_SOLID_SINGLE_WHITE", "polyline": [(0.0, 1.0), (2.0, 3.0)]},
            "7": {"type": "LANE_SURFACE_STREET", "polyline": np.ones((3, 3)),
                  "polygon": [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]},
            "8": {"type": "STOP_SIGN", "position": np.array([1.0, 2.0, 3.0]), "lane": [5]},
            "9": {"type": "DRIVEWAY", "polygon": np.ones((3, 3)), "speed_limit_mph": float("inf")},
        },
        "metadata": {
            "dataset": dataset,
            "ts": np.arange(STEPS) / 10,
            "sdc_id": "10",
            "tracks_to_predict": {"11": {"track_index": 1, "track_id": "11", "difficulty": 2}},
            "objects_of_interest": ["11"],
            "current_time_index": 1,
        },
    }  # fmt: skip


def saved(folder: Path, data: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "sd_s1.pkl"
    path.write_bytes(pickle.dumps(data))
    return path


def converted(path: Path, out: Path) -> Log:
    convert_log(path.parent, ScenarioFile(path), out, Options())
    assert verify_log(out / path.stem).problems == []
    return Log.open(out / path.stem)


def test_a_small_scenario(tmp_path: Path) -> None:
    log = converted(saved(tmp_path / "raw", small()), tmp_path / "out")
    assert log.manifest["licence"].startswith("Waymo")
    assert [len(log.boxes(i).boxes) for i in range(STEPS)] == [2, 2, 2, 1]
    np.testing.assert_allclose(log.boxes(1).boxes[1, :3], [30, 0, 0], atol=1e-6)
    lights = log.table("lights").to_pylist()
    assert [(row["frame"], row["state"]) for row in lights] == [(1, "red"), (2, "green"), (3, "green")]
    assert lights[0]["source_state"] == "LANE_STATE_STOP"
    assert lights[0]["feature_id"] == "5"
    kinds = {(f.feature_id, f.kind): f for f in log.map_features()}
    assert {kind for _, kind in kinds} == {"lane", "road_line", "centerline", "stop_sign", "driveway"}
    assert len(kinds) == 6
    assert kinds["5", "lane"].predecessors == ("4",)
    assert kinds["5", "lane"].successors == ("6", "7")
    assert kinds["5", "lane"].attributes["width"] == [[1.0, 1.0]] * 2
    assert kinds["6", "road_line"].attributes["source_dimensions"] == 2
    assert kinds["7", "lane"].is_polygon
    assert not kinds["7", "centerline"].is_polygon
    assert kinds["8", "stop_sign"].geometry.tolist() == [[1, 2, 3]]
    assert kinds["9", "driveway"].attributes["speed_limit_mph"] is None
    roles = {(row["track"], row["role"], row["difficulty"]) for row in log.table("track_roles").to_pylist()}
    assert roles == {("10", "ego", None), ("11", "predict", 2), ("11", "interest", None)}


def test_the_ego_of_nuscenes_scenes_has_its_sides_put_right(tmp_path: Path) -> None:
    data = small("nuscenes")
    state = data["tracks"]["10"]["state"]
    state["length"], state["width"] = np.full((STEPS, 1), 1.73), np.full((STEPS, 1), 4.08)
    log = converted(saved(tmp_path / "raw", data), tmp_path / "out")
    np.testing.assert_allclose(log.boxes(0).boxes[:, 3:6], [[4.08, 1.73, 1.5], [4.5, 2.0, 1.5]])
    np.testing.assert_allclose(log.boxes(0).source_size[0], [1.73, 4.08, 1.5])


@pytest.fixture(scope="module")
def real_logs(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Log]]:
    """Each real pickle and its log."""
    folders = ["nuscenes/scenarionet", "waymo/motion/scenarionet", "nuscenes/scenarionet_windows"]
    out = tmp_path_factory.mktemp("scenarionet")
    pairs = []
    for folder in folders:
        convert("scenarionet", real_data / folder, out / folder)
        pairs += [(path, Log.open(out / folder / path.stem)) for path in sorted((real_data / folder).glob("*.pkl"))]
    return pairs


def test_real_files(real_logs: list[tuple[Path, Log]]) -> None:
    assert len(real_logs) == 10
    for path, log in real_logs:
        assert verify_log(log.path, fast=True).problems == []
        data = load_pickle(path)
        found = states_of(log)
        swap = data["metadata"]["dataset"] == "nuscenes"
        assert log.table("track_attributes")["track"].to_pylist() == list(data["tracks"])
        for token, track in data["tracks"].items():
            state = track["state"]
            valid = state["valid"] != 0
            if not valid.any():
                assert token not in found.valid
                continue
            assert np.array_equal(found.valid[token], valid)
            assert_same(found.position[token], state["position"], valid)
            assert_same(found.velocity[token], state["velocity"], valid)
            assert_same(np.exp(1j * found.heading[token]).real, np.cos(state["heading"].astype(float)), valid)
            assert_same(np.exp(1j * found.heading[token]).imag, np.sin(state["heading"].astype(float)), valid)
            names = ("width", "length", "height") if swap and token == "ego" else ("length", "width", "height")
            size = np.stack([state[name].reshape(-1) for name in names], axis=1)
            assert_same(found.size[token], size, valid)
        shown = [
            (step, str(signal["lane"]), source)
            for signal in data["dynamic_map_states"].values()
            for step, source in enumerate(signal["state"]["object_state"])
            if source is not None
        ]
        lights = log.table("lights").to_pylist() if log.has_table("lights") else []
        assert sorted((row["frame"], row["feature_id"], row["source_state"]) for row in lights) == sorted(shown)
        features = {(f.feature_id, f.is_polygon): f for f in log.map_features()}
        for key, feature in data["map_features"].items():
            for name in ("polyline", "polygon", "position"):
                if name in feature:
                    points = np.atleast_2d(np.asarray(feature[name], float))
                    kept = features[str(key), name == "polygon"].geometry
                    assert_same(kept[:, : points.shape[1]], points, np.ones(len(points), bool))


def test_counts_of_the_real_files(real_logs: list[tuple[Path, Log]]) -> None:
    others = [len(log.table("track_attributes")) - 1 for _, log in real_logs[:7]]
    assert others == [225, 121, 56, 29, 51, 85, 32]
    waymo = [log for _, log in real_logs[7:9]]
    assert [log.tracks.num_rows for log in waymo] == [211, 115]
    assert [len(set(log.table("lights")["feature_id"].to_pylist())) for log in waymo] == [8, 19]


def test_lists(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no ScenarioNet pickle"):
        list_logs(tmp_path, Options())
    saved(tmp_path / "a", small())
    (tmp_path / "a" / "dataset_summary.pkl").write_bytes(b"")
    assert [file.name for file in list_logs(tmp_path, Options())] == ["sd_s1"]
    saved(tmp_path / "b", small())
    with pytest.raises(UserError, match="the same name"):
        list_logs(tmp_path, Options())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("metadata", "sdc_id"), "99", "no track '99'"),
        (("metadata", "ts"), [0.0, 1.0], "numbers are wanted"),
        (("metadata", "ts"), np.zeros(STEPS), "time does not increase"),
        (("metadata", "ts"), "now", "array of numbers"),
        (("metadata",), 3, "metadata: a dictionary is wanted"),
        (("tracks", "10", "state", "heading"), None, "track 10: heading"),
        (("tracks", "10", "state", "position"), np.zeros((STEPS, 2)), "track 10: position"),
        (("tracks", "10", "state", "position"), [[1.0], [2.0, 3.0]], "differ in length"),
        (("tracks", "10"), [], "track 10"),
        (("map_features", "5", "polyline"), np.zeros((2, 4)), "map feature 5: polyline"),
        (("map_features", "5"), {"type": "LANE"}, "no polyline"),
        (("dynamic_map_states", "5", "state", "object_state"), ["GO"], "4 states are wanted"),
        (("dynamic_map_states", "5", "state", "object_state"), ["GO"] * STEPS, "unknown state 'GO'"),
        (("dynamic_map_states", "5", "stop_point"), [np.nan] * 3, "stop_point"),
        (("metadata", "objects_of_interest"), ["77"], "track 77"),
    ],
)
def test_what_is_no_scenario(tmp_path: Path, path: tuple[str, ...], value: Any, message: str) -> None:
    data = copy.deepcopy(small())
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(UserError, match=message) as caught:
        converted(saved(tmp_path / "raw", data), tmp_path / "out")
    assert "sd_s1.pkl" in str(caught.value)
    assert not (tmp_path / "out" / "sd_s1").exists()


def test_damaged_files(tmp_path: Path) -> None:
    out, count = tmp_path / "out", itertools.count()

    def read(path: Path) -> None:
        name = f"log{next(count)}"
        link = path.with_name(f"{name}.pkl")
        path.rename(link)
        try:
            convert_log(path.parent, ScenarioFile(link), out, Options())
        except UserError as error:
            raise UserError(str(error.place).replace(link.name, path.name), error.what, error.mend) from None
        finally:
            link.rename(path)
        assert verify_log(out / name, fast=True).problems == []

    path = saved(tmp_path / "raw", small())
    read(path)  # the sound file can be read; what is imported and compiled at first use is no damage's fault
    assert check_reader(read, path) > 100
