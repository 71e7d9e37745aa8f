"""Noise and steps against diffusers' own scheduler (golden numbers) and the specification's table."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from drive.plans.schedule import Schedule, Step, add_noise, alphas_bar, as_published, from_white_noise, true_ddim

GOLDEN = Path(__file__).parent.parent / "golden" / "ddim_scheduler.json"


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads(GOLDEN.read_text())


@pytest.fixture(scope="module")
def made() -> ModuleType:
    """The module that made the golden numbers: start values and the stand-in for the network."""
    spec = importlib.util.spec_from_file_location("ddim_scheduler", GOLDEN.with_suffix(".py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_levels(golden: dict) -> None:
    for level, value in golden["alphas_bar"].items():
        assert float(alphas_bar()[int(level)]) == pytest.approx(value, rel=1e-6)


def test_numbers_of_the_specification() -> None:
    noise = (1 - alphas_bar()).sqrt()
    for level, wanted in ((0, 0.0100), (8, 0.03159), (10, 0.03536), (20, 0.0520), (49, 0.09425)):
        assert float(noise[level]) == pytest.approx(wanted, abs=6e-5)
    assert Step(10, 9).coefficients() == pytest.approx((0.05254, 0.94749), abs=1e-5)


def test_added_noise(golden: dict, made: ModuleType) -> None:
    clean, noise = torch.tensor(made.CLEAN), torch.tensor(made.START)
    for level, wanted in golden["add_noise"].items():
        assert torch.allclose(add_noise(clean, noise, int(level)), torch.tensor(wanted), atol=1e-6)
    both = add_noise(torch.stack((clean, clean)), torch.stack((noise, noise)), torch.tensor([8, 49]))
    assert torch.allclose(both, torch.tensor([golden["add_noise"]["8"], golden["add_noise"]["49"]]), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("as_published", as_published()),
        ("as_published_nuscenes", as_published(span=40)),
        ("true_ddim", true_ddim()),
        ("from_white_noise", from_white_noise(20)),
    ],
)
def test_chains_of_steps_are_those_of_diffusers(name: str, schedule: Schedule, golden: dict, made: ModuleType) -> None:
    sample, seen = torch.tensor(made.START), []
    for step in schedule.steps:
        said = torch.tensor([made.answer(float(s), step.level) for s in sample])
        assert name == "from_white_noise" or bool((said.abs() > 1).any())  # or the clipping is not seen
        sample = step.next(said, sample)
        seen.append(sample)
    assert len(seen) == len(golden[name])
    # 20 passes of a steep function carry rounding on.
    assert torch.allclose(torch.stack(seen), torch.tensor(golden[name]), atol=1e-6 if len(seen) == 2 else 2e-5)


def test_schedules_as_lists(golden: dict) -> None:
    assert as_published() == Schedule(8, (Step(10, 9), Step(0, None)))
    assert as_published(1) == Schedule(8, (Step(0, None),))
    assert as_published(3) == Schedule(8, (Step(13, 12), Step(7, 6), Step(0, None)))
    assert true_ddim() == Schedule(10, (Step(10, 0), Step(0, None)))
    assert true_ddim(1) == Schedule(10, (Step(10, None),))
    assert [step.level for step in from_white_noise(20).steps] == golden["leading_20"]
    assert from_white_noise(20).start is None


def test_two_steps_that_are_two() -> None:
    """The published update keeps the noisy anchors, the true one the first pass's answer."""
    assert true_ddim().steps[0].coefficients() == pytest.approx((0.717, 0.283), abs=1e-3)
    assert as_published().steps[0].coefficients()[1] > 0.94


@pytest.mark.parametrize(("level", "to"), [(-1, None), (1000, 9), (10, 10), (10, -1)])
def test_bad_steps(level: int, to: int | None) -> None:
    with pytest.raises(ValueError, match="a step goes down"):
        Step(level, to)


def test_bad_schedules() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        Schedule(8, ())
    with pytest.raises(ValueError, match="start's level"):
        Schedule(1000, (Step(0, None),))
    with pytest.raises(ValueError, match="passes"):
        from_white_noise(0)
