"""Bodies: from bytes to bytes, where their parts stand, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drive.errors import UserError
from drive.render.bodies import Bodies
from drive.render.lidar import NUSCENES_32
from drive.render.scene import BOX, ELLIPSOID, Material, Primitives


def solids(*rows: tuple[int, tuple[float, ...], tuple[float, ...]]) -> Primitives:
    count = len(rows)
    return Primitives(
        np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows]),
        np.linspace(0.0, 0.3, count), np.full(count, Material.CAR_PAINT), np.full((count, 3), 90), np.zeros(count),
    )  # fmt: skip


def bodies() -> Bodies:
    car = solids((BOX, (0, 0, 0.5), (2, 1, 0.5)), (BOX, (0, 0, 1.3), (1, 0.8, 0.3)))
    ball = solids((ELLIPSOID, (0, 0, 0.2), (0.2, 0.2, 0.2)))
    return Bodies.join(["car", "ball"], [car, ball], NUSCENES_32)


@pytest.mark.parametrize("made", [bodies(), Bodies.join([], [], NUSCENES_32)])
def test_there_and_back(made: Bodies) -> None:
    again = Bodies.from_bytes(made.to_bytes())
    assert (again.tokens, again.lidar, again.row_of) == (made.tokens, made.lidar, made.row_of)
    np.testing.assert_array_equal(again.offsets, made.offsets)
    for name in ("kind", "centre", "half_size", "yaw", "material", "colour", "texture"):
        np.testing.assert_array_equal(getattr(again.parts, name), getattr(made.parts, name))
    assert again.to_bytes() == made.to_bytes()


def test_rows_in_any_order_stand_at_their_poses() -> None:
    made = bodies()
    np.testing.assert_allclose(made.heights, [1.6, 0.4])
    pose = np.array([[10.0, 0, 0, 0], [20.0, 5, 0, np.pi / 2], [30.0, 0, 1, 0]])
    actors = made.actors(np.array([1, 0, 1]), pose, np.ones((3, 2)))
    assert actors.part_offsets.tolist() == [0, 1, 3, 4]
    np.testing.assert_allclose(actors.global_shapes[:, :3], [[10, 0, 0.2], [20, 5, 0.5], [20, 5, 1.3], [30, 0, 1.2]])
    none = made.actors(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros((0, 2)))
    assert (len(none), len(none.parts)) == (0, 0)


def test_what_is_no_such_file(tmp_path: Path) -> None:
    data = bodies().to_bytes()
    for wrong in (b"", data[:-200], data.replace(b"drive.bodies", b"drive.bodieZ")):
        with pytest.raises(UserError):
            Bodies.from_bytes(wrong)
    with pytest.raises(UserError, match="cannot be read"):
        Bodies.load(tmp_path / "none.arrow")
    part = solids((BOX, (0, 0, 1), (1, 1, 1)))
    with pytest.raises(ValueError, match="name of its own"):
        Bodies.join(["a", "a"], [part, part], NUSCENES_32)
    with pytest.raises(ValueError, match="needs a part"):
        Bodies.join(["a"], [Primitives.empty()], NUSCENES_32)
