"""The PDM score of a plan at a scene's start, on the street."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.plans.baselines import ConstantVelocity, LogReplay, Stop
from drive.plans.plan import Plan
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_reference import TIMES_S, PlanScorer
from tests.scores.pdm_street import cars, street

V1, V2 = PdmConfig(), PdmConfig(version="v2-fixed")


def straight(speed: float, left: float = 0.0) -> Plan:
    return Plan(np.stack([speed * TIMES_S, left * TIMES_S / 4, 0 * TIMES_S], axis=1), TIMES_S)


def test_progress_against_each_reference() -> None:
    """The log's driver goes 8 m/s (32 m in 4 s); PDM-Closed speeds up to the 10 m/s that are allowed."""
    scene = street(cars())
    human = PlanScorer(scene, V1, "human")
    assert human.reference_m == pytest.approx(32.0)
    assert human.score([straight(8.0)]).score[0] == pytest.approx(1.0)
    assert human.score([straight(8.0)]).ep[0] == pytest.approx(1.0)
    closed = PlanScorer(scene, V1)
    assert closed.reference_m is not None
    assert 34.0 < closed.reference_m < 40.0
    assert closed.score([straight(8.0)]).ep[0] == pytest.approx(32.0 / closed.reference_m)
    assert closed.label == "PDMS v1.1 (navsim), progress against pdm_closed"
    best = PlanScorer(scene, V1, "best").score([straight(8.0), straight(6.0)])
    assert best.ep[0] == 1.0
    assert 0.75 < best.ep[1] < 0.9
    with pytest.raises(ValueError, match="reference"):
        PlanScorer(scene, V1, "mean")  # type: ignore[arg-type]


def test_planners() -> None:
    """Behind nobody constant velocity is the log. Who wants to be here for ever still rolls 8.8 m (section 9)."""
    scorer = PlanScorer(street(cars()), V1, "human")
    assert scorer.score_planner(ConstantVelocity()).score[0] == pytest.approx(1.0)
    assert scorer.score_planner(LogReplay()).score[0] == pytest.approx(1.0)
    stop = scorer.score([straight(0.0)])
    assert stop.progress_m[0] == pytest.approx(8.76, abs=0.1)
    assert stop.ep[0] == pytest.approx(stop.progress_m[0] / 32.0)
    assert stop.score[0] == pytest.approx((5 * stop.ep[0] + 5 + 2 * stop.comfort[0]) / 12)
    assert stop.progress_m[0] < scorer.score_planner(Stop()).progress_m[0] < 20.0  # that one brakes gently


def test_two_frames() -> None:
    """Half a second ago the same was planned: comfortable. Then 8 m/s and now a hard stop: not."""
    scorer = PlanScorer(street(cars()), V2, "human")
    earlier = scorer.drive(straight(8.0).poses[None])
    earlier[..., 0] -= 4.0
    same = scorer.score([straight(8.0)], before=earlier)
    changed = scorer.score([straight(0.0)], before=earlier)
    assert same.ec is not None
    assert changed.ec is not None
    assert (same.ec[0], changed.ec[0]) == (1.0, 0.0)
    assert same.row(0)["ec"] == 1.0
    assert scorer.score([straight(8.0)]).ec is None


def test_human_filter() -> None:
    """The log's driver goes in the wrong lane all the while: a plan that does so too is forgiven it."""
    scene = street(cars())
    ego = scene.ego.copy()
    ego[:, 1] = 1.75
    scorer = PlanScorer(replace(scene, ego=ego), V2, "human")
    assert scorer.score([straight(8.0)]).ddc[0] == 0.0
    forgiven = scorer.score([straight(8.0)], human_filter=True)
    assert (forgiven.ddc[0], forgiven.product[0]) == (1.0, 1.0)


def test_no_plans_and_a_log_that_ends() -> None:
    scene = street(cars())
    assert len(PlanScorer(scene, V1, "human").score([])) == 0
    gone = scene.ego_valid.copy()
    gone[30:] = False
    with pytest.raises(ValueError, match="not known"):
        PlanScorer(replace(scene, ego_valid=gone), V1, "human")
    with pytest.raises(ValueError, match="route"):
        PlanScorer(replace(scene, route=None), V1)
