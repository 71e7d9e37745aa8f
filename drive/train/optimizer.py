"""AdamW with two parameter groups: weights decay, biases and norms do not."""

from __future__ import annotations

import torch
from torch import nn

from drive.train.config import TrainConfig


def build_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) over the parameters that are trained.

    What has one dimension or none (biases, the gains of norms, scalars) is not decayed: decay pulls a norm's gain
    towards 0 and only changes the effective rate.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    # One kernel for all parameters; fp16's gradient scaler has to see the gradients before it and cannot use that.
    fused = config.precision != "16-mixed" and bool(trained)
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=config.learning_rate, betas=config.betas, fused=fused
    )
