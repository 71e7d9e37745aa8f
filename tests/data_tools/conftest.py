"""A small synthetic town, made once a session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from data_tools.town import make_tiny_town

sys.path.insert(0, str(Path(__file__).parent))  # fuzzing.py, for the tests of every data set


@pytest.fixture(scope="session")
def tiny_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw nuScenes-shaped data set: 2 training and 1 validation scene of 2 s, 160 x 90 images. Read only."""
    return make_tiny_town(tmp_path_factory.mktemp("town") / "tiny")
