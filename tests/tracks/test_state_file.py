"""A tracker that is stopped, written, read and gone on with finds the same to the bit."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drive.errors import UserError
from drive.tracks.ab3dmot import Ab3dmotConfig
from drive.tracks.center_greedy import CenterGreedyConfig
from drive.tracks.simple_track import SimpleTrackConfig
from drive.tracks.state_file import read_state, write_state
from tests.tracks.track_world import run, street

CONFIGS = {"ab3dmot": Ab3dmotConfig, "center_greedy": CenterGreedyConfig, "simple_track": SimpleTrackConfig}


def bits(value: Any) -> dict[str, Any]:
    return {f.name: v.tobytes() if isinstance(v := getattr(value, f.name), np.ndarray) else v for f in fields(value)}


@pytest.mark.parametrize("name", CONFIGS)
def test_stopped_at_any_frame_and_resumed(name: str, tmp_path: Path) -> None:
    tracker: Any = CONFIGS[name].kitti().build()
    frames = street(14, seed=3)
    last, whole = run(tracker, frames)
    assert max(len(t) for t in whole) > 5
    for stop in range(len(frames) + 1):
        state, out = run(tracker, frames[:stop])
        path = tmp_path / f"{stop}.safetensors"
        write_state(path, state)
        other: Any = CONFIGS[name].kitti().build()
        state = read_state(path, other.start())
        for frame in frames[stop:]:
            state, tracked = other.step(state, frame)
            out.append(tracked)
        assert bits(state) == bits(last)
        assert [bits(t) for t in out] == [bits(t) for t in whole]


def test_a_state_of_another_tracker_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state(path, Ab3dmotConfig.kitti().build().start())
    with pytest.raises(UserError, match="SimpleTrackState"):
        read_state(path, SimpleTrackConfig.kitti().build().start())


def test_missing_broken_and_foreign_files(tmp_path: Path) -> None:
    like, _ = run(Ab3dmotConfig.kitti().build(), street(3))
    with pytest.raises(UserError, match="no such file"):
        read_state(tmp_path / "none", like)
    path = tmp_path / "state"
    write_state(path, like)
    whole = path.read_bytes()
    for cut in (0, 7, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match="not a tracker's state"):
            read_state(path, like)
    path.write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(UserError, match="not a tracker's state"):
        read_state(path, like)


def test_arrays_that_do_not_fit_are_named(tmp_path: Path) -> None:
    like, _ = run(Ab3dmotConfig.kitti().build(), street(3))
    path = tmp_path / "state"
    for changed, words in (
        ({"mean": like.mean[:, :9]}, r"mean is float64 \[\d+, 9\]"),
        ({"ids": like.ids.astype(np.int32)}, "ids is int32"),
        ({"ids": like.ids[:-1]}, "different numbers of tracks"),
        ({"next_id": 1.5}, "next_id is 1.5"),
    ):
        write_state(path, replace(like, **changed))
        with pytest.raises(UserError, match=words):
            read_state(path, like)


def test_only_numbers_and_arrays_are_written(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Named:
        name: str

    with pytest.raises(TypeError, match="name is a str"):
        write_state(tmp_path / "state", Named("a"))
    with pytest.raises(TypeError, match="dataclass"):
        write_state(tmp_path / "state", {"a": 1})


def test_a_folder_that_is_not_there_is_the_user_s_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_state(tmp_path / "none" / "state", Ab3dmotConfig.kitti().build().start())
