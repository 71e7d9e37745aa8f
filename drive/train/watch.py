"""Stop at the first value that is not finite, with the batch kept and the culprit named.

A training that goes on past a NaN wastes its time, and by its end nobody can tell where the first one came from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import torch
from safetensors import safe_open
from torch import Tensor, nn

from drive.errors import UserError
from drive.samples.batch import FrameBatch
from drive.train.fabric import Batch
from drive.train.weights import save_weights, weights_about

# Places of points that no camera can have seen are NaN, a lens without distortion reaches infinitely far.
NOT_FINITE_BY_DESIGN = ("recorded_xyz", "images.table")


def check_losses(
    losses: Mapping[str, Tensor], module: nn.Module, batch: Batch, folder: Path, step: int, rank: int = 0
) -> None:
    """Raise if a loss is not finite. One synchronisation with the device.

    Raises:
        UserError: Names the terms, and what else is not finite: input columns, weights.
    """
    if bool(torch.isfinite(torch.stack([v.detach().float().sum() for v in losses.values()])).all()):
        return
    terms = [f"{name} = {float(value.detach())}" for name, value in losses.items() if not torch.isfinite(value).all()]
    causes = [f"weight {n}" for n, p in module.named_parameters() if not torch.isfinite(p).all()]
    causes += [
        f"input {n}"
        for n, t in batch.tensors().items()
        if n not in NOT_FINITE_BY_DESIGN and t.is_floating_point() and not torch.isfinite(t).all()
    ]
    tail = f" (already not finite: {_few(causes)})" if causes else " (weights and input are finite)"
    _stop(batch, folder, step, rank, f"loss {_few(terms)}{tail}")


def gradient_norm(module: nn.Module) -> Tensor:
    """Total 2-norm of all gradients, a scalar on their device; 0 without gradients."""
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads) if grads else torch.zeros(())


def check_gradients(norm: Tensor, module: nn.Module, batch: Batch, folder: Path, step: int, rank: int = 0) -> None:
    """Raise if the gradients' norm is not finite.

    Raises:
        UserError: Names the parameters, the last in the network first: it saw the bad value first.
    """
    if bool(torch.isfinite(norm)):
        return
    bad = [n for n, p in module.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    what = _few([f"{name}" for name in reversed(bad)]) if bad else "all parameters together (their norm overflows)"
    _stop(batch, folder, step, rank, f"gradient of {what} is not finite")


def load_saved_batch(path: Path) -> FrameBatch:
    """A batch that was saved when a training stopped.

    Raises:
        UserError: The file is not one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
            return FrameBatch.of_tensors(tensors, json.loads(weights_about(path)["frame_ids"]))
    except Exception as error:  # safetensors' own error class derives from Exception directly
        raise UserError(path, f"not a saved batch ({error})", "give a file of a run's nonfinite folder") from error


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _stop(batch: Batch, folder: Path, step: int, rank: int, what: str) -> NoReturn:
    path = folder / "nonfinite" / f"step-{step:08d}-rank-{rank}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, batch.tensors(), {"frame_ids": json.dumps(batch.frame_ids), "step": str(step)})
    frames = _few(batch.frame_ids)
    raise UserError(
        path,
        f"stopped at step {step}, frames {frames}: {what}",
        "the batch is saved in this file; look at these frames, or lower train.learning_rate",
    )
