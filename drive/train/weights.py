"""Weights as safetensors: written whole or not at all, loaded with a report of what did not fit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from drive.errors import UserError


@dataclass(frozen=True)
class LoadReport:
    """What happened to each name when weights were loaded.

    Attributes:
        loaded: Names taken over.
        missing: Names that the module has and the file lacks; they keep their values.
        unexpected: Names that the file has and the module lacks.
        mismatched: Names whose shapes differ, "name: file shape, module shape"; they keep their values.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    def summary(self) -> str:
        """One line, with at most four names of each kind."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        for kind in ("missing", "unexpected", "mismatched"):
            names: tuple[str, ...] = getattr(self, kind)
            if names:
                parts.append(f"{len(names)} {kind} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})")
        return ", ".join(parts)


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, and rename it.

    Raises:
        UserError: The file cannot be written (a full disk, no permission).
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        write(partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise UserError(path, what, "free some space there, then run the same command again") from error
    finally:
        partial.unlink(missing_ok=True)


def save_weights(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write tensors and short facts about them (readable without loading) as safetensors; same content, same bytes."""
    # Cloned: safetensors refuses tensors that share memory (tied weights).
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    write_atomic(path, lambda partial: _write_bytes(partial, save(plain, _metadata(about))))


def _metadata(about: Mapping[str, str]) -> dict[str, str]:
    # One entry: safetensors writes several in an order that changes from process to process.
    return {"about": json.dumps(dict(about), sort_keys=True)}


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Raises:
        UserError: No such file, or not a whole safetensors file.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise UserError(path, "no such file", "give the weights.safetensors of a run") from error
    except (OSError, SafetensorError) as error:
        raise UserError(path, f"not a whole safetensors file ({error})", "copy or train it again") from error


def weights_about(path: Path) -> dict[str, str]:
    """The facts stored with weights: the experiment's name and hash, the step, which weights they are."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {}).get("about", "{}")))
    except FileNotFoundError as error:
        raise UserError(path, "no such file", "give the weights.safetensors of a run") from error
    except (OSError, SafetensorError) as error:
        raise UserError(path, f"not a whole safetensors file ({error})", "copy or train it again") from error


def load_weights(module: nn.Module, path: Path, *, strict: bool = True, skip_mismatched: bool = False) -> LoadReport:
    """Load weights into a module.

    Args:
        module: Any module.
        path: A .safetensors file.
        strict: Every name must be there on both sides. Fine-tuning passes False and reads the report.
        skip_mismatched: Leave tensors of another shape as they are (a head with other classes).

    Raises:
        UserError: A broken file; names or shapes that do not fit and are not excused; nothing that fits at all.
    """
    stored, own = read_weights(path), module.state_dict()
    common = sorted(stored.keys() & own.keys())
    mismatched = {n for n in common if stored[n].shape != own[n].shape}
    report = LoadReport(
        loaded=tuple(n for n in common if n not in mismatched),
        missing=tuple(sorted(own.keys() - stored.keys())),
        unexpected=tuple(sorted(stored.keys() - own.keys())),
        mismatched=tuple(f"{n}: {list(stored[n].shape)}, {list(own[n].shape)}" for n in sorted(mismatched)),
    )
    if mismatched and not skip_mismatched:
        mend = "use the model they were trained as, or fine-tune with train.init_skip_mismatched"
        raise UserError(path, f"weights of other shapes: {report.summary()}", mend)
    if (strict and (report.missing or report.unexpected)) or not report.loaded:
        raise UserError(path, f"weights of another model: {report.summary()}", "use the model they were trained as")
    with torch.no_grad():
        for name in report.loaded:
            own[name].copy_(stored[name])
    return report
