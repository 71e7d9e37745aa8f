"""Random scenes for Waymo's metrics, from a seed: numpy only, the same in both environments.

A scene is a dict of arrays in the shapes of the official operators; its configuration is a plain dict with the fields
of ``WaymoConfig``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SIZES = np.array([[4.6, 2.0, 1.7], [0.9, 0.8, 1.75], [0.3, 0.9, 0.9], [1.8, 0.8, 1.7]])  # by type 1..4
GENERATORS = ("OBJECT_TYPE", "RANGE", "ONE_SHARD", "ALL_BUT_SIGN", "VELOCITY", "SIZE", "CAMERA")
UNIFORM = [i * 0.01 for i in range(100)] + [1.0]


def labels(rng: np.random.Generator, count: int, spread_m: float) -> tuple[np.ndarray, np.ndarray]:
    """count boxes [N, 7] on the ground within spread_m of the ego, and their types."""
    kind = rng.choice([1, 2, 3, 4], count, p=[0.5, 0.25, 0.1, 0.15])
    boxes = np.zeros((count, 7))
    boxes[:, :2] = rng.uniform(-spread_m, spread_m, (count, 2))
    boxes[:, 2] = rng.normal(0.8, 0.3, count)
    boxes[:, 3:6] = SIZES[kind - 1] * rng.uniform(0.8, 1.3, (count, 3))
    boxes[rng.random(count) < 0.1, 3] *= 2.5  # buses
    boxes[:, 6] = rng.uniform(-7, 7, count)
    return boxes, kind


def disturbed(rng: np.random.Generator, boxes: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """The boxes with errors of different size, as a detector's: some nearly exact, some far off, some turned round."""
    out = boxes.copy()
    strength = rng.choice([0.01, 0.05, 0.15, 0.4], len(boxes))[:, None]
    out[:, :3] += rng.normal(0, 1, (len(boxes), 3)) * strength * SIZES[kind - 1]
    out[:, 3:6] *= np.exp(rng.normal(0, 0.3, (len(boxes), 3)) * strength)
    out[:, 6] += rng.normal(0, 1, len(boxes)) * strength[:, 0]
    out[rng.random(len(boxes)) < 0.15, 6] += np.pi
    return out


def scores(rng: np.random.Generator, count: int) -> np.ndarray:
    """Scores of one of three kinds: smooth, on the cutoffs, few different ones."""
    smooth = rng.beta(1.2, 1.6, count)
    return [smooth, np.round(smooth, 2), np.round(smooth, 1)][rng.integers(3)].astype(np.float32)


def detection_scene(seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A scene of 1 to 6 frames and a configuration."""
    rng = np.random.default_rng(seed)
    config = configuration(rng)
    parts: dict[str, list[np.ndarray]] = {}
    for frame in range(rng.integers(1, 7)):
        spread = rng.choice([15.0, 40.0, 80.0])
        truth, kind = labels(rng, int(rng.integers(0, 26)), spread)
        rows = rng.integers(0, len(kind), int(rng.integers(0, 3 * len(kind)))) if len(kind) else np.zeros(0, int)
        false, false_kind = labels(rng, int(rng.integers(0, 15)), spread)
        found_kind = np.where(rng.random(len(rows)) < 0.05, rng.integers(1, 5, len(rows)), kind[rows])
        boxes = np.concatenate([disturbed(rng, truth[rows], kind[rows]), false])
        order = rng.permutation(len(boxes))
        number = 100 - 7 * frame
        content = {
            "prediction_frame_id": np.full(len(boxes), number),
            "prediction_bbox": boxes[order],
            "prediction_type": np.concatenate([found_kind, false_kind])[order],
            "prediction_score": scores(rng, len(boxes)),
            "prediction_overlap_nlz": rng.random(len(boxes)) < 0.1,
            "ground_truth_frame_id": np.full(len(kind), number),
            "ground_truth_bbox": truth,
            "ground_truth_type": kind,
            "ground_truth_difficulty": rng.choice([1, 2], len(kind), p=[0.7, 0.3]),
            "ground_truth_speed": rng.normal(0, 1, (len(kind), 2)) * rng.choice([0.1, 1, 8], len(kind))[:, None],
        }
        for name, value in content.items():
            parts.setdefault(name, []).append(value)
    scene = {name: np.concatenate(values) for name, values in parts.items()}
    return official_types(scene, config["box_type"]), config


def tracking_scene(seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """1 to 3 sequences of 1 to 12 frames: objects come, drive and go; tracks break, swap, and are found twice."""
    rng = np.random.default_rng(seed)
    config = configuration(rng) | {"tolerance": None}
    config["score_cutoffs"] = [UNIFORM, UNIFORM[::10], [0.5]][rng.integers(3)]
    parts: dict[str, list[np.ndarray]] = {}
    for sequence in range(rng.integers(1, 4)):
        count, spread = int(rng.integers(1, 16)), rng.choice([15.0, 60.0])
        start, kind = labels(rng, count, spread)
        speed = rng.normal(0, 3, (count, 2)) * rng.choice([0.05, 1.0], count)[:, None]
        length = int(rng.integers(1, 13))
        birth, death = rng.integers(-3, 5, count), rng.integers(4, 20, count)
        birth[0] = 0  # the operator gives no figures at all for no boxes at all
        name = np.arange(count) + 1000
        spoiled = rng.choice([0.0, 0.05, 0.3])
        for frame in range(length):
            alive = np.flatnonzero((birth <= frame) & (frame < death))
            truth = start[alive] + np.pad(speed[alive] * 0.3 * frame, ((0, 0), (0, 5)))
            for _ in range(rng.poisson(spoiled * 3)):  # two tracks change places, or one gets a new name
                a, b = rng.integers(0, count, 2)
                name[a], name[b] = name[b], name[a]
                if rng.random() < 0.5:
                    name[a] = 2000 + 100 * frame + int(rng.integers(100))
            rows = alive[rng.random(len(alive)) > spoiled]
            boxes = start[rows] + np.pad(speed[rows] * 0.3 * frame, ((0, 0), (0, 5)))
            false, false_kind = labels(rng, int(rng.poisson(2 * spoiled)), spread)
            ids = np.concatenate([name[rows], 9000 + rng.permutation(20)[: len(false)]])
            boxes = np.concatenate([disturbed(rng, boxes, kind[rows]), false])
            kinds = np.concatenate([kind[rows], false_kind])
            single = np.unique(ids, return_index=True)[1]
            content = {
                "prediction_frame_id": np.full(len(single), frame * 3),
                "prediction_sequence_id": np.full(len(single), sequence),
                "prediction_object_id": ids[single],
                "prediction_bbox": boxes[single],
                "prediction_type": kinds[single],
                "prediction_score": scores(rng, len(single)),
                "prediction_overlap_nlz": rng.random(len(single)) < 0.1,
                "ground_truth_frame_id": np.full(len(alive), frame * 3),
                "ground_truth_sequence_id": np.full(len(alive), sequence),
                "ground_truth_object_id": alive,
                "ground_truth_bbox": truth,
                "ground_truth_type": kind[alive],
                "ground_truth_difficulty": rng.choice([1, 2], len(alive)),
                "ground_truth_speed": speed[alive],
            }
            for key, value in content.items():
                parts.setdefault(key, []).append(value)
    scene = {key: np.concatenate(values) for key, values in parts.items()}
    return official_types(scene, config["box_type"]), config


def official_types(scene: dict[str, np.ndarray], box_type: int) -> dict[str, np.ndarray]:
    """The operators' element types, and the columns of the box type (1 3D, 2 2D, 3 axis-aligned)."""
    columns = {1: [0, 1, 2, 3, 4, 5, 6], 2: [0, 1, 3, 4, 6], 3: [0, 1, 3, 4]}[box_type]
    kinds = {"bbox": np.float32, "score": np.float32, "speed": np.float32, "nlz": np.bool_, "id": np.int64}
    out = {}
    for name, value in scene.items():
        kind = kinds.get(name.rsplit("_", 1)[1], np.uint8)
        out[name] = (value[:, columns] if name.endswith("bbox") else value).astype(kind)
    return out


def configuration(rng: np.random.Generator) -> dict[str, Any]:
    """The challenge's configuration half the time, else a random one."""
    config: dict[str, Any] = {
        "breakdowns": [["OBJECT_TYPE", [1, 2]], ["RANGE", [1, 2]]],
        "iou_thresholds": [0.0, 0.7, 0.5, 0.5, 0.5],
        "box_type": 1,
        "score_cutoffs": UNIFORM,
        "desired_cutoffs": 0,
        "desired_recall_delta": 0.05,
        "min_precision": 0.0,
        "min_heading_accuracy": -1.0,
        "tolerance": None,
    }
    if rng.random() < 0.5:
        return config
    chosen = rng.choice(GENERATORS, int(rng.integers(1, 5)), replace=False)
    levels: list[list[int]] = [[1], [2], [1, 2], []]
    config["breakdowns"] = [[str(name), levels[rng.integers(4)]] for name in chosen]
    config["iou_thresholds"] = [0.0, *rng.choice([0.2, 0.3, 0.5, 0.7], 4).tolist()]
    config["box_type"] = int(rng.choice([1, 1, 2, 3]))
    if rng.random() < 0.5:
        config["score_cutoffs"] = [] if rng.random() < 0.5 else np.round(rng.random(7), 3).tolist()
        config["desired_cutoffs"] = int(rng.choice([1, 5, 30, 1000]))
    config["desired_recall_delta"] = float(rng.choice([0.05, 0.1, 0.3, 1.0]))
    config["min_precision"] = float(rng.choice([0.0, 0.2]))
    config["min_heading_accuracy"] = float(rng.choice([-1.0, 0.0, 0.9]))
    if config["box_type"] != 3 and rng.random() < 0.3:
        config["tolerance"] = {
            "sensor_m": [1.43, 0.0, 2.18],
            "share": float(rng.choice([0.05, 0.1])),
            "least_m": 0.5,
            "align": int(rng.integers(1, 7)),
        }
    return config
