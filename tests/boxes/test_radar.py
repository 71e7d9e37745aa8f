"""A detector that reads radar: empty input, gradients, and a velocity that no lidar point can tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from drive.boxes.detector import PillarsConfig, SWFormerConfig
from drive.samples.batch import collate
from drive.samples.radar import join_radar
from drive.samples.sample import FrameSample
from drive.voxels.grid import GridSpec


def with_radar(sample: FrameSample, speed: float) -> FrameSample:
    """A return in the middle of each box, and the boxes drive along x."""
    boxes = sample.boxes.copy()
    boxes[:, 7] = speed
    returns = np.zeros((len(boxes), 10), np.float32)
    returns[:, :3], returns[:, 6:8], returns[:, 8:] = boxes[:, :3], boxes[:, 7:9], [8.0, 1.0]
    return replace(sample, boxes=boxes, points=join_radar(sample.points, returns))


def reading_radar(config: SWFormerConfig | PillarsConfig) -> SWFormerConfig | PillarsConfig:
    return replace(config, encoder=replace(config.encoder, radar=True))


@pytest.mark.parametrize("returns", [0, 1])
def test_frames_of_no_and_of_one_return(
    config: SWFormerConfig | PillarsConfig, empty: Callable[[int], FrameSample], returns: int
) -> None:
    radar = np.zeros((returns, 10), np.float32)
    radar[:, :3], radar[:, 9] = [3.0, 4.0, 0.5], 1.0
    samples = [replace(empty(0), points=join_radar(empty(0).points, radar)) for _ in range(2)]
    model, batch = reading_radar(config).build(), collate(samples)
    for training in (True, False):
        model.train(training)
        output = model(batch)
        assert all(bool(value.isfinite()) for value in model.losses(output, batch).values())
        assert len(model.decode(output)) == 2


@pytest.mark.parametrize("config", ["pillars"], indirect=True)
def test_velocities_are_learnt_from_radar(config: PillarsConfig, make: Callable[..., FrameSample]) -> None:
    """The same scene once driving ahead and once back: only the returns tell which."""
    torch.manual_seed(0)
    samples = [with_radar(make(3, cars=2, small=1, ground=200, reach=9.0), speed) for speed in (6.0, -6.0)]
    batch = collate(samples)
    config = replace(config, grid=GridSpec((-12.0, -12.0, -2.0, 12.0, 12.0, 4.0), (0.5, 0.5, 6.0)))
    model = replace(reading_radar(config), loss=replace(config.loss, velocity=1.0)).build().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    course = []
    for _ in range(45):
        optimiser.zero_grad()
        parts = model.losses(model(batch), batch)
        parts["loss"].backward()
        optimiser.step()
        course.append(sum(float(part) for name, part in parts.items() if name.startswith("velocity/")))
    # Without the returns the two frames are one, and nothing is better than to say that all stand still.
    assert course[-1] < 0.5 * course[0]
