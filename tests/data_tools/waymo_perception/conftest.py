"""A hand-made segment of two frames, and a small town in Waymo's shape made once a session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rich.console import Console

from data_tools.town import TownConfig, build

sys.path.insert(0, str(Path(__file__).parent))  # waymo_frames.py

from waymo_frames import make_frames, write_segment


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """Folder with training/segment-made_with_camera_labels.tfrecord."""
    write_segment(tmp_path / "raw/training/segment-made_with_camera_labels.tfrecord", make_frames())
    return tmp_path / "raw"


@pytest.fixture(scope="session")
def waymo_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw Waymo-shaped town: one training scene of 5 frames, top lidar 64 x 96, five 96-pixel cameras. Read only."""
    out = tmp_path_factory.mktemp("waymo") / "town"
    config = TownConfig(out, format="waymo", scenes=1, val_scenes=0, seconds=0.5, image_width=96, columns=96, workers=1)
    build(config, Console(quiet=True))
    return out
