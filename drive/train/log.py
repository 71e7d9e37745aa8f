"""What a training writes down: metrics.jsonl, TensorBoard, a progress bar; a header says on what it ran."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

import ops
from drive.errors import UserError

METRICS = "metrics.jsonl"
_PACKAGES = ("torch", "numpy", "numba", "lightning-fabric", "pyarrow", "safetensors")
_PLAIN_LINE_SECONDS = 10.0


def header(name: str, experiment_hash: str, device: torch.device, **facts: Any) -> dict[str, Any]:
    """Versions, device, kernels in use and the caller's facts."""
    versions = {package: importlib.metadata.version(package) for package in _PACKAGES}
    on_gpu = device.type == "cuda"
    return {
        "experiment": name,
        "hash": experiment_hash,
        "python": platform.python_version(),
        "versions": versions,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if on_gpu else f"cpu, {torch.get_num_threads()} threads",
        "kernels": {row.op: row.kernel for row in ops.kernels_in_use() if row.device == device.type},
        **facts,
    }


class RunLog:
    """Log of one run on the first process; on the others (`enabled` False) every call does nothing.

    Args:
        folder: The run's folder.
        head: See `header`; printed and stored once for every part of a run.
        step: Steps done before this part: later entries of an earlier part that was killed are removed.
        total_steps: For the progress bar.
        log_every: Steps between entries.
        enabled: False on all but the first process.
    """

    def __init__(
        self, folder: Path, head: Mapping[str, Any], *, step: int, total_steps: int, log_every: int, enabled: bool
    ) -> None:
        self.enabled, self.log_every = enabled, max(log_every, 1)
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._last_line = -math.inf
        if not enabled:
            return
        _cut(folder / METRICS, step)
        try:
            self._file = open(folder / METRICS, "a", buffering=1)  # noqa: SIM115 (closed in __exit__)
        except OSError as error:
            raise UserError(folder / METRICS, f"cannot be written ({error.strerror})", "free some space") from error
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._console = Console()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(str(head["experiment"]), total=total_steps, completed=step, note="")
        self._write({"header": dict(head), "step": step})
        kernels = head.get("kernels", {})
        self._console.print(
            f"training {head['experiment']} ({head['hash']}) on {head['device']}; torch {head['versions']['torch']}",
            highlight=False,
        )
        self._console.print(
            "kernels: " + ", ".join(f"{op} {kernel}" for op, kernel in kernels.items()), highlight=False
        )

    def __enter__(self) -> RunLog:
        if self.enabled:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.enabled:
            self._bar.stop()
            self._file.close()
            self._board.close()

    def note(self, text: str) -> None:
        """A line for the person who watches."""
        if self.enabled:
            self._console.print(text, highlight=False)

    def step(self, step: int, progress: float, losses: Mapping[str, Tensor], last: bool, **scalars: float) -> None:
        """Count a step; every `log_every` steps and at the last, the losses' means and the scalars are written."""
        if not self.enabled:
            return
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().float()
        self._count += 1
        if step % self.log_every and not last:
            return
        means = dict(zip(self._sums, (torch.stack(list(self._sums.values())) / self._count).tolist(), strict=True))
        self._sums, self._count = {}, 0
        entry = {"step": step, "progress": round(progress, 6), **scalars, **means}
        self._write(entry)
        for name, number in entry.items():
            if name != "step":
                self._board.add_scalar(name, number, step)
        text = f"loss {means['loss']:.4g}  lr {scalars.get('lr', 0):.2e}"
        self._bar.update(self._task, completed=step, note=text)
        if not self._console.is_terminal and time.monotonic() - self._last_line > _PLAIN_LINE_SECONDS:
            self._last_line = time.monotonic()
            self._console.print(f"step {step}, {progress:4.0%}: {text}", highlight=False)

    def _write(self, entry: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise UserError(self._file.name, f"cannot be written ({error.strerror})", "free some space") from error


def _cut(path: Path, step: int) -> None:
    """Keep the entries up to `step`: a killed run's steps behind its last checkpoint are done again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the line that was being written when the run was killed
            continue
        if entry["step"] <= step:
            kept.append(line)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_text("".join(f"{line}\n" for line in kept))
    os.replace(partial, path)
