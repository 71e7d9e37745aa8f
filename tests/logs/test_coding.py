"""Packed points: the bound that the schema states holds for any point; lossless codings are lossless."""

from __future__ import annotations

from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.errors import UserError
from drive.logs.choice import Choice, choosing
from drive.logs.coding import ERROR_BOUND_M, LIMIT_M, STEP_M, decode, encode
from drive.logs.store import Log
from drive.logs.writer import LogWriter

IDENTITY = [1.0, 0.0, 0.0, 0.0]
NEAR = st.floats(-LIMIT_M, LIMIT_M, width=32, exclude_min=True, exclude_max=True)
CLOUDS = hnp.arrays(np.float32, st.tuples(st.integers(0, 30), st.integers(3, 6)), elements=NEAR)


@settings(max_examples=60, deadline=None)
@given(CLOUDS)
def test_the_bound_holds(points: np.ndarray) -> None:
    low, high, rest = encode(points)
    found = decode(low, high, rest, points.shape[1], STEP_M)
    error = np.abs(found[:, :3].astype(np.float64) - points[:, :3].astype(np.float64))
    assert error.max(initial=0) <= ERROR_BOUND_M
    assert found[:, 3:].tobytes() == points[:, 3:].tobytes()
    again = encode(found)
    assert all((a == b).all() for a, b in zip(again[:2], (low, high), strict=True))  # what was rounded stays


def test_by_hand() -> None:
    """A step is 1/512 m: 1 m = 512 steps, -1 step = high -1, low 65535; the middle between two steps goes to even."""
    low, high, rest = encode(np.array([[1.0, -STEP_M, 200.0, 7.5]], np.float32))
    assert (low.tolist(), high.tolist(), rest.tolist()) == ([512, 65535, 102400 - 65536], [0, -1, 1], [7.5])
    assert encode(np.array([[0.5 * STEP_M, 1.5 * STEP_M, 0]], np.float32))[0].tolist() == [0, 2, 0]
    with pytest.raises(ValueError, match="are no points of 4 columns"):
        decode(low, high, rest[:0], 4, STEP_M)


@pytest.mark.parametrize("value", [np.nan, np.inf, LIMIT_M, -1e6])
def test_what_has_no_step(tmp_path: Path, value: float) -> None:
    points = np.zeros((3, 4), np.float32)
    points[1, 2] = value
    with pytest.raises(ValueError, match=r"point 1 is at 0, 0,"):
        encode(points)
    line = r"a, s\.bin: cannot be quantised: point 1 .*keep the points exact \(--points lz4\)"
    with choosing(Choice(points="quantised")), pytest.raises(UserError, match=line):
        write(tmp_path, points)
    with choosing(Choice(points="lz4")):
        write(tmp_path, points)
    np.testing.assert_array_equal(Log.open(tmp_path / "a").sweep("L", 0).points, points)


def write(root: Path, points: np.ndarray) -> None:
    with LogWriter(root, "a", dataset="toy", source_version="", licence="") as log:
        log.add_sensor("L", "lidar", [0, 0, 0], IDENTITY, columns=("x", "y", "z", "i"))
        log.add_sweep(
            "L", 0, points, [0, 0, 0], IDENTITY, is_key_frame=True, source_timestamp=0, source_name="s.bin",
        )  # fmt: skip


def test_the_schema_says_it_and_the_file_is_smaller(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(0, 30, (5000, 4)).astype(np.float32)
    points[:, 2:] = 0  # a flat world: nothing is random about two of four columns
    sizes = {}
    for coding in ("raw", "lz4", "quantised"):
        with choosing(Choice(points=coding)):
            write(tmp_path / coding, points)
        file = tmp_path / coding / "a" / "lidar_L.arrow"
        sizes[coding] = file.stat().st_size
        assert len(Log.open(tmp_path / coding / "a").points("L", 0)) == 5000
    assert sizes["quantised"] < 0.8 * sizes["raw"]
    assert sizes["lz4"] < 0.9 * sizes["raw"]
    metadata = pa.ipc.open_file(str(tmp_path / "quantised" / "a" / "lidar_L.arrow")).schema.metadata
    assert metadata == {b"step_m": b"0.001953125", b"error_bound_m": b"0.0009765625"}


def test_views_and_copies(tmp_path: Path) -> None:
    points = np.ones((10, 4), np.float32)
    for coding in ("raw", "lz4"):
        with choosing(Choice(points=coding)):
            write(tmp_path / coding, points)
        log = Log.open(tmp_path / coding / "a")
        assert (log.points("L", 0) is log.points("L", 0)) == (coding == "raw")  # a view costs nothing to keep
        with pytest.raises(IndexError):
            log.points("L", 1)
