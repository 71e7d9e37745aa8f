"""Scene structures and the scene file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.errors import UserError
from drive.render.cast import cast
from drive.render.lidar import NUSCENES_32, _returns, render_sweep
from drive.render.scene import (
    BOX,
    COLOUR_MATTERS,
    CYLINDER,
    GROUND_COLOUR,
    REFLECTIVITY,
    Actors,
    Ground,
    Material,
    Primitives,
    StaticScene,
    scene_solids,
)
from tests.render.worlds import lidar_pose, one_actor, solids, world

ARRAYS = ("kind", "centre", "half_size", "yaw", "material", "colour", "texture")


def assert_same(one: StaticScene, two: StaticScene) -> None:
    for name in ARRAYS:
        a, b = getattr(one.primitives, name), getattr(two.primitives, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.ground.material, two.ground.material)
    for name in ("sun_azimuth", "sun_elevation", "ambient", "sky_colour", "seed"):
        assert getattr(one, name) == getattr(two, name)
    assert (one.ground.resolution_m, one.ground.origin_xy) == (two.ground.resolution_m, two.ground.origin_xy)


def random_scene(seed: int, count: int) -> StaticScene:
    rng = np.random.default_rng(seed)
    primitives = Primitives(
        rng.integers(0, 3, count), rng.normal(size=(count, 3)), rng.uniform(0.1, 2, (count, 3)), rng.normal(size=count),
        rng.integers(0, 15, count), rng.integers(0, 256, (count, 3)), rng.integers(0, 3, count),
    )  # fmt: skip
    raster = rng.integers(0, 4, (int(rng.integers(0, 9)), 7)).astype(np.uint8)
    return StaticScene(primitives, Ground(raster, 0.3, (-1.5, 2.0)), 0.1, 0.2, 0.3, (1, 2, 3), seed)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 40))
def test_bytes_round_trip(seed: int, count: int) -> None:
    scene = random_scene(seed, count)
    data = scene.to_bytes()
    assert data == scene.to_bytes()
    assert_same(StaticScene.from_bytes(data), scene)
    assert StaticScene.from_bytes(data).to_bytes() == data
    assert_same(StaticScene.from_table(scene.to_table().replace_schema_metadata(None)), scene)


def test_file_round_trip_leaves_no_temporary_file(tmp_path: Path) -> None:
    scene = random_scene(1, 12)
    path = tmp_path / "scene.arrow"
    scene.save(path)
    assert_same(StaticScene.load(path), scene)
    assert [p.name for p in tmp_path.iterdir()] == ["scene.arrow"]


def test_broken_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "scene.arrow"
    with pytest.raises(UserError, match=r"scene\.arrow: cannot be read"):
        StaticScene.load(path)
    data = random_scene(1, 12).to_bytes()
    for broken in (b"", data[: len(data) // 2], b"hello" * 100):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"scene\.arrow: not an Arrow file or truncated"):
            StaticScene.load(path)
    table = random_scene(1, 12).to_table()
    with pytest.raises(UserError, match="version 9"):
        StaticScene.from_table(table.replace_schema_metadata({"drive.static_scene": "9"}))
    with pytest.raises(UserError, match="not a static scene"):
        StaticScene.from_table(pa.table({"a": [1]}))
    wrong = table.set_column(table.schema.get_field_index("ground_rows"), table.schema.field("ground_rows"), [[99]])
    with pytest.raises(UserError, match="broken"):
        StaticScene.from_table(wrong)


def test_transformed_moves_and_turns() -> None:
    moved = solids((BOX, (2.0, 0.0, 1.0), (1, 1, 1), 0.25)).transformed(10.0, 5.0, 0.5, math.pi / 2)
    np.testing.assert_allclose(moved.centre, [[10.0, 7.0, 1.5]])
    np.testing.assert_allclose(moved.yaw, [0.25 + math.pi / 2])


def test_actor_parts_in_the_global_frame_equal_transformed_parts() -> None:
    parts = solids((BOX, (1.0, 0.5, 0.7), (1, 0.5, 0.2), 0.3), (CYLINDER, (-1, 0, 0.3), (0.2, 0.2, 0.3), 0.0))
    actors = one_actor(parts, (3.0, -2.0, 0.1, 1.1), (4.0, 5.0))
    np.testing.assert_allclose(actors.global_shapes, parts.transformed(3.0, -2.0, 0.1, 1.1).shapes, atol=1e-12)
    kind, shapes, velocity, *_, owner = scene_solids(world(solids((BOX, (0, 0, 0), (1, 1, 1), 0.0))), actors)
    assert kind.tolist() == [BOX, BOX, CYLINDER]
    assert shapes.shape == (3, 8)
    assert velocity.tolist() == [[0, 0], [4, 5], [4, 5]]
    assert owner.tolist() == [-1, 0, 0]


def test_concatenate_and_empty() -> None:
    one = solids((BOX, (0, 0, 0), (1, 1, 1), 0.0))
    assert len(Primitives.concatenate([])) == len(Primitives.empty()) == 0
    assert len(Primitives.concatenate([one, Primitives.empty(), one])) == 2
    assert len(Actors.empty()) == 0
    assert Actors.empty().global_shapes.shape == (0, 8)


def test_tables_cover_every_material() -> None:
    assert len(REFLECTIVITY) == len(COLOUR_MATTERS) == len(GROUND_COLOUR) == len(Material)


def test_bad_structures_are_refused() -> None:
    good = solids((BOX, (0, 0, 0), (1, 1, 1), 0.0))
    with pytest.raises(ValueError, match="positive"):
        solids((BOX, (0, 0, 0), (1, 0, 1), 0.0))
    with pytest.raises(ValueError, match="finite"):
        solids((BOX, (0, np.nan, 0), (1, 1, 1), 0.0))
    with pytest.raises(ValueError, match="kind"):
        solids((7, (0, 0, 0), (1, 1, 1), 0.0))
    with pytest.raises(ValueError, match="shape"):
        Primitives(good.kind, good.centre[:, :2], good.half_size, good.yaw, good.material, good.colour, good.texture)
    with pytest.raises(ValueError, match="part_offsets"):
        Actors(np.zeros((1, 4)), np.zeros((1, 2)), np.zeros(1), np.array([0, 2]), good)
    with pytest.raises(ValueError, match="shape"):
        Actors(np.zeros((1, 3)), np.zeros((1, 2)), np.zeros(1), np.array([0, 1]), good)
    with pytest.raises(ValueError, match="ambient"):
        StaticScene(good, Ground(np.zeros((1, 1), np.uint8), 1.0, (0, 0)), 0.0, 0.0, 1.5, (0, 0, 0), 0)
    with pytest.raises(ValueError, match="resolution"):
        Ground(np.zeros((2, 2), np.uint8), 0.0, (0, 0))
    with pytest.raises(ValueError, match="Material"):
        Ground(np.full((2, 2), 200, np.uint8), 1.0, (0, 0))


def test_a_loaded_scene_needs_no_second_compilation() -> None:
    scene = StaticScene.from_bytes(random_scene(3, 5).to_bytes())
    render_sweep(random_scene(3, 5), Actors.empty(), NUSCENES_32, lidar_pose(), lidar_pose(), np.random.default_rng(0))
    before = len(_returns.signatures), len(cast.signatures)
    render_sweep(scene, Actors.empty(), NUSCENES_32, lidar_pose(), lidar_pose(), np.random.default_rng(0))
    assert (len(_returns.signatures), len(cast.signatures)) == before
