"""The worked example of docs/convert_your_own.md runs as printed, and what the page says about it is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.verify import main as verify
from drive.errors import UserError
from drive.geometry.rigid import transform_points
from drive.logs.store import Log

PAGE = Path(__file__).resolve().parents[2] / "docs" / "convert_your_own.md"


def code() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return block


def load(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "worked_example"}
    exec(compile(source, str(PAGE), "exec"), names)
    return names


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """The made-up data set: 3 scans at 10 Hz, boxes on the first and the last."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "raw"
    (folder / "scans").mkdir(parents=True)
    poses, boxes = ["time_s,x,y,yaw_deg"], ["time_s,id,class,x,y,z_bottom,length,width,height,heading_deg"]
    for i in range(3):
        time = f"1700000000.{i}00000001"
        poses.append(f"{time},{100 + i},50,{90 + i}")
        points = [np.column_stack([rng.uniform(-40, 40, (1500, 2)), np.full(1500, -1.8)])]
        for track, (x, y) in enumerate((x, y) for x in (-30, -18, 14, 28) for y in (-20, -7, 6, 19)):
            length, width, height = (4.5, 1.9, 1.5) if track % 4 else (0.8, 0.7, 1.8)
            heading = float(rng.integers(-180, 181))
            if i != 1:
                kind = "car" if track % 4 else "pedestrian"
                boxes.append(f"{time},{track},{kind},{x},{y},-1.8,{length},{width},{height},{heading}")
            side = rng.integers(0, 2, 80)[:, None] == [[0, 1]]
            flat = np.where(side, rng.choice([-0.49, 0.49], (80, 2)), rng.uniform(-0.49, 0.49, (80, 2)))
            flat *= [length, width]
            cos, sin = np.cos(np.deg2rad(heading)), np.sin(np.deg2rad(heading))
            xy = flat @ np.array([[cos, sin], [-sin, cos]]) + [x, y]
            points.append(np.column_stack([xy, rng.uniform(-1.7, -1.8 + height, 80)]))
        cloud = np.concatenate(points)
        cloud = np.column_stack([cloud, rng.integers(0, 256, len(cloud))]).astype(np.float32)
        np.save(folder / f"scans/{i:04d}.npy", cloud)
    (folder / "poses.csv").write_text("\n".join(poses) + "\n")
    (folder / "boxes.csv").write_text("\n".join(boxes) + "\n")
    return folder


def test_the_example_converts_and_verifies(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(code())["convert"](raw, tmp_path / "logs", "monday")
    log = Log.open(tmp_path / "logs/monday")
    assert (log.num_frames, log.num_sweeps("top")) == (2, 3)
    assert log.frame(1).timestamp_ns == 1_700_000_000_200_000_001
    assert [log.sweep("top", row).is_key_frame for row in range(3)] == [True, False, True]
    for row in range(3):
        np.testing.assert_array_equal(log.sweep("top", row).points, np.load(raw / f"scans/{row:04d}.npy"))
    labels = log.boxes(0)
    assert labels.category[:2] == ["pedestrian", "car"]
    np.testing.assert_allclose(labels.boxes[1, :6], [-30, -7, 0.75, 4.5, 1.9, 1.5], atol=1e-12)
    assert labels.source_translation[1].tolist() == [-30, -7, -1.8]
    ground = transform_points(log.sensors["top"].ego_from_sensor, log.sweep("top", 0).points)[:1500, 2]
    np.testing.assert_allclose(ground, 0, atol=1e-6)
    assert verify([str(tmp_path / "logs")]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("right", "forgotten", "said"),
    [
        (" + source[:, 5] / 2", "", "bottom_centre: z is the bottom of the boxes, not their centre (after the mend"),
        ("np.deg2rad(source[:, 6]))\n    return", "source[:, 6])\n    return", "yaw_scattered"),
        ("LIDAR_HEIGHT_M + source", "source", "z_offset: all boxes lie about 1.8 m too low"),
    ],
)
def test_the_doctor_says_what_was_forgotten(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], right: str, forgotten: str, said: str
) -> None:
    assert right in code()
    load(code().replace(right, forgotten))["convert"](raw, tmp_path / "logs", "monday")
    assert verify([str(tmp_path / "logs")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_bad_number_leaves_no_log(raw: Path, tmp_path: Path) -> None:
    path = raw / "boxes.csv"
    path.write_text(path.read_text().replace(",-7,", ",nan,", 1))
    with pytest.raises(UserError, match="monday, frame 0, box 1"):
        load(code())["convert"](raw, tmp_path / "logs", "monday")
    assert not list((tmp_path / "logs").iterdir())


def test_the_page_keeps_its_promise_of_length() -> None:
    lines = [line for line in code().splitlines() if line.strip()]
    assert 45 <= len(lines) <= 70
