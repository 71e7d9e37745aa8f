"""The town as files: what the official devkit, a converter and a careful reader see."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from shapely.geometry import Polygon

from data_tools.town import TownConfig, build, is_town, main, make_tiny_town
from data_tools.town.command import plan
from drive.errors import UserError
from drive.geometry.box import corners_bev, points_in_box_mask
from drive.geometry.rigid import from_translation_rotation, invert, transform_points, yaw_of_quaternion
from drive.render.bodies import Bodies
from drive.render.scene import StaticScene

VERSION = "v1.0-town"
TABLES = (
    "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene",
    "sample", "sample_data", "sample_annotation", "map",
)  # fmt: skip


def table(root: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((root / VERSION / f"{name}.json").read_text())


def by_token(root: Path, name: str) -> dict[str, dict[str, Any]]:
    return {row["token"]: row for row in table(root, name)}


def boxes_of(rows: list[dict[str, Any]]) -> np.ndarray:
    """Global boxes [N, 7] of annotations."""
    return np.array(
        [
            [*r["translation"], r["size"][1], r["size"][0], r["size"][2], float(yaw_of_quaternion(r["rotation"]))]
            for r in rows
        ]
    ).reshape(-1, 7)


def test_tables_are_complete_and_tokens_lead_somewhere(tiny_town: Path) -> None:
    tables = {name: by_token(tiny_town, name) for name in TABLES}
    for name, rows in tables.items():
        assert len(rows) == len(table(tiny_town, name)) > 0
        if name != "visibility":
            assert all(len(token) == 32 and set(token) <= set("0123456789abcdef") for token in rows)
    foreign = {"sample": "sample", "scene": "scene", "log": "log", "instance": "instance", "category": "category",
               "ego_pose": "ego_pose", "calibrated_sensor": "calibrated_sensor", "visibility": "visibility",
               "first_sample": "sample", "last_sample": "sample", "first_annotation": "sample_annotation",
               "last_annotation": "sample_annotation", "sensor": "sensor"}  # fmt: skip
    for rows in tables.values():
        for row in rows.values():
            for key, target in foreign.items():
                if f"{key}_token" in row:
                    assert row[f"{key}_token"] in tables[target]
    for row in tables["sample_data"].values():
        assert (tiny_town / row["filename"]).is_file()
    # 2 s: 40 sweeps and 4 key frames a scene with six images each, and five radars at 10 Hz.
    assert len(tables["sample"]) == 3 * 4
    assert len(tables["sample_data"]) == 3 * (40 + 4 * 6 + 5 * 20)


def test_chains(tiny_town: Path) -> None:
    for name in ("sample", "sample_data", "sample_annotation"):
        rows = by_token(tiny_town, name)
        for row in rows.values():
            if row["next"]:
                assert rows[row["next"]]["prev"] == row["token"]
            if row["prev"]:
                assert rows[row["prev"]]["next"] == row["token"]
    annotations = by_token(tiny_town, "sample_annotation")
    for instance in table(tiny_town, "instance"):
        token, count = instance["first_annotation_token"], 0
        while token:
            assert annotations[token]["instance_token"] == instance["token"]
            last, token, count = token, annotations[token]["next"], count + 1
        assert (last, count) == (instance["last_annotation_token"], instance["nbr_annotations"])


def test_splits_share_no_town_and_no_log(tiny_town: Path) -> None:
    splits = json.loads((tiny_town / VERSION / "splits.json").read_text())
    logs = by_token(tiny_town, "log")
    where = {s["name"]: logs[s["log_token"]] for s in table(tiny_town, "scene")}
    places = {split: {where[name]["location"] for name in names} for split, names in splits.items()}
    assert set(places) == {"town_train", "town_val"}
    assert not places["town_train"] & places["town_val"]
    assert len({log["token"] for log in where.values()}) == len(where)
    seeds = {job.location: job.town_seed for job in plan(TownConfig(Path("x"), seed=3), Path("x"))}
    assert len(set(seeds.values())) == len(seeds) == 4


def test_points_lie_inside_boxes_as_counted(tiny_town: Path) -> None:
    poses, sensors = by_token(tiny_town, "ego_pose"), by_token(tiny_town, "calibrated_sensor")
    notes: dict[str, list[dict[str, Any]]] = {}
    for row in table(tiny_town, "sample_annotation"):
        notes.setdefault(row["sample_token"], []).append(row)
    total = 0
    for row in table(tiny_town, "sample_data"):
        if not (row["is_key_frame"] and "LIDAR_TOP" in row["filename"]):
            continue
        points = np.fromfile(tiny_town / row["filename"], np.float32).reshape(-1, 5)
        assert np.isfinite(points).all()
        assert points[:, 3].min() >= 0
        assert points[:, 3].max() <= 255
        assert set(np.unique(points[:, 4])) <= set(range(32))
        pose, mount = poses[row["ego_pose_token"]], sensors[row["calibrated_sensor_token"]]
        matrix = from_translation_rotation(pose["translation"], pose["rotation"]) @ from_translation_rotation(
            mount["translation"], mount["rotation"]
        )
        world = transform_points(matrix, points[:, :3].astype(np.float64))
        rows = notes[row["sample_token"]]
        counted = np.array([r["num_lidar_pts"] for r in rows])
        inside = points_in_box_mask(world, boxes_of(rows)).sum(axis=1)
        # A point on a face may fall either way after rounding to float32.
        assert np.abs(inside - counted).max() <= 1
        total += counted.sum()
        # Most of what a box holds is not the ground below it: boxes stand on the ground and fit the returns.
        assert np.median(world[:, 2]) == pytest.approx(0.0, abs=0.15)
    assert total > 500


def test_boxes_hold_the_returns_of_their_things(tiny_town: Path) -> None:
    """A box grown by 20 cm gains next to no points above ground: nothing of its thing sticks out."""
    poses, sensors = by_token(tiny_town, "ego_pose"), by_token(tiny_town, "calibrated_sensor")
    notes: dict[str, list[dict[str, Any]]] = {}
    for row in table(tiny_town, "sample_annotation"):
        notes.setdefault(row["sample_token"], []).append(row)
    tight, grown = 0, 0
    for row in table(tiny_town, "sample_data"):
        if row["is_key_frame"] and "LIDAR_TOP" in row["filename"]:
            points = np.fromfile(tiny_town / row["filename"], np.float32).reshape(-1, 5)
            pose, mount = poses[row["ego_pose_token"]], sensors[row["calibrated_sensor_token"]]
            matrix = from_translation_rotation(pose["translation"], pose["rotation"]) @ from_translation_rotation(
                mount["translation"], mount["rotation"]
            )
            world = transform_points(matrix, points[:, :3].astype(np.float64))
            world = world[world[:, 2] > 0.15]
            boxes = boxes_of(notes[row["sample_token"]])
            tight += int(points_in_box_mask(world, boxes).any(axis=0).sum())
            boxes[:, 3:6] += 0.4
            grown += int(points_in_box_mask(world, boxes).any(axis=0).sum())
    assert tight > 300
    assert grown < 1.12 * tight


def test_no_two_boxes_overlap(tiny_town: Path) -> None:
    frames: dict[str, list[dict[str, Any]]] = {}
    for row in table(tiny_town, "sample_annotation"):
        frames.setdefault(row["sample_token"], []).append(row)
    for rows in frames.values():
        shapes = [Polygon(c) for c in corners_bev(boxes_of(rows))]
        for i, a in enumerate(shapes):
            for b in shapes[:i]:
                # Labels stand where the beam met them, up to 50 ms apart: a hand's breadth is not a collision.
                assert a.intersection(b).area < 0.05 * min(a.area, b.area)


def test_attributes_follow_the_rules(tiny_town: Path) -> None:
    names = {row["token"]: row["name"] for row in table(tiny_town, "attribute")}
    category = {row["token"]: row["name"] for row in table(tiny_town, "category")}
    kind = {row["token"]: category[row["category_token"]] for row in table(tiny_town, "instance")}
    seen = set()
    for row in table(tiny_town, "sample_annotation"):
        attributes = [names[token] for token in row["attribute_tokens"]]
        prefix = {"human": "pedestrian", "vehicle": "vehicle"}.get(kind[row["instance_token"]].split(".")[0])
        if kind[row["instance_token"]] == "vehicle.bicycle":
            assert attributes == ["cycle.with_rider"]
        elif prefix is None:
            assert attributes == []
        else:
            assert [a.split(".")[0] for a in attributes] == [prefix]
        seen |= set(attributes)
    assert {"vehicle.moving", "vehicle.parked", "pedestrian.moving", "cycle.with_rider"} <= seen


def test_static_scene_and_can_bus(tiny_town: Path) -> None:
    scenes = by_token(tiny_town, "scene")
    for row in table(tiny_town, "scene_3d"):
        scene = StaticScene.load(tiny_town / row["filename"])
        assert len(scene.primitives) > 100
        bodies = Bodies.load(tiny_town / row["bodies_filename"])
        assert bodies.lidar.columns == 360
        annotated = {r["instance_token"] for r in table(tiny_town, "sample_annotation")}
        assert annotated & set(bodies.tokens)
        name = scenes[row["scene_token"]]["name"]
        pose = json.loads((tiny_town / "can_bus" / f"{name}_pose.json").read_text())
        assert len(pose) == 100
        assert set(pose[0]) == {"accel", "orientation", "pos", "rotation_rate", "utime", "vel"}
        samples = table(tiny_town, "sample")
        stamps = [sample["timestamp"] for sample in samples if sample["scene_token"] == row["scene_token"]]
        assert stamps[0] == pose[0]["utime"]


def digest(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_whatever_the_workers(tiny_town: Path, tmp_path: Path) -> None:
    again = make_tiny_town(tmp_path / "again", workers=2)
    assert digest(tiny_town) == digest(again)


def test_a_foreign_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main([str(tmp_path / "mine"), "--scenes", "1", "--val-scenes", "0"]) == 2
    assert "choose another folder" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]


def test_another_seed_is_another_town() -> None:
    one, two = (plan(TownConfig(Path("x"), seed=seed), Path("x")) for seed in (0, 1))
    assert not {job.town_seed for job in one} & {job.town_seed for job in two}
    assert not {job.scene_seed for job in one} & {job.scene_seed for job in two}


def test_a_failure_leaves_the_old_set_and_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TownConfig(tmp_path / "town", scenes=1, val_scenes=0, seconds=0.5, cameras=False, columns=90, workers=1)
    build(config, Console(quiet=True))
    before = digest(config.out)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "x"))

    monkeypatch.setattr("data_tools.town.command._finish", fail)
    with pytest.raises(UserError, match="No space left"):
        build(config, Console(quiet=True))
    assert digest(config.out) == before
    assert is_town(config.out)
    assert [p.name for p in tmp_path.iterdir()] == ["town"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"scenes": 0, "val_scenes": 0}, "--scenes"),
        ({"seconds": 0.1}, "--seconds"),
        ({"image_width": 4}, "--image-width"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, change: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError) as caught:
        build(TownConfig(tmp_path / "town", **change), Console(quiet=True))
    assert caught.value.place == place


def test_lidar_chain_brings_static_points_together(tiny_town: Path) -> None:
    """Walls seen by two sweeps half a second apart meet in the global frame: poses and calibration agree."""
    poses, sensors = by_token(tiny_town, "ego_pose"), by_token(tiny_town, "calibrated_sensor")
    rows = [r for r in table(tiny_town, "sample_data") if r["is_key_frame"] and "LIDAR_TOP" in r["filename"]]
    clouds = []
    for row in rows[:2]:
        points = np.fromfile(tiny_town / row["filename"], np.float32).reshape(-1, 5)
        pose, mount = poses[row["ego_pose_token"]], sensors[row["calibrated_sensor_token"]]
        matrix = from_translation_rotation(pose["translation"], pose["rotation"]) @ from_translation_rotation(
            mount["translation"], mount["rotation"]
        )
        assert np.allclose(invert(matrix) @ matrix, np.eye(4), atol=1e-9)
        world = transform_points(matrix, points[:, :3].astype(np.float64))
        clouds.append(world[(world[:, 2] > 2.5) & (np.hypot(points[:, 0], points[:, 1]) < 40.0)])
    near = np.sort(np.linalg.norm(clouds[0][:, None, :2] - clouds[1][None, :, :2], axis=-1).min(axis=1))
    assert near[len(near) // 2] < 0.35
