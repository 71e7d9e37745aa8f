"""Checkpoints: everything a killed run needs to go on as if nothing had happened.

A checkpoint is a folder `step-<number>` that appears by one rename, after its files are synced::

    weights.safetensors   the weights in training
    ema.safetensors       the averaged weights (where there are any)
    state.pt              optimiser, gradient scaler, random states, loader position, step, seconds used;
                          plain containers and tensors only, read with torch.load(weights_only=True)
    manifest.json         format version, experiment hash, SHA-256 of each file
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drive.errors import UserError
from drive.train.weights import read_weights, save_weights

VERSION = 1
_WEIGHTS, _EMA, _STATE, _MANIFEST = "weights.safetensors", "ema.safetensors", "state.pt", "manifest.json"
_MEND = "delete this checkpoint's folder: the same command then goes on from the one before, or from the start"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint's content; `state` holds plain containers, numbers and tensors."""

    weights: dict[str, Tensor]
    ema: dict[str, Tensor] | None
    state: dict[str, Any]


def save_checkpoint(
    folder: Path,
    step: int,
    *,
    weights: Mapping[str, Tensor],
    ema: Mapping[str, Tensor] | None,
    state: Mapping[str, Any],
    experiment_hash: str,
    keep: int,
) -> Path:
    """Write `folder`/step-<step> and remove all but the newest `keep`.

    Raises:
        UserError: It cannot be written; checkpoints that were there before are untouched.
    """
    final = folder / f"step-{step:08d}"
    partial = folder / f".{final.name}.partial-{os.getpid()}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_weights(partial / _WEIGHTS, weights, {"step": str(step)})
        if ema is not None:
            save_weights(partial / _EMA, ema, {"step": str(step)})
        torch.save(dict(state), partial / _STATE)
        hashes = {path.name: _sha256(path) for path in sorted(partial.iterdir())}
        manifest = {"version": VERSION, "step": step, "experiment": experiment_hash, "sha256": hashes}
        (partial / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        for path in (partial / _STATE, partial / _MANIFEST, partial):
            _sync(path)
        if final.exists():  # written by an earlier part of this run that lost only its newer metrics
            shutil.rmtree(final)
        os.rename(partial, final)
        _sync(folder)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        what = f"the checkpoint cannot be written ({error})"
        raise UserError(final, what, "free some space there, then run the same command again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in list_checkpoints(folder)[: -max(keep, 1)]:
        shutil.rmtree(old)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def read_checkpoint(path: Path, experiment_hash: str) -> Checkpoint:
    """Read a checkpoint and check every byte of it.

    Raises:
        UserError: Damaged, of another version, or of another experiment.
    """
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        version, theirs, hashes = manifest["version"], manifest["experiment"], dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(path / _MANIFEST, f"not readable ({error})", _MEND) from error
    if version != VERSION:
        raise UserError(path, f"checkpoint version {version}, this program reads {VERSION}", _MEND)
    if theirs != experiment_hash:
        what = f"belongs to experiment {theirs}, this is {experiment_hash}"
        raise UserError(path, what, "train into another folder, or give the configuration that began this run")
    for name, expected in hashes.items():
        try:
            found = _sha256(path / name)
        except OSError as error:
            raise UserError(path / name, f"not readable ({error.strerror or error})", _MEND) from error
        if found != expected:
            raise UserError(path / name, "damaged: its SHA-256 is not the manifest's", _MEND)
    try:
        state = torch.load(path / _STATE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(path / _STATE, f"not readable ({error})", _MEND) from error
    return Checkpoint(read_weights(path / _WEIGHTS), read_weights(path / _EMA) if _EMA in hashes else None, state)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
