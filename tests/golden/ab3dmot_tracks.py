"""How ab3dmot_tracks.json was made: AB3DMOT's own tracker on a street made by hand (below; no recorded data).

    git clone https://github.com/xinshuoweng/AB3DMOT CHECKOUT          # commit 61f3bd7
    pip install --no-deps --target PEERS filterpy
    PYTHONPATH=.:PEERS python tests/golden/ab3dmot_tracks.py CHECKOUT

Objects of three classes drive, walk and cross each other's way, hide for some frames, are seen back to front, come and
go, with clutter between them; in the published axes and the order of AB3DMOT's files: h w l x y z rotation_y, camera
frame (right, down, forward), bottom centre. Each class is tracked alone, with the set for PointRCNN on KITTI.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

CLASSES = ("Car", "Pedestrian", "Cyclist")
SIZES = {"Car": (1.5, 1.8, 4.2), "Pedestrian": (1.75, 0.6, 0.7), "Cyclist": (1.7, 0.6, 1.8)}
SPEEDS = {"Car": 8.0, "Pedestrian": 1.2, "Cyclist": 4.0}
NOISE_M = {"Car": 0.12, "Pedestrian": 0.08, "Cyclist": 0.1}
FRAMES, OBJECTS = 40, 5


def street(name: str, seed: int) -> list[list[list[float]]]:
    """Detections of every frame: eight numbers each, the last is the score."""
    rng = np.random.default_rng(seed)
    start = np.stack([rng.uniform(-8, 8, OBJECTS), rng.uniform(6, 30, OBJECTS)], axis=1)
    turn = rng.uniform(-np.pi, np.pi, OBJECTS)
    speed = SPEEDS[name] * rng.uniform(0.2, 1.2, OBJECTS)
    first, last = rng.integers(0, FRAMES // 3, OBJECTS), rng.integers(FRAMES // 2, FRAMES + 1, OBJECTS)
    frames = []
    for f in range(FRAMES):
        rows = []
        for o in np.flatnonzero((first <= f) & (f < last) & (rng.random(OBJECTS) > 0.2)):
            way = 0.1 * f * speed[o] * np.array([np.cos(turn[o]), -np.sin(turn[o])])
            x, z = start[o] + way + rng.normal(0, NOISE_M[name], 2)
            size = np.array(SIZES[name]) * rng.normal(1, 0.03, 3)
            seen_turn = turn[o] + rng.normal(0, 0.05) + (np.pi if rng.random() < 0.1 else 0.0)
            seen_turn = (seen_turn + np.pi) % (2 * np.pi) - np.pi
            rows.append([*size, x, 1.6 + rng.normal(0, 0.05), z, seen_turn, rng.uniform(0, 10)])
        clutter = range(rng.poisson(0.5))
        rows += [
            [*SIZES[name], rng.uniform(-10, 10), 1.6, rng.uniform(5, 35), rng.uniform(-3, 3), 1.0] for _ in clutter
        ]
        frames.append(np.round(np.array(rows).reshape(-1, 8), 3).tolist())
    return frames


def main() -> None:
    from benchmarks.tracker_peers import Ab3dmotPeer

    golden = {}
    for k, name in enumerate(CLASSES):
        peer, tracks = Ab3dmotPeer(Path(sys.argv[1]), "KITTI", "pointrcnn", name), []
        frames = street(name, k)
        for rows in frames:
            numbers = np.array(rows, dtype=np.float64).reshape(-1, 8)
            found = peer.step(numbers[:, :7], numbers[:, 7])
            tracks.append(
                [[int(i), *b, s] for i, b, s in zip(found.ids, found.boxes.tolist(), found.scores, strict=True)]
            )
        golden[name] = {"detections": frames, "tracks": tracks}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps({"commit": "61f3bd7", "axes of tracks": "id x y z l w h yaw score, ours", **golden}))


if __name__ == "__main__":
    main()
