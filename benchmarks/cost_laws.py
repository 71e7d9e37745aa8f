"""How cost grows: one curve a law, its slope and whether it passes, as JSON and as a picture.

Usage: python -m benchmarks.cost_laws [--laws range points ...] [--out FILE] [--picture FILE]

A slope is that of the fitted line in log-log. One thread, processor time, the least of several turns in which the sizes
alternate (so that a busy minute hits all of them), except ``threads``, which compares wall time of one and two threads
and needs a quiet machine. The scan of ``range`` is one 64-beam turn in the renderer's street, cut by the lidar's reach.

| law | passes when |
| --- | --- |
| range | the whole detector: slope at most 0.4 from 40 to 240 m (a dense convolution beside it) |
| points | voxelize: slope 0.8 to 1.15 from 50,000 to 1.2 million points |
| voxels | the detector's forward pass over 1 to 8 stacked sweeps: slope 0.9 to 1.1 |
| windows | attention: time over pairs of tokens within 35 % from 16 to 100 tokens a window |
| edges | no step above 12 % between windows of n and n + 1 tokens at 16, 32, 64 and 100 |
| outlier | one window of 400 tokens among 690 usual ones costs no more than its own pairs and 2 % |
| nms | slope at most 1.2 from 500 to 16,000 boxes at equal density |
| tracks | gated assignment: slope at most 1.2 from 100 to 10,000 tracks at equal density |
| threads | two threads: 1.8 times where arithmetic bounds, 1.4 times where memory does |
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.render import lidar_pose, street
from drive.boxes.detector import SWFormerConfig
from drive.render.lidar import WAYMO_64, render_sweep
from drive.samples.batch import FrameBatch
from drive.voxels.grid import GridSpec
from drive.voxels.voxelize import voxelize_points
from ops.assignment import assign, candidates
from ops.assignment.bench import example as tracks_and_detections
from ops.examples import make
from ops.rotated_nms import rotated_nms
from ops.segment import segment_max
from ops.voxelize import voxelize
from ops.window_attention import window_attention

RESULTS = Path(__file__).parent / "results" / "cost_laws.json"
PICTURE = Path(__file__).parent.parent / "docs" / "cost_laws.png"
CELL_M = 0.32


def times_ms(calls: Sequence[Callable[[], Any]], turns: int = 7) -> list[float]:
    """Least processor time of each call in milliseconds, all of them in turns."""
    for call in calls:
        call()
    found = [[] for _ in calls]  # type: list[list[float]]
    for _ in range(turns):
        for call, times in zip(calls, found, strict=True):
            begin = time.process_time()
            call()
            times.append((time.process_time() - begin) * 1e3)
    return [min(times) for times in found]


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Exponent of the power law through the points."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def scan(reach_m: float, seed: int = 0) -> Tensor:
    """One turn of the 64-beam lidar in a street: float32 [P, 6] in the sample's point columns."""
    scene, actors = street(0)
    model = replace(WAYMO_64, max_range_m=reach_m, half_range_m=300.0)
    pose = lidar_pose(4.0 * seed, 0.0)
    sweep = render_sweep(scene, actors, model, pose, pose, np.random.default_rng(seed))
    points = np.zeros((len(sweep.points), 6), np.float32)
    points[:, :3] = sweep.points + np.array([0, 0, 1.84], np.float32)
    points[:, 3] = sweep.intensity / 255
    return torch.from_numpy(points)


def batch_of(scans: Sequence[Tensor]) -> FrameBatch:
    """Sweeps as one batch without labels."""
    ends = torch.tensor([0, *np.cumsum([len(s) for s in scans]).tolist()])
    none = torch.zeros(0, dtype=torch.int64)
    names = [f"street/{i}" for i in range(len(scans))]
    empty = torch.zeros(len(scans) + 1, dtype=torch.int64)
    return FrameBatch(torch.cat(list(scans)), ends, torch.zeros(0, 9), none, none.bool(), none, empty, names)


def forward_of(grid: GridSpec, batch: FrameBatch) -> Callable[[], Any]:
    """The paper-sized detector over a grid, in evaluation."""
    torch.manual_seed(0)
    model = replace(SWFormerConfig.waymo(), grid=grid).build().eval()

    def run() -> Any:
        with torch.no_grad():
            return model(batch)

    return run


def law_range() -> dict[str, Any]:
    reaches = [40.0, 80.0, 120.0, 160.0, 200.0, 240.0]
    calls, pillars, dense = [], [], []
    for reach in reaches:
        edge = math.ceil(reach / (CELL_M * 32)) * CELL_M * 32
        grid = GridSpec((-edge, -edge, -2.0, edge, edge, 4.0), (CELL_M, CELL_M, 6.0))
        batch = batch_of([scan(reach)])
        pillars.append(len(voxelize_points(batch.points, batch.point_batch, grid, 1).coords))
        calls.append(forward_of(grid, batch))
        image = torch.zeros(1, 16, *grid.shape[1:])
        kernel = torch.zeros(16, 16, 3, 3)
        dense.append(lambda image=image, kernel=kernel: torch.conv2d(image, kernel, padding=1))
    ms, dense_ms = times_ms(calls, 4), times_ms(dense, 4)
    found = slope(reaches, ms)
    return {
        "x": reaches, "unit": "m", "ms": ms, "slope": found, "passes": found <= 0.4, "pillars": pillars,
        "slope_pillars": slope(reaches, pillars), "dense_convolution_ms": dense_ms,
        "slope_dense_convolution": slope(reaches, dense_ms),
    }  # fmt: skip


def law_points() -> dict[str, Any]:
    sizes = [50_000, 100_000, 200_000, 400_000, 800_000, 1_200_000]
    examples = [make(n, 1, 10, 100, 1) for n in sizes]
    space, size = (-76.8, -76.8, -5.0, 76.8, 76.8, 3.0), (CELL_M, CELL_M, 8.0)
    ms = times_ms([partial(voxelize, e.points, e.point_batch, space, size, 1) for e in examples])
    found = slope(sizes, ms)
    return {"x": sizes, "unit": "points", "ms": ms, "slope": found, "passes": 0.8 <= found <= 1.15}


def law_voxels() -> dict[str, Any]:
    counts = [1, 2, 4, 8]
    scans = [scan(75.0, seed) for seed in range(8)]
    grid = SWFormerConfig.waymo().grid
    batches = [batch_of(scans[:n]) for n in counts]
    pillars = [
        len(voxelize_points(b.points, b.point_batch, grid, n).coords) for b, n in zip(batches, counts, strict=True)
    ]
    ms = times_ms([forward_of(grid, batch) for batch in batches], 4)
    found = slope(pillars, ms)
    return {"x": pillars, "unit": "occupied pillars", "ms": ms, "slope": found, "passes": 0.9 <= found <= 1.1}


def attend(sizes: Sequence[int]) -> Callable[[], Any]:
    """Attention core over windows of these sizes: 8 heads of 16."""
    offsets = torch.tensor([0, *np.cumsum(sizes).tolist()])
    q, k, v = torch.randn(3, int(offsets[-1]), 8, 16, generator=torch.Generator().manual_seed(0))
    return lambda: window_attention(q, k, v, offsets)


def pairs_of(sizes: Sequence[int]) -> int:
    return int(sum(n * n for n in sizes))


def law_windows() -> dict[str, Any]:
    tokens = [4, 8, 16, 24, 32, 48, 64, 80, 100]
    sizes = [[n] * (20_000 // n) for n in tokens]
    ms = times_ms([attend(s) for s in sizes])
    ns_a_pair = [m * 1e6 / pairs_of(s) for m, s in zip(ms, sizes, strict=True)]
    wide = ns_a_pair[2:]
    return {
        "x": tokens, "unit": "tokens a window", "ms": ms, "ns_a_pair": ns_a_pair,
        "passes": max(wide) / min(wide) <= 1.35,
    }  # fmt: skip


def law_edges() -> dict[str, Any]:
    tokens = [n for edge in (16, 32, 64, 99) for n in (edge, edge + 1)]
    sizes = [[n] * (20_000 // n) for n in tokens]
    ms = times_ms([attend(s) for s in sizes], 15)
    each = [m / sum(s) for m, s in zip(ms, sizes, strict=True)]
    steps = [each[i + 1] / each[i] - 1 for i in range(0, len(each), 2)]
    return {"x": tokens, "unit": "tokens a window", "ms": ms, "steps": steps, "passes": max(steps) <= 0.12}


def usual_windows(seed: int = 0) -> list[int]:
    """690 windows as a real Waymo sweep has them: mean about 20, median 12, a tenth above 50, at most 100."""
    rng = np.random.default_rng(seed)
    return np.clip(np.exp(rng.normal(2.5, 1.0, 690)), 1, 100).astype(int).tolist()


def law_outlier() -> dict[str, Any]:
    usual = usual_windows()
    calls = [attend(usual), attend([*usual, 400]), attend([400] * 8)]
    ms = times_ms(calls, 15)
    own = ms[2] / 8
    extra = (ms[1] - ms[0] - own) / ms[0]
    return {
        "x": [690, 691], "unit": "windows", "ms": ms[:2], "crowded_window_alone_ms": own, "beyond_its_own": extra,
        "passes": extra <= 0.02,
    }  # fmt: skip


def law_nms() -> dict[str, Any]:
    counts = [500, 1_000, 2_000, 4_000, 8_000, 16_000]
    calls = []
    for n in counts:
        g = torch.Generator().manual_seed(n)
        boxes = torch.zeros(n, 9)
        side = 100.0 * math.sqrt(n / 1_000)
        boxes[:, :2] = (torch.rand(n, 2, generator=g) - 0.5) * side
        boxes[:, 3:6] = torch.tensor([4.5, 2.0, 1.6]) * (0.8 + 0.4 * torch.rand(n, 3, generator=g))
        boxes[:, 6] = torch.rand(n, generator=g) * 6.28
        scores, labels = torch.rand(n, generator=g), torch.zeros(n, dtype=torch.int64)
        calls.append(lambda b=boxes, s=scores, k=labels: rotated_nms(b, s, k, [0.2]))
    ms = times_ms(calls)
    found = slope(counts, ms)
    return {"x": counts, "unit": "boxes", "ms": ms, "slope": found, "passes": found <= 1.2}


def law_tracks() -> dict[str, Any]:
    counts = [100, 300, 1_000, 3_000, 10_000]
    calls = []
    for n in counts:
        tracks, detections = tracks_and_detections(n)
        calls.append(lambda t=tracks, d=detections: assign(candidates(t, d, 4.0), len(d)))
    ms = times_ms(calls)
    found = slope(counts, ms)
    return {"x": counts, "unit": "tracks", "ms": ms, "slope": found, "passes": found <= 1.2}


def law_threads() -> dict[str, Any]:
    """Wall time of one thread over that of two; which bound each is at is said by its name."""
    usual = attend(usual_windows() * 2)
    cloud = scan(75.0)
    frames = torch.zeros(len(cloud), dtype=torch.int64)
    e = make(120_000, 4, 4_000, 8_000, 4)
    spread = torch.arange(4_000) % 4
    values = torch.randn(len(cloud), 64)
    offsets = voxelize(cloud, frames, (-76.8, -76.8, -5.0, 76.8, 76.8, 3.0), (CELL_M, CELL_M, 8.0), 1).offsets
    calls: dict[str, tuple[Callable[[], Any], float]] = {
        "window attention (arithmetic)": (usual, 1.8),
        "rotated NMS, 4 groups (arithmetic)": (lambda: rotated_nms(e.boxes, e.scores, spread, [0.2] * 4), 1.8),
        "segment max, 64 channels (memory)": (lambda: segment_max(values[: int(offsets[-1])], offsets), 1.4),
    }
    found: dict[str, Any] = {}
    for name, (call, asked) in calls.items():
        wall: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(24):
            threads = 1 + turn % 2
            torch.set_num_threads(threads)
            call()
            begin = time.perf_counter()
            call()
            wall[threads].append(time.perf_counter() - begin)
        torch.set_num_threads(1)
        found[name] = {"gain": min(wall[1]) / min(wall[2]), "asked": asked}
    return {"gains": found, "passes": all(row["gain"] >= row["asked"] for row in found.values())}


LAWS: dict[str, Callable[[], dict[str, Any]]] = {
    name.removeprefix("law_"): law for name, law in list(globals().items()) if name.startswith("law_")
}


def picture(laws: dict[str, Any], path: Path) -> None:
    """The curves, log-log, with their slopes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves = {name: law for name, law in laws.items() if "x" in law and len(law["x"]) > 2}
    figure, axes = plt.subplots(2, 4, figsize=(15, 6.6), constrained_layout=True)
    for axis, (name, law) in zip(axes.flat, curves.items(), strict=False):
        axis.loglog(law["x"], law["ms"], "o-", color="#1f5fa8")
        if "dense_convolution_ms" in law:
            axis.loglog(
                law["x"], law["dense_convolution_ms"], "s--", color="#b0b0b0", label="dense convolution, 16 channels"
            )
            axis.legend(frameon=False, fontsize=8)
        said = f", slope {law['slope']:.2f}" if "slope" in law else ""
        axis.set_title(f"{name}{said}{'' if law['passes'] else ' (fails)'}", fontsize=10)
        axis.set_xlabel(law["unit"])
        axis.set_ylabel("ms, one thread")
        axis.grid(True, which="both", alpha=0.2)
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--laws", nargs="+", choices=sorted(LAWS), default=list(LAWS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = json.loads(args.out.read_text()) if args.out.is_file() else {}
    laws: dict[str, Any] = dict(before.get("laws", {}))
    for name in args.laws:
        laws[name] = {**LAWS[name](), "load": os.getloadavg()[0]}
        said = {k: v for k, v in laws[name].items() if k in ("slope", "passes", "beyond_its_own", "steps", "gains")}
        print(name, json.dumps(said), flush=True)
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    args.out.write_text(json.dumps({"benchmark": "cost_laws", "machine": machine, "laws": laws}, indent=1) + "\n")
    picture(laws, args.picture)


if __name__ == "__main__":
    main()
