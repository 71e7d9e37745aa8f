"""Everything that stands before the loop: devices, model, optimiser, data, the last checkpoint where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from drive.errors import UserError
from drive.features.image_timm import synchronised_batch_norms
from drive.samples.batch import collate
from drive.samples.frame_dataset import FrameDataset, find_logs
from drive.samples.loader import TrainLoader
from drive.samples.plan_sample_data import PlanDataConfig, PlanDataset
from drive.samples.workers import TrainingSet
from drive.tracks.history_data import TrackDataConfig, TrackDataset
from drive.train.config import TrainConfig
from drive.train.ema import Ema
from drive.train.fabric import LossModule, start_fabric
from drive.train.folder import BANK, CHECKPOINTS, COVERAGE, ExperimentLike, claim_folder
from drive.train.log import RunLog, header
from drive.train.optimizer import build_optimizer
from drive.train.schedule import Clock
from drive.train.state import TrainState, resume
from drive.train.weights import load_weights, write_atomic


@dataclass
class Training:
    """A run, ready for its next step.

    Attributes:
        fabric: Devices and processes.
        model: What Fabric wrapped; called with a `HiddenBatch` it gives the losses.
        detector: The module inside.
        optimizer: What Fabric wrapped.
        state: All that a checkpoint holds.
        first: Step at which this part of the run begins.
        log: Entered by the loop.
        notes: Lines for the person who watches.
    """

    fabric: Fabric
    model: Any
    detector: nn.Module
    optimizer: Any
    state: TrainState
    first: int
    log: RunLog
    notes: list[str]


def prepare(experiment: ExperimentLike, folder: Path, dataset: TrainingSet | None) -> Training:
    """Set up a run in its folder, going on from its newest checkpoint.

    Raises:
        UserError: Bad input, a foreign folder, a damaged checkpoint.
    """
    config, data = experiment.train, experiment.data
    fabric = start_fabric(config)
    if fabric.is_global_zero:
        claim_folder(experiment, folder)
    fabric.barrier()
    torch.manual_seed(experiment.seed)  # the same weights on every process
    detector: nn.Module = experiment.model.build()
    notes = [_start_from(detector, config)] if config.init_from else []
    if config.sync_batch_norm and fabric.world_size > 1 and fabric.device.type == "cuda":
        detector = synchronised_batch_norms(detector)
    torch.manual_seed(experiment.seed + 1000 * (fabric.global_rank + 1))  # from here on each draws its own
    if dataset is None:
        dataset = training_set(experiment, folder, fabric)
    if isinstance(dataset, PlanDataset):
        notes += _fit_planner(detector, dataset, folder, experiment.seed, fabric)
    model, optimizer = fabric.setup(LossModule(detector), build_optimizer(detector, config))
    loader = TrainLoader(
        dataset,
        data.batch_size,
        seed=experiment.seed,
        workers=data.workers,
        prefetch=data.prefetch,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        balance=data.balance,
        join=dataset.collate if isinstance(dataset, (TrackDataset, PlanDataset)) else collate,
    )
    steps = config.steps or max(int(config.epochs * loader.batches_per_epoch / config.accumulate), 1)
    loader.paste_until = int(data.paste_until * steps * config.accumulate)
    ema = Ema(detector, config.ema) if config.ema else None
    state = TrainState(detector, optimizer, ema, loader, Clock(steps, config.max_seconds))
    first = resume(state, fabric, folder / CHECKPOINTS, experiment.hash())
    facts = {"parameters": sum(p.numel() for p in detector.parameters()), "frames": len(dataset), "steps": steps}
    head = header(experiment.name, experiment.hash(), fabric.device, **facts, processes=fabric.world_size)
    log = RunLog(folder, head, step=first, total_steps=steps, log_every=config.log_every, enabled=fabric.is_global_zero)
    limit = f", at most {config.max_seconds:.0f} s" if config.max_seconds else ""
    notes.append(f"going on from step {first}" if first else f"{steps} steps planned{limit}")
    return Training(fabric, model, detector, optimizer, state, first, log, notes)


def training_set(experiment: ExperimentLike, folder: Path, fabric: Fabric) -> FrameDataset | TrackDataset | PlanDataset:
    """The training frames that an experiment names (with its object bank where it pastes), its tracks or decisions.

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
    if isinstance(data, TrackDataConfig):
        return TrackDataset.of(data, logs, experiment.model.history, experiment.seed)
    if isinstance(data, PlanDataConfig):
        return _decisions(data, logs)
    looks = [part for part in ("fusion", "lift") if getattr(experiment.model, part, None) is not None]
    if looks and data.images is None:
        mend = f"set data.images, as configs.town_deepfusion does, or take a model without {looks[0]}"
        raise UserError("data.images", "the model looks at images, and none are read", mend)
    dataset = FrameDataset.of(
        data,
        logs,
        min_points=data.min_points,
        interpolated=data.interpolated,
        augment=data.augment,
        seed=experiment.seed,
    )
    if data.augment.paste.probability > 0:
        with fabric.rank_zero_first():  # the others open what the first one built
            dataset.build_bank(folder / BANK)
    return dataset


def _decisions(data: PlanDataConfig, logs: list[Path]) -> PlanDataset:
    """Decisions of logs; what sensors would see beside the recorded drive is rendered."""
    sensors, render = data.features.sensors, None
    if sensors is not None and data.perturb.share:
        from drive.rollouts.planner_sensors import BesideRenderer  # a renderer, that nobody else here needs

        render = BesideRenderer(logs, sensors)  # what cannot be rendered is said before the decisions are made
    decisions = PlanDataset.of(data, logs)
    decisions.render = render
    return decisions


def _fit_planner(detector: Any, dataset: PlanDataset, folder: Path, seed: int, fabric: Fabric) -> list[str]:
    """Anchors and ranges from the training drives; what they cover goes into the folder, warnings to the person, and
    what sensors never saw."""
    found = detector.fit(dataset.futures(), seed)
    if found is None:
        return dataset.notes()
    if fabric.is_global_zero:
        write_atomic(folder / COVERAGE, lambda path: found.write(path))
    return [*(f"anchors: {line}" for line in found.warnings()), *dataset.notes()]


def _start_from(detector: nn.Module, config: TrainConfig) -> str:
    path = Path(config.init_from)
    report = load_weights(detector, path, strict=False, skip_mismatched=config.init_skip_mismatched)
    return f"{config.init_from}: {report.summary()}"
