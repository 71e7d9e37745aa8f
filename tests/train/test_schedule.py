"""Schedules against torch's own and hand-made values; the clock."""

from __future__ import annotations

import warnings
from itertools import pairwise

import pytest
import torch

from drive.train.config import TrainConfig
from drive.train.schedule import Clock, learning_rate, momentum, set_schedule


def test_one_cycle_equals_torch() -> None:
    total, config = 200, TrainConfig(learning_rate=3e-3, warmup=0.4, start_divisor=10.0, final_divisor=1e4)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter])
    # torch divides the initial rate, not the peak, by its final_div_factor.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 3e-3, total_steps=total + 1, pct_start=0.4 + 0.6 / (total + 1), div_factor=10.0,
            final_div_factor=1e3, base_momentum=0.85, max_momentum=0.95,
        )  # fmt: skip
        for step in range(total + 1):
            group = optimizer.param_groups[0]
            # Their ramp ends at step pct_start * total_steps - 1; ours where progress reaches warmup: the same step.
            assert learning_rate(config, step / total) == pytest.approx(group["lr"], rel=2e-3, abs=1e-7), step
            assert momentum(config, step / total) == pytest.approx(group["betas"][0], abs=1e-4), step
            if step < total:
                theirs.step()


def test_one_cycle_by_hand() -> None:
    config = TrainConfig(learning_rate=1.0, warmup=0.1, start_divisor=10.0, final_divisor=100.0)
    assert learning_rate(config, 0.0) == pytest.approx(0.1)
    assert learning_rate(config, 0.05) == pytest.approx(0.55)  # halfway up
    assert learning_rate(config, 0.1) == pytest.approx(1.0)
    assert learning_rate(config, 0.55) == pytest.approx(0.505)  # halfway down to 0.01
    assert learning_rate(config, 1.0) == pytest.approx(0.01)
    assert [momentum(config, p) for p in (0.0, 0.1, 1.0)] == pytest.approx([0.95, 0.85, 0.95])


def test_cosine_of_the_paper() -> None:
    # SWFormer: warm-up 8 of 128 epochs, peak 1e-3, cosine decay.
    config = TrainConfig(learning_rate=1e-3, schedule="cosine", warmup=8 / 128, final_divisor=1e9)
    epoch = {0: 0.0, 4: 0.5e-3, 8: 1e-3, 68: 0.5e-3, 98: 1e-3 * (1 - 2**-0.5) / 2, 128: 0.0}
    for at, rate in epoch.items():
        assert learning_rate(config, at / 128) == pytest.approx(rate, abs=1e-11)
    assert momentum(config, 0.3) == 0.9


def test_no_warm_up_starts_at_the_peak() -> None:
    for name in ("one_cycle", "cosine"):
        assert learning_rate(TrainConfig(schedule=name, warmup=0.0), 0.0) == pytest.approx(1e-3)  # type: ignore[arg-type]
        assert learning_rate(TrainConfig(schedule=name, warmup=1.0), 1.0) <= 1e-3  # type: ignore[arg-type]


def test_rates_only_rise_and_then_only_fall() -> None:
    rates = [learning_rate(TrainConfig(), i / 1000) for i in range(1001)]
    turns = [b > a for a, b in pairwise(rates)]
    assert turns == sorted(turns, reverse=True)


def test_every_group_gets_the_rate() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [p]} for p in parameters])
    rate = set_schedule(optimizer, TrainConfig(learning_rate=0.5), 0.1)
    assert [g["lr"] for g in optimizer.param_groups] == [rate, rate] == [0.5, 0.5]
    assert [g["betas"] for g in optimizer.param_groups] == [(0.85, 0.999)] * 2


def test_the_clock_follows_what_is_further_on() -> None:
    clock = Clock(steps=10, max_seconds=100.0, step=2)
    assert clock.progress(10.0) == 0.2
    assert clock.progress(50.0) == 0.5
    assert clock.progress(500.0) == 1.0
    assert [clock.done(99.9), clock.done(100.0)] == [False, True]
    clock.step = 10
    assert clock.done(0.0)
    assert Clock(steps=10, max_seconds=0.0, step=3).progress(1e9) == 0.3
    assert Clock(steps=10, max_seconds=0.0, before_s=7.0).elapsed_s >= 7.0
