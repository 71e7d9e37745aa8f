"""How long one step of STT takes: 100 tracks and 100 detections on one core, and what of it is not the network.

``python -m benchmarks.stt_speed``. Objects stand 3 m apart and drive in step, so that every track looks at as many
detections as it may (16). Rows: the sizes of the spec (256 channels, 2 + 2 layers, T 10) and those of
``configs.kitti_stt`` at 50 to 400 tracks. A row: median and fastest wall time of whole steps, CPU time of this process
(the fair one where the machine has other work), and the same without the network's three calls. Random weights: where
``association`` is "random", the shares say nothing of places and 200 tracks want the same detections, which makes the
matching as long as it can be; where it is "near", the call is followed by what training teaches first, a cost that
grows with the distance from where the track leads.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.convert import machine
from drive.tracks.history import HistoryConfig
from drive.tracks.stt_batch import TrackInputs
from drive.tracks.stt_config import SttConfig, SttLife
from drive.tracks.stt_prepared import Pairs
from drive.tracks.stt_tracker import SttTracker
from drive.tracks.track import FrameDetections
from drive.train.weights import write_atomic

NAMES = ("vehicle", "pedestrian", "cyclist")
ALL_LIVE = SttLife(birth=0.0, report=0.0, report_new=0.0, report_unseen=0.0, match=1e-6, no_match=1e-6, forget=0.0)
SPEC = SttConfig(NAMES, HistoryConfig(length=10), life=ALL_LIVE)
SMALL = replace(SPEC, history=replace(SPEC.history, length=8), width=48, feedforward=96)


def frames(count: int, steps: int) -> list[FrameDetections]:
    """``count`` cars in a square, 3 m apart, at 10 Hz."""
    side = int(np.ceil(np.sqrt(count)))
    place = 3.0 * np.stack(np.divmod(np.arange(count), side), axis=1)
    rng = np.random.default_rng(0)
    out = []
    for step in range(steps):
        boxes = np.zeros((count, 9))
        boxes[:, :2] = place + np.array([0.5 * step, 0.0]) + rng.normal(0, 0.05, (count, 2))
        boxes[:, 3:6] = 4.0, 1.9, 1.6
        none = np.zeros(count, dtype=bool), np.full(count, 0.9), np.zeros(count, np.int64)
        out.append(FrameDetections((step + 1) * 100_000_000, boxes, *none, np.zeros((count, 0), np.float32)))
    return out


def measure(config: SttConfig, count: int, near: bool, steps: int = 60) -> dict[str, Any]:
    """One row."""
    torch.manual_seed(0)
    network = config.build()
    tracker = SttTracker(network)
    spent = [0.0]

    def timed(call: Any, *given: Any) -> Any:
        began = time.process_time()
        out = call(*given)
        spent[0] += time.process_time() - began
        return out

    associate = tracker.prepared.associate

    def nearest_first(x: TrackInputs) -> Pairs:
        found = associate(x)
        found.logits[:, 1:] -= 3 * x.nearby[..., :2].norm(dim=2)  # arcsinh of the offset / 0.5 m
        return found

    if near:
        object.__setattr__(tracker.prepared, "associate", nearest_first)
    for name in ("associate", "estimate", "newborn"):
        object.__setattr__(tracker.prepared, name, partial(timed, getattr(tracker.prepared, name)))
    state, wall, cpu, around, tracks = tracker.start(), [], [], [], []
    for frame in frames(count, steps):
        spent[0] = 0.0
        tracks.append(len(state))
        began = time.perf_counter(), time.process_time()
        state, _ = tracker.step(state, frame)
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
        around.append(cpu[-1] - spent[0])
    late = slice(config.history.length + 2, None)  # histories are full
    return {
        "width": config.width,
        "association": "near" if near else "random",
        "parameters": sum(p.numel() for p in network.parameters()),
        "detections": count,
        "tracks": round(float(np.mean(tracks[late])), 1),
        "step_ms": round(1e3 * float(np.median(wall[late])), 2),
        "step_ms_fastest": round(1e3 * min(wall[late]), 2),
        "step_cpu_ms": round(1e3 * float(np.median(cpu[late])), 2),
        "step_cpu_ms_fastest": round(1e3 * min(cpu[late]), 2),
        "around_network_cpu_ms": round(1e3 * float(np.median(around[late])), 2),
        "around_network_cpu_ms_fastest": round(1e3 * min(around[late]), 2),
    }


def main() -> None:
    """All rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "stt_speed.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes = (50, 100, 200, 400)
    rows = [
        measure(config, n, near) for near in (True, False) for config, n in [(SPEC, 100), *((SMALL, n) for n in sizes)]
    ]
    scaled = rows[1 : 1 + len(sizes)]
    counts, times = [r["detections"] for r in scaled], [r["step_cpu_ms"] for r in scaled]
    slope = float(np.polyfit(np.log(counts), np.log(times), 1)[0])
    result = {
        "benchmark": "stt_speed",
        "command": "python -m benchmarks.stt_speed",
        "machine": machine(),
        "rows": rows,
        "slope_of_time_over_tracks": round(slope, 3),
    }
    write_atomic(arguments.out, partial(_write, json.dumps(result, indent=1) + "\n"))
    for row in rows:
        print(row)
    print("slope", result["slope_of_time_over_tracks"])


def _write(text: str, path: Path) -> None:
    path.write_text(text)


if __name__ == "__main__":
    main()
