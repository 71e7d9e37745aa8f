"""A log of cars and pedestrians that drive and walk, what a detector saw of them, and a network small enough for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from drive.boxes.detections import DetectionSet, write_detections
from drive.experiment import Experiment
from drive.geometry.box import transform_boxes
from drive.geometry.rigid import from_translation_rotation, quaternion_from_yaw
from drive.logs.writer import LogWriter
from drive.samples.classes import ClassMap
from drive.tracks.history import HistoryConfig
from drive.tracks.history_data import TrackDataConfig
from drive.tracks.history_truth import TruthConfig
from drive.tracks.stt import Stt
from drive.tracks.stt_config import SttConfig, SttLife
from drive.train.config import TrainConfig

NAMES = ("car", "pedestrian")
CLASSES = ClassMap(NAMES, {"car": "car", "pedestrian": "pedestrian"})
PERIOD_NS = 100_000_000
HISTORY = HistoryConfig(length=4, candidates=5, gate_m=(5.0, 2.5))
TRUTH = TruthConfig(CLASSES, near_m=(2.0, 1.0), right_by="iou3d", right_at=0.25)


def small(seed: int = 0, **life: float) -> SttConfig:
    """16 channels."""
    return SttConfig(NAMES, HISTORY, width=16, heads=2, feedforward=32, frequencies=4, life=SttLife(**life))


def network(config: SttConfig, seed: int = 0) -> Stt:
    """Random weights everywhere, also where training starts at zero."""
    torch.manual_seed(seed)
    net = config.build()
    for head in (net.state_head, net.state_decoder, net.box_head):
        torch.nn.init.normal_(head.last.weight, std=0.05)
    return net.eval()


def write_world(root: Path, name: str = "world", frames: int = 30, seed: int = 0) -> tuple[Path, DetectionSet]:
    """The log's folder and the detections: 8 objects, places off by some cm, one in eight missed, clutter of low score.

    A "van" (in no class) stands among them. The ego drives straight on at 5 m/s.
    """
    rng = np.random.default_rng(seed)
    count = 9
    kinds = np.array(["car"] * 4 + ["pedestrian"] * 4 + ["van"])
    size = np.where((kinds == "pedestrian")[:, None], [0.8, 0.7, 1.8], [4.0, 1.9, 1.6])
    place, speed = rng.uniform(-25, 25, (count, 2)), rng.normal(0, 3, (count, 2))
    speed[8] = 0
    ids, indices, parts = [], [], []
    with LogWriter(root, name, dataset="hand-made", source_version="1", licence="CC0-1.0", split="train") as log:
        for k in range(frames):
            translation, rotation = np.array([0.5 * k, 0.0, 0.0]), quaternion_from_yaw(0.1)
            ego_from_world = np.linalg.inv(from_translation_rotation(translation, rotation))
            world = np.zeros((count, 9))
            world[:, :2], world[:, 2], world[:, 3:6] = place + speed * 0.1 * k, 0.8, size
            world[:, 6] = np.arctan2(speed[:, 1], speed[:, 0])
            world[:, 7:9] = speed
            boxes = transform_boxes(ego_from_world, world)
            frame = log.add_frame(
                k * PERIOD_NS, rows={}, pose_translation=translation, pose_rotation=rotation, source_timestamp=k,
                source_token=f"t{k}",
            )  # fmt: skip
            log.add_boxes(
                frame, boxes, kinds.tolist(), [f"o{i}" for i in range(count)], velocity_valid=np.zeros(count, bool),
                source_translation=boxes[:, :3], source_rotation=quaternion_from_yaw(boxes[:, 6]),
                source_size=boxes[:, 3:6],
            )  # fmt: skip
            seen = rng.random(count) > 0.125
            found = boxes[seen] + np.concatenate([rng.normal(0, 0.05, (seen.sum(), 3)), np.zeros((seen.sum(), 6))], 1)
            labels = np.where(kinds[seen] == "pedestrian", 1, 0)
            clutter = np.zeros((3, 9))
            clutter[:, :2], clutter[:, 3:6] = rng.uniform(-25, 25, (3, 2)), [4.0, 1.9, 1.6]
            parts.append((np.concatenate([found, clutter]), np.concatenate([labels, np.zeros(3, np.int64)]),
                          np.concatenate([rng.uniform(0.5, 0.95, seen.sum()), rng.uniform(0.1, 0.6, 3)])))  # fmt: skip
            ids.append(f"{name}/t{k}")
            indices.append(k)
    offsets = np.concatenate([[0], np.cumsum([len(p[2]) for p in parts])]).astype(np.int64)
    boxes, labels, scores = (np.concatenate([p[i] for p in parts]) for i in range(3))
    boxes[:, 7:9] = 0.0
    unmeasured = np.zeros(len(scores), dtype=bool)
    return root / name, DetectionSet(NAMES, ids, [name] * frames, indices, offsets, boxes, scores, labels, unmeasured)


def experiment(root: Path, steps: int = 12, frames: int = 30) -> Experiment:
    """A training of seconds on a world that it writes."""
    log, found = write_world(root, frames=frames)
    write_detections(root / "detections.arrow", found)
    data = TrackDataConfig(
        TRUTH, train_logs=(str(log),), train_detections=(str(root / "detections.arrow"),), alive_s=(0.6, 0.2),
        frames_per_sample=5, batch_size=2, prefetch=0,
    )  # fmt: skip
    config = TrainConfig(
        steps=steps, learning_rate=3e-3, ema=0.9, device="cpu", log_every=1, checkpoint_steps=4, checkpoint_seconds=0.0
    )
    return Experiment("stt_toy", small(), data, config)
