"""Speed of the baseline trackers around a network, and of their two halves beside peers, in one run on one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.tracker_speed --out benchmarks/results/tracker_speed.json
    python -m benchmarks.tracker_speed --out benchmarks/results/tracker_speed.json --plot docs/tracker_speed.png

Whole steps (detections of a frame in, tracks out; KITTI's classes and numbers) at 200 tracks, and from 50 to 1,600 at
constant density: a track on 110 m^2, 3 % of the objects unseen in a frame. ``slope`` is the fit of log time over log
tracks from 200 up: 1 is linear. The halves: Kalman prediction and update of 200 tracks beside filterpy's objects (one a
track, AB3DMOT's way), association with its cost beside numpy and scipy's assignment at 100, 300 and 1,000; what both
find is compared before anything is timed. Rounds of ours and the peer's alternate. ``least`` is the quickest frame or
round, ``median`` the median. Times are those that the thread ran (``time.thread_time``): what the clock shows on a free
machine, and not the waiting on one that others use too (whose caches they share all the same: see ``load_average``).
filterpy and scipy must be there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.nuscenes_metrics import machine
from drive.tracks import parameters
from drive.tracks.ab3dmot import Ab3dmotConfig
from drive.tracks.associate import Matched, Rules, match
from drive.tracks.center_greedy import CenterGreedyConfig
from drive.tracks.simple_track import SimpleTrackConfig
from drive.tracks.track import FrameDetections
from ops.assignment import bench as assignment_bench
from ops.kalman import AB3DMOT, predict_update
from ops.kalman import bench as kalman_bench

TRACKERS = {"ab3dmot": Ab3dmotConfig, "center_greedy": CenterGreedyConfig, "simple_track": SimpleTrackConfig}
SIZES = np.array([(4.2, 1.8, 1.5), (0.8, 0.7, 1.75), (1.8, 0.7, 1.7)])
SQUARE_METRES = 110.0
WARM, GOAL_FRAMES_A_SECOND, GOAL_SLOPE = 20, 1000, 1.2


def world(count: int, frames: int, seed: int) -> list[FrameDetections]:
    """Objects on straight ways at constant density, seen with 0.1 m of noise."""
    rng = np.random.default_rng(seed)
    side = np.sqrt(count * SQUARE_METRES)
    place, speed = rng.uniform(0, side, (count, 2)), rng.normal(0, 4, (count, 2))
    labels, yaw = rng.choice(3, count, p=[0.6, 0.3, 0.1]), rng.uniform(-3, 3, count)
    out = []
    for f in range(frames):
        seen = np.flatnonzero(rng.random(count) > 0.03)
        at = (place + speed * 0.1 * f + rng.normal(0, 0.1, (count, 2)))[seen]
        zero = np.zeros((len(seen), 1))
        boxes = np.concatenate([at, zero, SIZES[labels[seen]], yaw[seen, None], zero, zero], axis=1)
        scores = rng.uniform(1, 9, len(seen))
        features = np.zeros((len(seen), 0), np.float32)
        unknown = np.zeros(len(seen), bool)
        out.append(FrameDetections((f + 1) * 10**8, boxes, unknown, scores, labels[seen], features))
    return out


def whole_steps(name: str, count: int, frames: int, seed: int) -> dict[str, Any]:
    """Seconds of a step with about ``count`` live tracks."""
    tracker: Any = TRACKERS[name].kitti().build()
    state, seconds, live = tracker.start(), [], []
    for frame in world(count, frames, seed):
        start = time.thread_time()
        state, _ = tracker.step(state, frame)
        seconds.append(time.thread_time() - start)
        live.append(len(state.ids))
    seconds = seconds[WARM:]
    return {
        "objects": count,
        "live_tracks": statistics.median(live[WARM:]),
        "least": min(seconds),
        "lower_quarter": float(np.quantile(seconds, 0.25)),
        "median": statistics.median(seconds),
    }


def side_by_side(ours: Callable[[], Any], peer: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Both timed in turn; each round as often as fills about 2 ms."""
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(rounds):
        for name, run in (("ours", ours), ("peer", peer)):
            repeats, spent = 0, 0.0
            start = time.thread_time()
            while spent < 0.002:
                run()
                repeats += 1
                spent = time.thread_time() - start
            times[name].append(spent / repeats)
    found = {
        name: {"least": min(values), "median": statistics.median(values), "most": max(values)}
        for name, values in times.items()
    }
    return {**found, "times_faster": {k: found["peer"][k] / found["ours"][k] for k in ("least", "median")}}


def kalman(rounds: int) -> dict[str, Any]:
    tracks, dt, Q, measured, R = kalman_bench.example(200)
    rows = torch.arange(200)
    peer = kalman_bench.with_filterpy(tracks, dt, Q, measured, R)

    def ours() -> list[torch.Tensor]:
        return list(predict_update(AB3DMOT, tracks, dt, Q, rows, measured, R))

    for mine, theirs in zip(ours(), peer(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    return {"goal_times_faster": 40, **side_by_side(ours, peer, rounds)}


def association(count: int, rounds: int, goal: float | None) -> dict[str, Any]:
    """The trackers' own association, and the public operators alone, each beside the peer."""
    tracks, detections = assignment_bench.example(count)
    gate = assignment_bench.GATE
    rules = Rules.of([parameters.Ab3dmotClass("any", "optimal", "distance", gate, 1, 1)])
    a, b = (
        np.concatenate([t.numpy(), np.zeros((count, 1)), np.ones((count, 6))], axis=1) for t in (tracks, detections)
    )
    labels = np.zeros(count, dtype=np.int64)

    def operators() -> tuple[Any, Any]:
        among = assignment_bench.candidates(tracks, detections, gate)
        return among, assignment_bench.assign(among, count)

    def ours() -> Matched:
        return match(rules, a, labels, b, labels)

    def peer() -> list[torch.Tensor]:
        return assignment_bench.with_scipy(tracks, detections, gate)

    found = ours()
    cost = np.linalg.norm(a[found.track, :2] - b[found.detection, :2], axis=1).sum()
    wanted = [float(t) for t in peer()]
    for mine in ([len(found.track), cost], [float(t) for t in assignment_bench.totals(*operators())]):
        np.testing.assert_allclose(mine, wanted, rtol=1e-9)
    return {
        "goal_times_faster": goal,
        "trackers": side_by_side(ours, peer, rounds),
        "operators": side_by_side(operators, peer, rounds),
    }


def plot(report: dict[str, Any], path: Path) -> None:
    """Time of a step over the live tracks, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), constrained_layout=True)
    for name, found in report["whole_steps"].items():
        tracks = [c["live_tracks"] for c in found["curve"]]
        label = f"{name}: slope {found['slope']['median']:.2f} from 200 tracks up"
        axes.loglog(tracks, [1000 * c["median"] for c in found["curve"]], "o-", label=label)
    axes.set(
        xlabel="live tracks", ylabel="ms a frame, one thread (median)", title="A tracker's step around the network"
    )
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, help="draw what --out holds, measure nothing")
    args = parser.parse_args()
    if args.plot:
        plot(json.loads(args.out.read_text()), args.plot)
        return
    torch.set_num_threads(1)
    load_before = os.getloadavg()
    steps: dict[str, Any] = {}
    for name in TRACKERS:
        curve = [
            whole_steps(name, count, max(WARM + 20, args.frames * min(200, count) // count), args.seed)
            for count in (50, 100, 200, 400, 800, 1600)
        ]
        large = [c for c in curve if c["objects"] >= 200]
        slope = {
            k: float(np.polyfit(np.log([c["live_tracks"] for c in large]), np.log([c[k] for c in large]), 1)[0])
            for k in ("least", "median")
        }
        at_200 = next(c for c in curve if c["objects"] == 200)
        steps[name] = {
            "frames_a_second_at_200": {k: 1 / at_200[k] for k in ("least", "lower_quarter", "median")},
            "slope": slope,
            "curve": curve,
        }
    report = {
        "benchmark": "tracker_speed",
        "command": "OMP_NUM_THREADS=1 python -m benchmarks.tracker_speed --out benchmarks/results/tracker_speed.json",
        "seed": args.seed,
        "times": "seconds that the thread ran",
        "goal_frames_a_second": GOAL_FRAMES_A_SECOND,
        "goal_slope": GOAL_SLOPE,
        "whole_steps": steps,
        "kalman_200_beside_filterpy": kalman(args.rounds),
        "association_beside_numpy_and_scipy": {
            str(n): association(n, args.rounds, goal) for n, goal in ((100, 8.0), (300, None), (1000, 20.0))
        },
        "machine": machine(),
        "load_average": {"before": load_before, "after": os.getloadavg()},
    }
    text = json.dumps(report, indent=2)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
