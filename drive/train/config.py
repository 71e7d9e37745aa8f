"""How a detector is trained: every knob, with the defaults of the budget recipe (SST, DSVT, FlatFormer practice)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainConfig:
    """Training of one experiment.

    With `steps` (or `epochs`) the run is a fixed number of optimiser steps and, on one machine's CPU, reproducible bit
    for bit, also when it is killed and started again. With `max_seconds` the schedule follows whichever of steps and
    time is further on, so that it ends on time with its learning rate annealed; how many steps that is depends on the
    machine, so such a run is not reproducible.

    Attributes:
        epochs: Passes over the training frames; used where `steps` is 0.
        steps: Optimiser steps; 0 takes `epochs`.
        max_seconds: Ends the training after this time, resumed parts counted together; 0 = no limit.
        learning_rate: Peak.
        weight_decay: Decoupled (AdamW); never on biases and norms.
        betas: Adam's; the first is replaced by `momentum` where it cycles.
        schedule: "one_cycle" (Smith 2018) or "cosine" with linear warm-up.
        warmup: Share of the training in which the rate rises.
        start_divisor: One-cycle begins at the peak divided by this.
        final_divisor: The rate ends at the peak divided by this.
        momentum: Adam's first beta at the lowest and at the highest rate of one-cycle.
        clip_norm: Largest gradient norm; 0 = not clipped.
        accumulate: Batches an optimiser step.
        ema: Decay of the averaged weights, 0 = none. Warmed up as min(ema, (1 + t) / (10 + t)), so short runs gain too.
        precision: "32", "bf16-mixed" or "16-mixed".
        device: "auto", "cpu" or "cuda".
        devices: Devices (or CPU processes) a machine; more than one trains with DDP.
        nodes: Machines.
        unused_parameters: DDP looks for parameters without a gradient (a head whose class no frame shows).
        sync_batch_norm: Batch norms share statistics over the GPUs.
        init_from: Weights (.safetensors) to start from; empty = none.
        init_skip_mismatched: Start even if some of them have another shape (a head with other classes), skipping those.
        checkpoint_steps: Steps between checkpoints; 0 = only by time.
        checkpoint_seconds: Time between checkpoints; 0 = only by steps.
        keep_checkpoints: Newest checkpoints kept.
        log_every: Steps between log entries.
    """

    epochs: float = 24.0
    steps: int = 0
    max_seconds: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    schedule: Literal["one_cycle", "cosine"] = "one_cycle"
    warmup: float = 0.1
    start_divisor: float = 10.0
    final_divisor: float = 1e4
    momentum: tuple[float, float] = (0.95, 0.85)
    clip_norm: float = 10.0
    accumulate: int = 1
    ema: float = 0.9999
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    nodes: int = 1
    unused_parameters: bool = True
    sync_batch_norm: bool = True
    init_from: str = ""
    init_skip_mismatched: bool = False
    checkpoint_steps: int = 0
    checkpoint_seconds: float = 300.0
    keep_checkpoints: int = 2
    log_every: int = 10
