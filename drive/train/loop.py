"""The training loop. Read `train` from top to bottom: that is all that happens."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from drive.errors import UserError
from drive.samples.batch import FrameBatch
from drive.samples.frame_dataset import FrameDataset, find_logs
from drive.samples.loader import TrainLoader
from drive.samples.workers import TrainingSet
from drive.train.config import TrainConfig
from drive.train.ema import Ema
from drive.train.fabric import HiddenBatch, LossModule, Signals, agree, start_fabric
from drive.train.folder import BANK, CHECKPOINTS, WEIGHTS, ExperimentLike, claim_folder
from drive.train.log import RunLog, header
from drive.train.optimizer import build_optimizer
from drive.train.schedule import Clock, momentum, set_schedule
from drive.train.state import TrainState, resume, save
from drive.train.watch import check_gradients, check_losses, gradient_norm
from drive.train.weights import load_weights, save_weights


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
    config, data, out_dir = experiment.train, experiment.data, Path(out_dir)
    fabric = start_fabric(config)
    if fabric.is_global_zero:
        claim_folder(experiment, out_dir)
    fabric.barrier()
    torch.manual_seed(experiment.seed)  # the same weights on every process
    detector: nn.Module = experiment.model.build()
    notes = [_start_from(detector, config)] if config.init_from else []
    torch.manual_seed(experiment.seed + 1000 * (fabric.global_rank + 1))
    if dataset is None:
        dataset = training_set(experiment, out_dir, fabric)
    optimizer = build_optimizer(detector, config)
    model, optimizer = fabric.setup(LossModule(detector), optimizer)
    loader = TrainLoader(
        dataset,
        data.batch_size,
        seed=experiment.seed,
        workers=data.workers,
        prefetch=data.prefetch,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        balance=data.balance,
    )
    steps = config.steps or max(int(config.epochs * loader.batches_per_epoch / config.accumulate), 1)
    ema = Ema(detector, config.ema) if config.ema else None
    state = TrainState(detector, optimizer, ema, loader, Clock(steps, config.max_seconds))
    first = resume(state, fabric, out_dir / CHECKPOINTS, experiment.hash())
    clock, rank = state.clock, fabric.global_rank
    losses: dict[str, Tensor] = {}
    loader.paste_until = int(data.augment.paste.until * steps * config.accumulate)
    elapsed, saved_s = clock.elapsed_s, clock.elapsed_s

    facts = {"parameters": sum(p.numel() for p in detector.parameters()), "frames": len(dataset), "steps": steps}
    head = header(experiment.name, experiment.hash(), fabric.device, **facts, processes=fabric.world_size)
    with (
        RunLog(
            out_dir, head, step=first, total_steps=steps, log_every=config.log_every, enabled=fabric.is_global_zero
        ) as log,
        Signals() as signals,
        closing(iter(loader)) as batches,
    ):
        for note in [*notes, f"going on from step {first}" if first else f"{steps} steps planned"]:
            log.note(note)
        model.train()
        while not clock.done(elapsed):
            progress = clock.progress(elapsed)
            rate = set_schedule(optimizer, config, progress)
            if config.max_seconds and progress >= data.augment.paste.until:
                loader.paste_until = 0
            began, waited, losses = time.monotonic(), 0.0, {}
            for micro in range(config.accumulate):
                asked = time.monotonic()
                batch: FrameBatch = next(batches).to(fabric.device)
                waited += time.monotonic() - asked
                with fabric.no_backward_sync(model, enabled=micro + 1 < config.accumulate):
                    terms: dict[str, Tensor] = model(HiddenBatch(batch))
                    check_losses(terms, detector, batch, out_dir, clock.step, rank)
                    fabric.backward(terms["loss"] / config.accumulate)
                losses = {k: losses.get(k, 0.0) + v.detach() / config.accumulate for k, v in terms.items()}
            fabric.strategy.precision.unscale_gradients(optimizer.optimizer)
            norm = gradient_norm(detector)
            if config.precision != "16-mixed":  # there the scaler skips steps that overflow, and lowers its scale
                check_gradients(norm, detector, batch, out_dir, clock.step, rank)
            if config.clip_norm:
                torch.nn.utils.clip_grads_with_norm_(detector.parameters(), config.clip_norm, norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if ema is not None:
                ema.update(detector)
            clock.step += 1
            elapsed, stop = agree(fabric, clock.elapsed_s, signals.stop)
            log.step(
                clock.step,
                clock.progress(elapsed),
                losses,
                last=clock.done(elapsed) or stop,
                lr=rate,
                momentum=momentum(config, progress),
                grad_norm=float(norm),
                epoch=loader.position.epoch + loader.position.batch / loader.batches_per_epoch,
                seconds=elapsed,
                step_seconds=time.monotonic() - began,
                wait_seconds=waited,
            )
            due = config.checkpoint_seconds and elapsed - saved_s >= config.checkpoint_seconds
            if due or stop or (config.checkpoint_steps and clock.step % config.checkpoint_steps == 0):
                save(state, fabric, out_dir / CHECKPOINTS, experiment.hash(), config.keep_checkpoints)
                saved_s = elapsed
            if stop:
                raise KeyboardInterrupt
        if clock.step > first:
            save(state, fabric, out_dir / CHECKPOINTS, experiment.hash(), config.keep_checkpoints)
    about = {"experiment": experiment.name, "hash": experiment.hash(), "step": str(clock.step)}
    if fabric.is_global_zero:
        shipped = detector.state_dict() if ema is None else ema.state_dict()
        save_weights(out_dir / WEIGHTS, shipped, {**about, "kind": "trained" if ema is None else "averaged"})
    fabric.barrier()
    last = float(losses["loss"]) if losses else None
    return TrainSummary(out_dir / WEIGHTS, clock.step, clock.elapsed_s if losses else elapsed, first, last)


def training_set(experiment: ExperimentLike, out_dir: Path, fabric: Fabric) -> FrameDataset:
    """The training frames that an experiment names, with its object bank where it pastes.

    Raises:
        UserError: No logs, or a log that is also named for scoring.
    """
    data = experiment.data
    logs = find_logs(data.train_logs, data.train_split)
    scored = {path.resolve() for path in find_logs(data.val_logs, data.val_split)} if data.val_logs else set()
    both = sorted(path.name for path in logs if path.resolve() in scored)
    if both and not data.allow_overlap:
        what = f"{len(both)} logs are trained on and scored on ({', '.join(both[:3])})"
        raise UserError("data.val_logs", what, "name different logs or splits, or set data.allow_overlap")
    options: dict[str, Any] = {"augment": data.augment, "seed": experiment.seed, "min_points": data.min_points}
    dataset = FrameDataset.of(data, logs, **options, interpolated=data.interpolated)
    if data.augment.paste.probability > 0:
        with fabric.rank_zero_first():  # the others open what the first one built
            dataset.build_bank(out_dir / BANK)
    return dataset


def _start_from(detector: nn.Module, config: TrainConfig) -> str:
    report = load_weights(detector, Path(config.init_from), strict=False, skip_mismatched=config.init_skip_mismatched)
    return f"{config.init_from}: {report.summary()}"
