"""Time and peak memory of each stage of the paper-sized detector, forward and backward, on one full sweep.

On a CPU the same model also runs on the torch references of all operators and, with our kernels, in bfloat16: the sides
take turns in one process, and ``times`` says how many times as long the references take.

``python -m benchmarks.detector_stages SWEEP`` takes a scan (``--format`` says what its numbers mean: Waymo's, about
177,000 points, by default) and writes ``results/detector_stages.json``, with what the spec only simulated:
occupied cells a scale, tokens a window, points a pillar. What the labels are matters little to the cost:
sixty boxes, a third of them cars, are placed on occupied pillars.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drive.boxes.detector import SWFormerConfig, SWFormerDetector
from drive.samples.batch import FrameBatch
from drive.samples.scan_files import FORMATS, read_scan
from drive.voxels.levels import Level, build_levels
from drive.voxels.voxelize import Voxels, voxelize_points
from ops.references import reference_kernels


class Meter:
    """Seconds and peak memory (MB) of named stages, which may nest; of one stage run twice, the later."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.rows = device, dict[str, dict[str, float]]()
        self.open: list[tuple[float, list[float]]] = []

    def start(self) -> None:
        self._note_peak()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif Path("/proc/self/clear_refs").exists():
            # Linux: the resident set's high-water mark starts again from what is resident now.
            Path("/proc/self/clear_refs").write_text("5")
        self.open.append((time.perf_counter(), []))

    def stop(self, name: str) -> None:
        self._note_peak()
        begun, peaks = self.open.pop()
        seconds = time.perf_counter() - begun
        self.rows[name] = {"seconds": round(seconds, 5), "peak_mb": round(max(peaks), 1)}

    def _note_peak(self) -> None:
        """The peak since the last reset belongs to every stage that is open."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        peak = self.peak_mb()
        for _, peaks in self.open:
            peaks.append(peak)

    def peak_mb(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 1e6
        status = Path("/proc/self/status")
        if status.exists():
            return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) / 1e3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    def watch(self, name: str, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda *_: self.start())
        module.register_forward_hook(
            lambda watched, *_: self.stop(f"{'training' if watched.training else 'inference'}: {name}")
        )

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        self.start()
        result = work()
        self.stop(name)
        return result


def load(path: Path, scan_format: str, config: SWFormerConfig, device: torch.device) -> FrameBatch:
    """The sweep as a batch of one, with sixty boxes on occupied pillars."""
    points = torch.from_numpy(read_scan(path, FORMATS[scan_format]))
    voxels = voxelize_points(points, torch.zeros(len(points), dtype=torch.int64), config.grid, 1)
    rows = torch.linspace(0, len(voxels.coords) - 1, 60).long()
    boxes = torch.zeros(60, 9)
    boxes[:, :3] = config.grid.centres(voxels.coords[rows])
    sizes = torch.tensor([group.size_m for group in config.groups])
    labels = torch.arange(60) % len(sizes)
    boxes[:, 2], boxes[:, 3:6] = 0.9, sizes[labels]
    ones = torch.ones(60, dtype=torch.int64)
    batch = FrameBatch(
        points, torch.tensor([0, len(points)]), boxes, labels, ones.bool(), ones, torch.tensor([0, 60]), ["sweep/0"]
    )
    return batch.to(device)


def quantiles(counts: Tensor) -> dict[str, float]:
    """Mean, median, 90th and 99th percentile, largest, and the mean that a point or token sees."""
    wide = counts.double()
    points = torch.tensor([0.5, 0.9, 0.99], dtype=torch.float64, device=counts.device)
    median, p90, p99 = wide.quantile(points).tolist()
    seen = float((wide * wide).sum() / wide.sum())
    return {
        "mean": float(wide.mean()),
        "median": median,
        "p90": p90,
        "p99": p99,
        "max": float(wide.max()),
        "seen": seen,
    }


def statistics(batch: FrameBatch, voxels: Voxels, levels: tuple[Level, ...]) -> dict[str, Any]:
    """What spec 0.5 gives from simulation."""
    report: dict[str, Any] = {
        "points": len(batch.points),
        "points_in_range": len(voxels.points),
        "points_a_pillar": quantiles(voxels.offsets[1:] - voxels.offsets[:-1]),
    }
    for level in levels:
        counts = level.windows.offsets[1:] - level.windows.offsets[:-1]
        buckets = {
            str(top): int(((counts <= top) & (counts > low)).sum())
            for low, top in ((0, 16), (16, 32), (32, 64), (64, 100))
        }
        report[f"stride_{level.grid.stride}"] = {
            "cells": len(level.coords),
            "share": len(level.coords) / max(len(levels[0].coords), 1),
            "windows": len(counts),
            "shifted_windows": len(level.shifted.offsets) - 1,
            "tokens_a_window": quantiles(counts),
            "windows_in_bucket_up_to": buckets,
        }
    return report


def measure(model: SWFormerDetector, batch: FrameBatch, meter: Meter) -> None:
    """One pass of every stage. Stages inside the forward pass are watched from outside."""
    config = model.config
    voxels = meter.run("voxelize", lambda: voxelize_points(batch.points, batch.point_batch, config.grid, 1))
    meter.run("levels and windows", lambda: build_levels(voxels.coords, config.grid))
    model.train()
    output = meter.run("training: forward", lambda: model(batch))
    tokens = {f"tokens of {group.group.classes[0]}": {"count": float(len(group.coords))} for group in output.groups}
    losses = meter.run("training: losses", lambda: model.losses(output, batch))
    meter.run("training: backward", lambda: losses["loss"].backward())
    model.zero_grad(set_to_none=True)
    model.eval()
    with torch.no_grad():
        output = meter.run("inference: forward", lambda: model(batch))
        meter.run("inference: decode", lambda: model.decode(output))
    meter.rows |= tokens


def sides_of(device: torch.device) -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Names of the ways to run a model, and the context that each runs in."""
    if device.type != "cpu":
        return {"ours": nullcontext}
    return {
        "references": reference_kernels,
        "ours": nullcontext,
        "ours, bf16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    }


def times(least: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """For each other side, the references' seconds over its own, stage by stage."""
    base = least.get("references", {})
    return {
        side: {name: round(base[name] / seconds, 2) for name, seconds in rows.items() if base.get(name) and seconds}
        for side, rows in least.items()
        if base and side != "references"
    }


def main() -> None:
    """Measure both encoders and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--format", choices=sorted(FORMATS), default="waymo")
    parser.add_argument("--grid", choices=("waymo", "nuscenes"), default="waymo", help="whose paper-sized detector")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--rounds", type=int, default=4, help="turns; the first one compiles, the least of the rest counts"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "detector_stages.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    report: dict[str, Any] = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": arguments.threads,
        "torch": torch.__version__,
        "load_average": os.getloadavg(),
        "sweep": arguments.sweep.name,
        "detector": arguments.grid,
    }
    for encoder in ("pointnet", "pvt"):
        torch.manual_seed(0)
        config = SWFormerConfig.waymo(encoder) if arguments.grid == "waymo" else SWFormerConfig.nuscenes(encoder)
        batch = load(arguments.sweep, arguments.format, config, device)
        model = config.build().to(device)
        meter = Meter(device)
        for name in ("encoder", "backbone", "diffusions.0", "blocks.0", "heads.0"):
            meter.watch(name, model.get_submodule(name))
        stages: dict[str, dict[str, dict[str, float]]] = {}
        least: dict[str, dict[str, float]] = {}
        for turn in range(max(2, arguments.rounds)):
            for side, context in sides_of(device).items():
                with context():
                    measure(model, batch, meter)
                if turn:
                    stages[side] = dict(meter.rows)
                    for name, row in meter.rows.items():
                        if "seconds" in row:
                            fastest = least.setdefault(side, {}).get(name, row["seconds"])
                            least[side][name] = min(fastest, row["seconds"])
        parameters = sum(p.numel() for p in model.parameters())
        report[encoder] = {"parameters": parameters, "stages": stages, "least_seconds": least, "times": times(least)}
        voxels = voxelize_points(batch.points, batch.point_batch, config.grid, 1)
        report["statistics"] = statistics(batch, voxels, build_levels(voxels.coords, config.grid))
        print(f"{encoder}: {parameters:,} parameters, {len(voxels.coords):,} pillars")
        for name in least["ours"]:
            print(f"  {name:28s}" + "  ".join(f"{side} {rows[name]:8.4f} s" for side, rows in least.items()))
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
