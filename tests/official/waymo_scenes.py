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


def coincident_scene(turn: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """3,000 labels, one a frame, each with a prediction that lies exactly on it, turned by 0, 1 or 2 half turns.

    The first is the pair of the official fixture whose published figures differ (see test_waymo_detection.py).
    """
    rng = np.random.default_rng(turn)
    boxes, kind = labels(rng, 3000, 60.0)
    boxes[0], kind[0] = [34.40476608, -0.63495606, 0.94446951, 4.29957962, 2.0519986, 1.86, 2.17303491], 1
    found = boxes.astype(np.float32)
    found[:, 6] += np.float32(turn * np.pi)
    found[0, 6] = [2.1730349, -0.9685577, 2.1730349][turn]
    scene = {
        "prediction_frame_id": np.arange(len(boxes)),
        "prediction_bbox": found,
        "prediction_type": kind,
        "prediction_score": np.full(len(boxes), 0.5),
        "prediction_overlap_nlz": np.zeros(len(boxes)),
        "ground_truth_frame_id": np.arange(len(boxes)),
        "ground_truth_bbox": boxes,
        "ground_truth_type": kind,
        "ground_truth_difficulty": np.ones(len(boxes)),
        "ground_truth_speed": np.zeros((len(boxes), 2)),
    }
    return official_types(scene, 1), dict(CHALLENGE)


def tied_scene(seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A crowded frame whose predictions repeat each other, some turned by half a turn: matchings of equal weight."""
    rng = np.random.default_rng(seed)
    truth, kind = labels(rng, 12, 12.0)
    rows = rng.integers(0, len(truth), 40)
    boxes, again = disturbed(rng, truth[rows], kind[rows]), rng.integers(0, 40, 40)
    boxes = boxes[again].astype(np.float32)
    boxes[:, 6] += rng.integers(0, 2, 40) * np.float32(np.pi)
    scene = {
        "prediction_frame_id": np.zeros(40),
        "prediction_bbox": boxes,
        "prediction_type": kind[rows][again],
        "prediction_score": np.round(rng.random(40), 1 + seed % 3),
        "prediction_overlap_nlz": rng.random(40) < 0.1,
        "ground_truth_frame_id": np.zeros(len(truth)),
        "ground_truth_bbox": truth,
        "ground_truth_type": kind,
        "ground_truth_difficulty": rng.integers(1, 3, len(truth)),
        "ground_truth_speed": np.zeros((len(truth), 2)),
    }
    return official_types(scene, 1), dict(CHALLENGE)


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


def motion_scene(seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """1 to 5 scenarios of agents that drive arcs, predicted alone or in pairs; the operator's shapes."""
    rng = np.random.default_rng(seed)
    joint = int(rng.integers(1, 3))
    batch, count, groups = int(rng.integers(1, 6)), int(rng.integers(joint, 9)), int(rng.integers(1, 5))
    config = {
        "track_hz": 10,
        "prediction_hz": 2,
        "history": 10,
        "future": 80,
        "speed_low": 1.4,
        "speed_high": 11.0,
        "scale_low": 0.5,
        "scale_high": 1.0,
        "horizons": [[5, 1.0, 2.0], [9, 1.8, 3.6], [15, 3.0, 6.0]],
        "max_predictions": 6,
    }
    if rng.random() < 0.4:
        config |= {"prediction_hz": int(rng.choice([1, 2, 5])), "history": 4, "future": 40}
        last = 4 * config["prediction_hz"] - 1
        config |= {"horizons": [[int(rng.integers(0, last + 1)), 1.5, 2.5], [last, 2.0, 5.0]]}
        config |= {"max_predictions": int(rng.integers(1, 8))}
    config["horizons"] = [list(x) for x in {h[0]: h for h in config["horizons"]}.values()]
    length = config["history"] + config["future"] + 1
    time = (np.arange(length) - config["history"]) / config["track_hz"]
    kind = rng.choice([1, 2, 3, 4], (batch, count), p=[0.5, 0.25, 0.2, 0.05])
    speed = rng.choice([0.0, 0.3, 1.5, 5.0, 12.0], (batch, count)) * rng.uniform(0.5, 1.5, (batch, count))
    rate = rng.choice([0.0, 0.02, 0.15, 0.5], (batch, count)) * rng.choice([-1, 1], (batch, count))
    start, heading = rng.uniform(-25, 25, (batch, count, 2)), rng.uniform(-np.pi, np.pi, (batch, count))
    yaw = heading[..., None] + rate[..., None] * time
    step = speed[..., None] / config["track_hz"]
    x = start[..., :1] + np.cumsum(step * np.cos(yaw), axis=2)
    y = start[..., 1:] + np.cumsum(step * np.sin(yaw), axis=2)
    sizes = SIZES[[0, 1, 3, 2]][kind - 1]
    still = np.ones_like(yaw)
    truth = np.stack(
        [
            x,
            y,
            sizes[..., :1] * still,
            sizes[..., 1:2] * still,
            yaw,
            speed[..., None] * np.cos(yaw),
            speed[..., None] * np.sin(yaw),
        ],
        axis=3,
    )
    valid = rng.random((batch, count, length)) > rng.choice([0.0, 0.05, 0.5])
    gone = rng.random((batch, count)) < 0.2
    valid &= ~(gone[..., None] & (np.arange(length) > rng.integers(config["history"], length)))
    valid[:, :, 0] = True  # the operator forgets agents without any valid state
    futures = int(rng.integers(1, 9))
    agent = np.stack([[rng.permutation(count)[:joint] for _ in range(groups)] for _ in range(batch)])
    chosen = truth[np.arange(batch)[:, None, None], agent]
    ratio = config["track_hz"] // config["prediction_hz"]
    true_path = chosen[..., config["history"] + ratio :: ratio, :2][:, :, None]
    steps = true_path.shape[4]
    drift = rng.normal(0, 1, (batch, groups, futures, joint, 1, 2)) * rng.choice(
        [0.02, 0.1, 0.5], (batch, groups, futures, 1, 1, 1)
    )
    path = true_path + drift * (np.arange(steps) + 1)[:, None]
    mask = rng.random((batch, groups, joint)) > 0.15
    mask[:, 0, 0] = True
    score = rng.random((batch, groups, futures))
    score = np.round(score, 1) if rng.random() < 0.5 else score
    scene = {
        "prediction_trajectory": path.astype(np.float32),
        "prediction_score": score.astype(np.float32),
        "ground_truth_trajectory": truth.astype(np.float32),
        "ground_truth_is_valid": valid,
        "prediction_ground_truth_indices": agent.astype(np.int64),
        "prediction_ground_truth_indices_mask": mask,
        "object_type": kind.astype(np.int64),
    }
    return scene, config


def official_types(scene: dict[str, np.ndarray], box_type: int) -> dict[str, np.ndarray]:
    """The operators' element types, and the columns of the box type (1 3D, 2 2D, 3 axis-aligned)."""
    columns = {1: [0, 1, 2, 3, 4, 5, 6], 2: [0, 1, 3, 4, 6], 3: [0, 1, 3, 4]}[box_type]
    kinds = {"bbox": np.float32, "score": np.float32, "speed": np.float32, "nlz": np.bool_, "id": np.int64}
    out = {}
    for name, value in scene.items():
        kind = kinds.get(name.rsplit("_", 1)[1], np.uint8)
        out[name] = (value[:, columns] if name.endswith("bbox") else value).astype(kind)
    return out


CHALLENGE: dict[str, Any] = {
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


def configuration(rng: np.random.Generator) -> dict[str, Any]:
    """The challenge's configuration half the time, else a random one."""
    config = dict(CHALLENGE)
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
