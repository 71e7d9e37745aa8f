"""Label statistics on a log whose numbers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_tools.stats import collect, main
from drive.logs.writer import LogWriter

POSE = {"pose_translation": np.zeros(3), "pose_rotation": np.array([1.0, 0, 0, 0])}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Frame 0: a car at 5 m with 2 of 3 points, one at 12 m with none, a person at 200 m (counted 7 by the set).

    Frame 1 has a label and no sweep, frame 2 is empty.
    """
    with LogWriter(tmp_path / "logs", "one", dataset="made_up", source_version="1", licence="none") as log:
        log.add_sensor("top", "lidar", np.zeros(3), [1, 0, 0, 0], columns=("x", "y", "z"))
        points = np.array([[5, 0, 0], [6, 0.5, 0], [30, 0, 0]], np.float32)
        row = log.add_sweep("top", 0, points, **POSE, is_key_frame=True, source_timestamp=0, source_name="0")
        for index, (places, kinds, counts) in enumerate(
            [([[5, 0], [0, 12], [200, 0]], ["car", "car", "person"], None), ([[3, 4]], ["car"], [9]), ([], [], None)]
        ):
            frame = log.add_frame(index, rows={"top": row} if index != 1 else {}, **POSE, source_timestamp=index)
            boxes = np.tile([0.0, 0, 0, 4, 2, 1.5, 0, 3, 4], (len(kinds), 1))
            boxes[:, :2] = np.array(places).reshape(-1, 2)
            log.add_boxes(
                frame, boxes, kinds, [f"{kind}{i}" for i, kind in enumerate(kinds)],
                velocity_valid=np.arange(len(kinds)) == 0,
                num_lidar_points=None if counts is None else np.array(counts),
                source_translation=boxes[:, :3], source_size=boxes[:, 3:6],
                source_rotation=np.tile([1.0, 0, 0, 0], (len(kinds), 1)),
            )  # fmt: skip
    return tmp_path / "logs"


def test_numbers(logs: Path) -> None:
    report = collect([logs / "one"])
    assert (report["frames"], report["frames_with_sweep"], report["empty_frames"], report["boxes"]) == (3, 2, 1, 4)
    assert report["points_counted_here"] == 3
    assert report["points_a_frame"] == [3, 3, 3, 3, 3]
    car, person = report["categories"]["car"], report["categories"]["person"]
    assert list(report["categories"]) == ["car", "person"]  # most frequent first
    assert (car["boxes"], car["tracks"], car["boxes_a_frame"]) == (3, 2, 1.0)
    assert car["points_a_box"] == [0, 1, 2, 5.5, 9]
    assert car["share_without_points"] == pytest.approx(1 / 3)
    assert car["range_histogram"] == [2, 1, 0, 0, 0, 0, 0, 0, 0]
    assert person["range_histogram"] == [0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert car["median_size_m"] == [4, 2, 1.5]
    assert (car["share_with_velocity"], car["median_speed_mps"]) == (pytest.approx(2 / 3), 5.0)
    assert (person["share_with_velocity"], person["median_speed_mps"]) == (0, None)


def test_command(logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(logs), "--json", str(tmp_path / "report.json")]) == 0
    assert "car" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["categories"]["car"]["boxes"] == 3
    assert main([str(logs / "one")]) == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([str(empty)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
