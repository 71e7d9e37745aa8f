"""Hand-made frames: boxes whose faces carry points, on a flat road. Small enough to overfit in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from drive.boxes.detector import PillarsConfig, SWFormerConfig
from drive.boxes.foreground import ForegroundConfig
from drive.boxes.groups import TOWN_GROUPS
from drive.features.pillars import DenseConfig
from drive.features.point_encoder import PointEncoderConfig
from drive.features.swformer import BackboneConfig
from drive.samples.batch import FrameBatch, collate
from drive.samples.classes import TOWN_CLASSES
from drive.samples.sample import FrameSample
from drive.voxels.grid import GridSpec

SIZES = ((4.6, 1.9, 1.7), (7.5, 2.5, 3.0), (11.5, 2.9, 3.3), (0.7, 0.7, 1.75), (1.8, 0.6, 1.6), (0.4, 0.4, 0.8))
GRID = GridSpec((-24.0, -24.0, -2.0, 24.0, 24.0, 4.0), (0.5, 0.5, 6.0))


def faces(box: np.ndarray, per_face: int, rng: np.random.Generator) -> np.ndarray:
    """Points on the two vertical faces of a box that the origin sees, and on its roof: [3 per_face, 3]."""
    u, v = rng.uniform(-0.5, 0.5, (2, 3, per_face))
    cos, sin = math.cos(box[6]), math.sin(box[6])
    front = 0.5 if -(box[0] * cos + box[1] * sin) > 0 else -0.5
    left = 0.5 if -(box[1] * cos - box[0] * sin) > 0 else -0.5
    top = np.full(per_face, 0.5)
    local = np.stack([np.stack([top * 2 * front, u[0], v[0]]), np.stack([u[1], top * 2 * left, v[1]]),
                      np.stack([u[2], v[2], top])])  # fmt: skip
    local = local.transpose(0, 2, 1).reshape(-1, 3) * box[3:6]
    x = cos * local[:, 0] - sin * local[:, 1]
    y = sin * local[:, 0] + cos * local[:, 1]
    return np.stack([x, y, local[:, 2]], 1) + box[:3]


def make_frame(seed: int, cars: int = 5, small: int = 3, ground: int = 1500, reach: float = 20.0) -> FrameSample:
    """A frame of ``cars`` vehicles and ``small`` pedestrians, bicycles and cones that do not overlap."""
    rng = np.random.default_rng(seed)
    boxes: list[np.ndarray] = []
    labels: list[int] = []
    while len(boxes) < cars + small:
        label = int(rng.choice([0, 0, 0, 1])) if len(boxes) < cars else int(rng.integers(3, 6))
        x, y = rng.uniform(-reach, reach, 2)
        apart = all(math.hypot(x - b[0], y - b[1]) > 6.5 for b in boxes)
        if not apart or math.hypot(x, y) < 6:
            continue
        length, width, height = SIZES[label]
        boxes.append(np.array([x, y, height / 2, length, width, height, rng.uniform(-3.1, 3.1), 0.0, 0.0]))
        labels.append(label)
    hits = [faces(box, 40, rng) for box in boxes]
    flat = np.concatenate([rng.uniform(-reach, reach, (ground, 2)), rng.normal(0, 0.02, (ground, 1))], 1)
    xyz = np.concatenate([*hits, flat])
    points = np.zeros((len(xyz), 6), np.float32)
    points[:, :3] = xyz
    points[:, 3] = rng.uniform(0, 1, len(xyz))
    return FrameSample(
        points=points,
        boxes=np.array(boxes, np.float32).reshape(-1, 9),
        labels=np.array(labels, np.int64),
        velocity_valid=np.ones(len(boxes), np.bool_),
        num_points=np.full(len(boxes), 120, np.int64),
        frame_id=f"made/{seed}",
    )


def small_swformer(kind: str = "pointnet", **changes: object) -> SWFormerConfig:
    """A SWFormer of a few layers on the small grid."""
    fields: dict[str, object] = {
        "classes": TOWN_CLASSES.names,
        "groups": TOWN_GROUPS,
        "grid": GRID,
        "encoder": PointEncoderConfig(kind, hidden=32, heads=4, scale_xy=24.0),  # type: ignore[arg-type]
        "backbone": BackboneConfig(64, 4, 128, layers=((1, 1), (1, 1), (1, 1), (1, 0), (1, 0))),
        "foreground": ForegroundConfig(max_kept=512),
        "head_channels": 64,
    }
    return SWFormerConfig(**(fields | changes))  # type: ignore[arg-type]


def small_pillars(**changes: object) -> PillarsConfig:
    """A dense detector of a few convolutions on the small grid."""
    fields: dict[str, object] = {
        "classes": TOWN_CLASSES.names,
        "groups": TOWN_GROUPS,
        "grid": GRID,
        "encoder": PointEncoderConfig(hidden=32, scale_xy=24.0),
        "channels": 32,
        "dense": DenseConfig((1, 1, 1), (2, 2, 2), (32, 48, 64), 32, 2),
    }
    return PillarsConfig(**(fields | changes))  # type: ignore[arg-type]


def empty_frame(points: int = 0) -> FrameSample:
    """A frame without boxes and with no or a few points."""
    sample = make_frame(0, cars=0, small=0, ground=points)
    return sample


@pytest.fixture
def frames() -> Callable[..., FrameBatch]:
    """frames(seed, ...) -> a batch of hand-made frames."""
    return lambda *seeds, **kw: collate([make_frame(seed, **kw) for seed in seeds])


@pytest.fixture(params=["swformer", "swformer-pvt", "pillars"])
def config(request: pytest.FixtureRequest) -> SWFormerConfig | PillarsConfig:
    """Each small detector in turn."""
    torch.manual_seed(0)
    made: dict[str, Callable[[], SWFormerConfig | PillarsConfig]] = {
        "swformer": small_swformer,
        "swformer-pvt": lambda: small_swformer("pvt"),
        "pillars": small_pillars,
    }
    return made[request.param]()


@pytest.fixture
def empty() -> Callable[[int], FrameSample]:
    return empty_frame


@pytest.fixture
def make() -> Callable[..., FrameSample]:
    return make_frame
