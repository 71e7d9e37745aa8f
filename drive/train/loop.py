"""The training loop. Read `train` from top to bottom: that is all that happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from drive.samples.workers import TrainingSet
from drive.train.config import TrainConfig
from drive.train.fabric import Batch, HiddenBatch, Signals, agree
from drive.train.folder import CHECKPOINTS, WEIGHTS, ExperimentLike
from drive.train.schedule import momentum, set_schedule
from drive.train.setup import Training, prepare
from drive.train.state import save
from drive.train.watch import check_gradients, check_losses, gradient_norm
from drive.train.weights import save_weights


@dataclass(frozen=True)
class TrainSummary:
    """How a training ended.

    Attributes:
        weights: The file with the weights to use: averaged ones where `train.ema` is on.
        steps: Optimiser steps in all.
        seconds: Time in all, resumed parts counted together.
        resumed_from: Step at which this part began.
        loss: Loss of the last step of this part; None where there was nothing left to do.
    """

    weights: Path
    steps: int
    seconds: float
    resumed_from: int
    loss: float | None


def train(experiment: ExperimentLike, out_dir: Path, *, dataset: TrainingSet | None = None) -> TrainSummary:
    """Train an experiment in a folder; called again after a kill, it goes on where the last checkpoint stands.

    Args:
        experiment: What to train, on what, how.
        out_dir: The run's folder, new or of this same experiment.
        dataset: Replaces the logs that `experiment.data` names.

    Raises:
        UserError: Bad input, a foreign folder, a damaged checkpoint, a loss or gradient that is not finite.
        KeyboardInterrupt: Stopped by SIGINT or SIGTERM, after a checkpoint.
    """
    config, out_dir = experiment.train, Path(out_dir)
    run = prepare(experiment, out_dir, dataset)
    fabric, state, clock, loader = run.fabric, run.state, run.state.clock, run.state.loader
    losses: dict[str, Tensor] = {}
    elapsed = saved_s = clock.elapsed_s

    def checkpoint() -> None:
        save(state, fabric, out_dir / CHECKPOINTS, experiment.hash(), config.keep_checkpoints)

    with run.log as log, Signals() as signals, closing(iter(loader)) as batches:
        for note in run.notes:
            log.note(note)
        run.model.train()
        while not clock.done(elapsed):
            began, progress = time.monotonic(), clock.progress(elapsed)
            rate = set_schedule(run.optimizer, config, progress)
            if config.max_seconds and progress >= experiment.data.paste_until:
                loader.paste_until = 0
            losses, norm, waited = _gradients(run, batches, config, out_dir)
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
            if state.ema is not None:
                state.ema.update(run.detector)
            clock.step += 1
            elapsed, stop = agree(fabric, clock.elapsed_s, signals.stop)
            log.step(
                clock.step,
                clock.progress(elapsed),
                losses,
                last=clock.done(elapsed) or stop,
                lr=rate,
                momentum=momentum(config, progress),
                grad_norm=norm,
                epoch=loader.position.epoch + loader.position.batch / loader.batches_per_epoch,
                seconds=elapsed,
                step_seconds=time.monotonic() - began,
                wait_seconds=waited,
            )
            by_time = config.checkpoint_seconds and elapsed - saved_s >= config.checkpoint_seconds
            if by_time or stop or (config.checkpoint_steps and clock.step % config.checkpoint_steps == 0):
                checkpoint()
                saved_s = elapsed
            if stop:
                raise KeyboardInterrupt
        if clock.step > run.first:
            checkpoint()

    if fabric.is_global_zero:
        shipped, kind = (state.ema.module, "averaged") if state.ema is not None else (run.detector, "trained")
        about = {"experiment": experiment.name, "hash": experiment.hash(), "step": str(clock.step), "kind": kind}
        save_weights(out_dir / WEIGHTS, shipped.state_dict(), about)
    fabric.barrier()
    last = float(losses["loss"]) if losses else None
    return TrainSummary(out_dir / WEIGHTS, clock.step, elapsed, run.first, last)


def _gradients(
    run: Training, batches: Iterator[Batch], config: TrainConfig, out_dir: Path
) -> tuple[dict[str, Tensor], float, float]:
    """Gradients of one optimiser step, clipped; the mean losses of its batches, the norm, seconds waited for data."""
    fabric, step, rank = run.fabric, run.state.clock.step, run.fabric.global_rank
    losses: dict[str, Tensor] = {}
    waited = 0.0
    for micro in range(config.accumulate):
        asked = time.monotonic()
        batch = next(batches).to(fabric.device)
        waited += time.monotonic() - asked
        with fabric.no_backward_sync(run.model, enabled=micro + 1 < config.accumulate):
            terms: dict[str, Tensor] = run.model(HiddenBatch(batch))
            check_losses(terms, run.detector, batch, out_dir, step, rank)
            fabric.backward(terms["loss"] / config.accumulate)
        losses = {name: losses.get(name, 0.0) + v.detach() / config.accumulate for name, v in terms.items()}
    fabric.strategy.precision.unscale_gradients(run.optimizer.optimizer)
    norm = gradient_norm(run.detector)
    if config.precision != "16-mixed":  # there the scaler skips steps that overflow, and lowers its scale
        check_gradients(norm, run.detector, batch, out_dir, step, rank)
    if config.clip_norm:
        torch.nn.utils.clip_grads_with_norm_(run.detector.parameters(), config.clip_norm, norm)
    return losses, float(norm), waited
