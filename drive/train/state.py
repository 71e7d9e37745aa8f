"""All that changes while a run trains, and its way into a checkpoint and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from drive.errors import UserError
from drive.samples.loader import Position, TrainLoader
from drive.train.checkpoint import list_checkpoints, read_checkpoint, save_checkpoint
from drive.train.ema import Ema
from drive.train.fabric import gather
from drive.train.schedule import Clock


@dataclass
class TrainState:
    """Weights, optimiser, average, the loader's position and the clock of a run."""

    detector: nn.Module
    optimizer: Any
    ema: Ema | None
    loader: TrainLoader
    clock: Clock


def save(state: TrainState, fabric: Fabric, folder: Path, experiment_hash: str, keep: int) -> None:
    """Write a checkpoint. Every process calls this: each has random states of its own."""
    random = {n: gather(fabric, s.to(fabric.device)).cpu() for n, s in _random_states(fabric.device).items()}
    position = state.loader.position
    if fabric.is_global_zero:
        save_checkpoint(
            folder,
            state.clock.step,
            weights=state.detector.state_dict(),
            ema=None if state.ema is None else state.ema.state_dict(),
            state={
                "step": state.clock.step,
                "seconds": state.clock.elapsed_s,
                "optimizer": state.optimizer.state_dict(),
                "precision": fabric.strategy.precision.state_dict(),
                "ema_updates": 0 if state.ema is None else state.ema.updates,
                "random": random,
                "loader": {"epoch": position.epoch, "batch": position.batch},
                "processes": fabric.world_size,
            },
            experiment_hash=experiment_hash,
            keep=keep,
        )
    fabric.barrier()


def resume(state: TrainState, fabric: Fabric, folder: Path, experiment_hash: str) -> int:
    """Load the newest checkpoint, where there is one; gives the step it stands at, 0 without.

    Raises:
        UserError: It is damaged, or was written by another number of processes.
    """
    found = list_checkpoints(folder)
    if not found:
        return 0
    checkpoint = read_checkpoint(found[-1], experiment_hash)
    stored = checkpoint.state
    if stored["processes"] != fabric.world_size:
        what = f"written by {stored['processes']} processes, these are {fabric.world_size}"
        raise UserError(found[-1], what, "start as many, or train into another folder")
    state.detector.load_state_dict(checkpoint.weights)
    if state.ema is not None and checkpoint.ema is not None:
        state.ema.module.load_state_dict(checkpoint.ema)
        state.ema.updates = stored["ema_updates"]
    state.optimizer.load_state_dict(stored["optimizer"])
    fabric.strategy.precision.load_state_dict(stored["precision"])
    state.loader.position = Position(**stored["loader"])
    state.clock.step, state.clock.before_s = stored["step"], stored["seconds"]
    # Cloned: torch crashes when a random state is a view into another tensor.
    mine = {name: states[fabric.global_rank].clone() for name, states in stored["random"].items()}
    torch.set_rng_state(mine["cpu"])
    if fabric.device.type == "cuda" and "cuda" in mine:
        torch.cuda.set_rng_state(mine["cuda"], fabric.device)
    return int(state.clock.step)


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states
