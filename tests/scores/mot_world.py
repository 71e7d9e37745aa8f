"""Made-up KITTI tracking sequences as text, in the columns of the label and the result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from drive.scores.clear_mot import without_ignored
from drive.scores.clear_mot_boxes import MotBoxes, centre_pairs, overlap_pairs
from drive.scores.clear_mot_kitti import KittiLabels, KittiTracks, kitti_sides, level_boxes
from drive.scores.hota import similarity_of
from drive.scores.nuscenes_tracking_match import Pairs

KINDS = ("Car", "Van", "Pedestrian", "Person_sitting", "Person", "Cyclist", "Truck")
SIZES = {"Car": (1.5, 1.7, 4.0), "Van": (2.1, 1.9, 5.0), "Truck": (3.2, 2.5, 9.0), "Cyclist": (1.7, 0.6, 1.8)}
PERSON = (1.75, 0.6, 0.8)  # height, width, length


def make_sequence(seed: int, frames: int = 60, objects: int = 12, loss: float = 0.12) -> tuple[list[str], list[str]]:
    """(label lines, result lines) of one sequence. Tracks follow the objects with noise, drop out, change their number,
    merge with neighbours' boxes; there are ghosts, low boxes, neighbouring classes and DontCare regions."""
    rng = np.random.default_rng(seed)
    labels: list[tuple[int, str]] = []
    found: list[tuple[int, str]] = []
    number = 0
    for o in range(objects):
        kind = str(rng.choice(KINDS, p=[0.4, 0.1, 0.2, 0.05, 0.05, 0.15, 0.05]))
        h, w, length = np.array(SIZES.get(kind, PERSON)) * rng.uniform(0.9, 1.1, 3)
        x, z, yaw = rng.uniform(-12, 12), rng.uniform(6, 45), rng.uniform(-np.pi, np.pi)
        speed = rng.normal(0, 0.25, 2)
        first = int(rng.integers(0, frames // 2))
        last = int(rng.integers(first + 4, frames))
        quality, track, number = rng.uniform(0, 10), number, number + 1
        as_kind = {"Van": "Car", "Truck": "Car", "Person_sitting": "Pedestrian", "Person": "Pedestrian"}.get(kind, kind)
        absent = set(rng.integers(first, last + 1, 3).tolist()) if rng.random() < 0.4 else set()
        for f in range(first, last + 1):
            px, pz = x + speed[0] * (f - first), max(3.0, z + speed[1] * (f - first))
            truncated = int(rng.random() < 0.08)
            occluded = int(rng.choice([0, 1, 2, 3], p=[0.5, 0.25, 0.15, 0.1]))
            if f not in absent:
                box = _line(f, o, kind, (h, w, length), (px, 1.7, pz), yaw)
                labels.append((f, box.replace(" T O ", f" {truncated} {occluded} ")))
            if rng.random() < 0.04:  # another number from here on
                track, number = number, number + 1
            if rng.random() < loss:
                continue
            noise = rng.normal(0, 0.07 * w, 3) * (1 + (rng.random() < 0.1) * 4)
            size = np.array([h, w, length]) * rng.uniform(0.95, 1.05, 3)
            place = (px + noise[0], 1.7 + noise[1] * 0.3, pz + noise[2])
            text = _line(f, 500 + track, as_kind, size, place, yaw + rng.normal(0, 0.08), low=rng.random() < 0.1)
            found.append((f, text.replace(" T O ", " 0 0 ") + f" {quality + rng.normal(0, 1.5):.6f}"))
    for g in range(objects // 2):  # ghosts
        x, z, first = rng.uniform(-12, 12), rng.uniform(6, 45), int(rng.integers(0, frames - 6))
        kind = str(rng.choice(["Car", "Pedestrian", "Cyclist"]))
        for f in range(first, first + int(rng.integers(1, 6))):
            text = _line(f, 900 + g, kind, SIZES.get(kind, PERSON), (x, 1.7, z), 0.3, low=rng.random() < 0.2)
            found.append((f, text.replace(" T O ", " 0 0 ") + f" {rng.normal(2, 2):.6f}"))
    for f in range(0, frames, 2):
        left, top = rng.uniform(0, 1000), rng.uniform(150, 200)
        none = "-1 -1 -1 -1000 -1000 -1000 -10"
        labels.append((f, f"{f} -1 DontCare -1 -1 -10 {left:.2f} {top:.2f} {left + 200:.2f} {top + 90:.2f} {none}"))
    return [[text for _, text in sorted(rows, key=lambda row: row[0])] for rows in (labels, found)]  # type: ignore[return-value]


def _line(
    frame: int, track: int, kind: str, size: tuple[float, ...] | np.ndarray, place: tuple[float, ...], yaw: float,
    low: bool = False,
) -> str:  # fmt: skip
    focal = 721.0
    left, right = (609 + focal * (place[0] + d) / place[2] for d in (-size[2] / 2, size[2] / 2))
    top, bottom = 173 + focal * (place[1] - size[0]) / place[2], 173 + focal * place[1] / place[2]
    bottom = top + 24.0 if low else bottom
    numbers = [*size, *place, yaw]
    box = f"{left:.6f} {top:.6f} {right:.6f} {bottom:.6f} "
    return f"{frame} {track} {kind} T O -1.0 " + box + " ".join(f"{v:.6f}" for v in numbers)


def parse(sequences: list[tuple[list[str], list[str]]], frames: list[int]) -> tuple[KittiLabels, KittiTracks]:
    """What the score takes, of (label lines, result lines) a sequence and its number of frames."""
    first = np.concatenate([[0], np.cumsum(frames)])
    sides: list[tuple[list[str], np.ndarray, np.ndarray]] = []
    for side in range(2):
        kind: list[str] = []
        numbers, tracks = [np.zeros((0, 17))], [np.zeros(0, np.int64)]
        for number, lines in enumerate(sequences):
            rows = [line.split() for line in lines[side]]
            kind += [row[2].lower() for row in rows]
            values = np.array([[row[0], *row[3:17], *(row[17:] or ["0"])] for row in rows], np.float64).reshape(-1, 16)
            values[:, 0] += first[number]
            tracks.append(np.array([int(row[1]) for row in rows], np.int64) + 100_000 * number)
            numbers.append(np.column_stack([values, np.zeros(len(rows))]))
        sides.append((kind, np.concatenate(numbers), np.concatenate(tracks)))
    kind, table, track = sides[0]
    region = np.array([k == "dontcare" for k in kind], bool)
    own = ~region
    labels = KittiLabels(
        num_frames=int(first[-1]),
        frame=table[own, 0].astype(np.int64),
        track=track[own],
        kind=[k for k in kind if k != "dontcare"],
        truncation=table[own, 1].astype(np.int64),
        occlusion=table[own, 2].astype(np.int64),
        boxes=level_boxes(table[own, 8:15]),
        dont_care_frame=table[region, 0].astype(np.int64),
        dont_care=table[region, 4:8],
    )
    kind, table, track = sides[1]
    tracks = KittiTracks(
        table[:, 0].astype(np.int64), track, kind, level_boxes(table[:, 8:15]), table[:, 4:8], table[:, 15]
    )  # fmt: skip
    return labels, tracks


def read_sequence(labels: Path, found: Path) -> tuple[list[str], list[str]]:
    """Lines of a label file and of a result file, in the order of their frames."""
    both = []
    for path in (labels, found):
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        both.append(sorted(lines, key=lambda line: int(line.split()[0])))
    return both[0], both[1]


GOLDEN = Path(__file__).parent.parent / "golden" / "ab3dmot_tracking.npz"


def golden_sequences(world: int) -> tuple[list[tuple[list[str], list[str]]], list[int], dict[str, Any]]:
    """(lines of every sequence, their frames, what AB3DMOT's program says: {"<world>_<IoU>": {class: ...}})."""
    with np.load(GOLDEN) as file:
        official = json.loads(file["official"].tobytes())
        count, frames = official["sequences"], official["frames"]
        lines = [([*file[f"labels_{world}_{s}"]], [*file[f"found_{world}_{s}"]]) for s in range(count)]
    return lines, [frames] * count, official["results"]


def hota_cases() -> dict[str, tuple[MotBoxes, MotBoxes, Pairs, np.ndarray, list[range]]]:
    """{name: (truth, tracks, pairs, similarity, frames of each sequence)} of the kept worlds, by IoU and distance."""
    cases = {}
    for world in (0, 1):
        lines, frames, _ = golden_sequences(world)
        labels, tracks = parse(lines, frames)
        ends = np.cumsum(frames).tolist()
        sequences = [range(end - count, end) for end, count in zip(ends, frames, strict=True)]
        for name in ("car", "pedestrian", "cyclist"):
            sides = kitti_sides(labels, tracks, name)
            sides = without_ignored(*sides, overlap_pairs(*sides, 0.5))
            pairs = overlap_pairs(*sides, 1e-9)
            cases[f"{world}.{name}.iou"] = (*sides, pairs, similarity_of(pairs), sequences)
            pairs = centre_pairs(*sides, 2.0)
            cases[f"{world}.{name}.distance"] = (*sides, pairs, similarity_of(pairs, 2.0), sequences)
    return cases
