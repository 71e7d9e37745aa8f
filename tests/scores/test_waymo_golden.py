"""Figures of the official operators on random scenes, kept in tests/golden: parity without TensorFlow.

Made by ``.official/bin/python tests/official/compare_waymo_detection.py --scenes 100 --golden
tests/golden/waymo_detection_metrics.npz`` (tracking: 60 scenes, motion: 100) with waymo-open-dataset-tf-2-12-0 1.6.7.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.official import ours_waymo

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.mark.parametrize(
    ("file", "ours", "scenes"),
    [
        ("waymo_detection_metrics.npz", ours_waymo.detection, 100),
        ("waymo_tracking_metrics.npz", ours_waymo.tracking, 60),
        ("waymo_motion_metrics.npz", ours_waymo.motion, 100),
    ],
)
def test_equal_to_the_official_operator(file: str, ours: Callable[[int], dict[str, np.ndarray]], scenes: int) -> None:
    with np.load(GOLDEN / file) as kept:
        golden = {name: kept[name] for name in kept.files}
    seeds = sorted({int(name.split(".")[0]) for name in golden})
    assert len(seeds) == scenes
    for seed in seeds:
        figures = ours(seed)
        for name in [name for name in golden if name.startswith(f"{seed}.")]:
            np.testing.assert_allclose(figures[name.split(".")[1]], golden[name], rtol=0, atol=1e-6, err_msg=name)
