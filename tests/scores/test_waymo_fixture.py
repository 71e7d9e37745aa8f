"""The official repository's own fixture, where its files are beside the checkout (tests/official/waymo_fixture.py)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import drive.scores.waymo_detection as detection
from drive.scores.waymo_boxes import BothSides, WaymoBoxes
from drive.scores.waymo_config import WaymoConfig
from drive.scores.waymo_pairs import Pairs, find_pairs
from tests.official import ours_waymo, waymo_fixture

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "waymo_fixture_metrics.json"
PAIR_X = 34.404766  # x of the label of the one pair that makes the difference, metres


@pytest.fixture(scope="module")
def sides() -> tuple[WaymoBoxes, WaymoBoxes]:
    """(labels, predictions)."""
    missing = [name for name in waymo_fixture.FILES if not (waymo_fixture.FOLDER / name).is_file()]
    if missing:
        pytest.skip(f"the official fixture is not here ({missing[0]})")
    return ours_waymo.sides(ours_waymo.fixture_scene(waymo_fixture.FOLDER))


def test_equal_to_the_operator(sides: tuple[WaymoBoxes, WaymoBoxes]) -> None:
    golden = json.loads(GOLDEN.read_text())
    m = detection.evaluate(*sides)
    np.testing.assert_allclose(m.ap, golden["ap"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(m.aph, golden["aph"], rtol=0, atol=1e-6)


def test_published_figures_lack_one_pair(sides: tuple[WaymoBoxes, WaymoBoxes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The comment of compute_detection_metrics_main.cc gives other figures for vehicles: those of an older polygon
    code, to which a prediction exactly on its label but turned by half a turn overlapped nothing."""

    def without_the_pair(
        predictions: WaymoBoxes, labels: WaymoBoxes, start_p: np.ndarray, start_l: np.ndarray, config: WaymoConfig
    ) -> Pairs:
        pairs = find_pairs(predictions, labels, start_p, start_l, config)
        here = (np.abs(labels.boxes[pairs.label, 0] - PAIR_X) < 1e-5) & (pairs.iou > 0.999) & (pairs.heading < 1e-3)
        at_score = np.abs(predictions.score[pairs.prediction] - 0.14504942) < 1e-7
        assert (here & at_score).sum() == 1
        return dataclasses.replace(pairs, weight=np.where(here & at_score, -1, pairs.weight))

    monkeypatch.setattr(detection, "find_pairs", without_the_pair)
    m = detection.evaluate(*sides)
    assert m.of("OBJECT_TYPE_TYPE_VEHICLE_LEVEL_1") == pytest.approx((0.208277, 0.162823), abs=1e-6)
    assert m.of("OBJECT_TYPE_TYPE_VEHICLE_LEVEL_2") == pytest.approx((0.205420, 0.160523), abs=1e-6)
    assert m.of("RANGE_TYPE_VEHICLE_[30, 50)_LEVEL_1") == pytest.approx((0.273020, 0.230956), abs=1e-6)
    assert m.of("RANGE_TYPE_VEHICLE_[30, 50)_LEVEL_2") == pytest.approx((0.270492, 0.228818), abs=1e-6)


def test_frames_and_levels(sides: tuple[WaymoBoxes, WaymoBoxes]) -> None:
    truth, found = sides
    whole = BothSides.of(truth, found)
    assert (len(truth), len(found), len(whole.ids)) == (905, 2263, 20)
