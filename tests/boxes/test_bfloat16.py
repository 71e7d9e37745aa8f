"""Inference with matrix products in bfloat16: how far the answers are from those in float32."""

from __future__ import annotations

from collections.abc import Callable

import torch

from drive.boxes.detector import DetectorOutput, PillarsConfig, SWFormerConfig
from drive.samples.batch import FrameBatch


def test_heat_and_regression_are_near_those_of_float32(
    config: SWFormerConfig | PillarsConfig, frames: Callable[..., FrameBatch]
) -> None:
    """Before suppression: there, of boxes with nearly equal scores another one may be kept."""
    batch = frames(1)
    model = config.build().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(3):
        optimiser.zero_grad()
        model.losses(model(batch), batch)["loss"].backward()
        optimiser.step()
    model.eval()

    def run(narrow: bool) -> DetectorOutput:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
            return model(batch)

    full, narrow = run(False), run(True)
    changes = []
    if full.foreground_logits is not None and narrow.foreground_logits is not None:
        changes.append(full.foreground_logits.sigmoid() - narrow.foreground_logits.float().sigmoid())
    for a, b in zip(full.groups, narrow.groups, strict=True):
        # A voxel at the threshold may be kept by one side only.
        same = (a.coords[:, None] == b.coords).all(2)
        (here, there), kept = same.nonzero().unbind(1), max(len(a.coords), len(b.coords))
        assert len(here) >= 0.9 * kept
        changes.append(a.heat_logits[here].sigmoid() - b.heat_logits[there].float().sigmoid())
        if kept:
            regression = (a.regression[here] - b.regression[there].float()).abs()
            assert float(regression.mean()) < 0.02  # of offsets and log sizes: 2 cm, 2 percent
    largest = max(float(change.abs().max()) for change in changes if change.numel())
    assert 0 < largest < 0.03
