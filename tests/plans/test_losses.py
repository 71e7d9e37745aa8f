"""Losses of the planners by hand."""

from __future__ import annotations

import math

import pytest
import torch

from drive.plans.losses import PlanLossConfig, l1_of_modes, measures, mode_losses, positive_modes
from drive.plans.proposals import Proposals, TrainingAnswer

# Two anchors of two points: straight ahead and to the left.
ANCHORS = torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[1.0, 1.0], [1.0, 3.0]]])
AHEAD = torch.tensor([[[1.0, 0.0, 0.0], [2.0, 0.5, 0.0]]])
ALL = torch.ones(1, 2, dtype=torch.bool)


def answer_of(poses: torch.Tensor, logits: torch.Tensor, layers: int = 1) -> TrainingAnswer:
    return TrainingAnswer((Proposals(poses, logits),) * layers, ANCHORS.expand(len(poses), -1, -1, -1))


def test_positive_mode_is_the_nearest_clean_anchor() -> None:
    anchors = ANCHORS.expand(2, -1, -1, -1)
    future = torch.cat((AHEAD, torch.tensor([[[1.0, 0.9, 0.1], [1.2, 2.5, 0.1]]])))
    assert positive_modes(anchors, future, ALL.expand(2, -1)).tolist() == [0, 1]
    # Where only the first point is known, the second does not decide.
    first = torch.tensor([[True, False]] * 2)
    assert positive_modes(anchors, future * torch.tensor([1.0, 99.0])[:, None], first).tolist() == [0, 1]


def test_numbers_by_hand() -> None:
    poses = torch.zeros(1, 2, 2, 3)
    poses[0, 0] = torch.tensor([[1.5, 0.0, 0.1], [2.0, 0.0, 0.0]])
    logits = torch.tensor([[0.0, 0.0]])
    # L1: |0.5| + |0.1| at the first point, |0.5| at the second, over 6 numbers.
    assert float(l1_of_modes(poses, torch.tensor([0]), AHEAD, ALL)) == pytest.approx(1.1 / 6)
    # Focal at p = 1/2: -ln(1/2) / 4, times 0.25 for the right mode and 0.75 for the wrong one, mean of two.
    focal = math.log(2) * 0.25 * (0.25 + 0.75) / 2
    found = mode_losses(answer_of(poses, logits), AHEAD, ALL, PlanLossConfig())
    assert float(found["score"]) == pytest.approx(12 * 10 * focal)
    assert float(found["regression"]) == pytest.approx(12 * 8 * 1.1 / 6)
    chosen = mode_losses(
        answer_of(poses, torch.tensor([[0.0, 1.0]])), AHEAD, ALL, PlanLossConfig(score=2, softmax=True)
    )
    assert float(chosen["score"]) == pytest.approx(12 * 2 * math.log(1 + math.e))
    twice = mode_losses(answer_of(poses, logits, layers=2), AHEAD, ALL, PlanLossConfig())
    assert float(twice["score"]) == pytest.approx(2 * float(found["score"]))
    small = mode_losses(answer_of(poses, logits), AHEAD, ALL, PlanLossConfig.nuscenes())
    assert float(small["score"]) == pytest.approx(0.5 * focal)
    assert float(small["regression"]) == pytest.approx(1.1 / 6)


def test_only_known_points_and_scenes_teach() -> None:
    poses, logits = torch.zeros(2, 2, 2, 3), torch.zeros(2, 2)
    future = torch.cat((AHEAD, torch.full((1, 2, 3), 1000.0)))
    valid = torch.tensor([[True, False], [False, False]])
    found = mode_losses(answer_of(poses, logits), future, valid, PlanLossConfig())
    alone = mode_losses(answer_of(poses[:1], logits[:1]), future[:1], valid[:1], PlanLossConfig())
    assert {k: float(v) for k, v in found.items()} == pytest.approx({k: float(v) for k, v in alone.items()})
    assert float(found["regression"]) == pytest.approx(12 * 8 * 1 / 3)


@pytest.mark.parametrize("scenes", [0, 2])
def test_nothing_to_learn_from(scenes: int) -> None:
    poses, logits = torch.zeros(scenes, 2, 2, 3, requires_grad=True), torch.zeros(scenes, 2, requires_grad=True)
    future, valid = torch.zeros(scenes, 2, 3), torch.zeros(scenes, 2, dtype=torch.bool)
    terms = mode_losses(answer_of(poses, logits), future, valid, PlanLossConfig())
    found = {name: float(term.detach()) for name, term in terms.items()}
    assert found == {"score": 0, "regression": 0}
    sum(terms.values()).backward()
    assert not poses.grad.any()
    watched = measures(Proposals(poses, logits), ANCHORS.expand(scenes, -1, -1, -1), future, valid)
    assert {k: float(v) for k, v in watched.items()} == {"l1_m": 0, "chosen": 0}


def test_measures() -> None:
    poses = torch.zeros(1, 2, 2, 3)
    poses[0, 0, :, 0] = torch.tensor([1.0, 2.0])
    found = measures(Proposals(poses, torch.tensor([[1.0, 0.0]])), ANCHORS[None], AHEAD, ALL)
    assert float(found["l1_m"]) == pytest.approx(0.5 / 4)
    assert float(found["chosen"]) == 1
    assert float(measures(Proposals(poses, torch.tensor([[0.0, 1.0]])), ANCHORS[None], AHEAD, ALL)["chosen"]) == 0
