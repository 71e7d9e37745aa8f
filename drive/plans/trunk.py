"""Between perception and planning: what every trajectory head is given, and what a trunk must be.

Two trunks give it: the object-level one (``drive.plans.trunk_object``: tracks and map lines) and the sensor-level one
(``drive.plans.trunk_sensor``: TransFuser's image and lidar), whose input is fixed here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from drive.samples.plan_sample_batch import PlanBatch


@dataclass(frozen=True)
class BevFrame:
    """Where a bird's-eye feature map lies in the ego frame: rows go along x (ahead), columns along y (left).

    x, y: (low, span) in metres. The defaults are the published +-32 m.
    """

    x: tuple[float, float] = (-32.0, 64.0)
    y: tuple[float, float] = (-32.0, 64.0)

    def fractions(self, points: Tensor) -> Tensor:
        """Points [..., 2] (x, y in metres) as fractions [..., 2] of rows and columns, 0 and 1 at the map's edges."""
        low, span = points.new_tensor([self.x[0], self.y[0]]), points.new_tensor([self.x[1], self.y[1]])
        return (points - low) / span


@dataclass(frozen=True, eq=False)
class SceneFeatures:
    """What a head is given of B scenes; C channels everywhere.

    Attributes:
        bev: [B, C, H, W], laid out by `frame`; None where a trunk has no map (ego state only).
        agents: [B, A, C], one token a road user, A >= 1 where bev is there.
        agent_valid: bool [B, A], which tokens are to be looked at, at least one a scene; None means all.
        ego: [B, 1, C], what the ego knows of itself and its task.
        command: int64 [B], index into drive.samples.route.COMMANDS.
        frame: where bev lies.
        taught: in training, what the trunk itself answers to what it is taught beside the head (None: nothing).
    """

    bev: Tensor | None
    agents: Tensor | None
    agent_valid: Tensor | None
    ego: Tensor
    command: Tensor
    frame: BevFrame = field(default_factory=BevFrame)
    taught: Any = None


@dataclass(frozen=True, eq=False)
class SensorInput:
    """What a sensor-level trunk is given (spec sections 1.2 and 5.4 of the fusion page).

    Sizes are those of ``drive.samples.plan_sample_sensors.PlanSensors``; published: 256 x 1024 and 256 x 256.

    Attributes:
        camera: float32 [B, 3, H, W] in 0..1 without any further normalisation: front-left, front and front-right
            images side by side, 28 rows cut from top and bottom of each, 416 columns from both sides of the outer two.
        lidar: float32 [B, 1, R, C], returns a cell of 0.25 m over x, y in +-32 m (rows x, columns y), those with
            0.2 m < z < 100 m, at most 5, divided by 5.
        status: float32 [B, 8], drive.samples.plan_sample.STATUS_COLUMNS.
        command: int64 [B].
    """

    camera: Tensor
    lidar: Tensor
    status: Tensor
    command: Tensor

    def __post_init__(self) -> None:
        B = len(self.status)
        wanted = {"camera": (B, 3, None, None), "lidar": (B, 1, None, None), "status": (B, 8), "command": (B,)}
        for name, shape in wanted.items():
            found = tuple(getattr(self, name).shape)
            if len(found) != len(shape) or any(w not in (None, f) for f, w in zip(found, shape, strict=True)):
                raise ValueError(f"SensorInput.{name} has shape {found}, not {shape}".replace("None", "any"))

    @staticmethod
    def of(batch: PlanBatch, most: int = 5) -> SensorInput:
        """The sensors of a batch; `most`: the count of lidar returns that becomes 1. ValueError where it has none."""
        if batch.camera is None or batch.lidar is None:
            raise ValueError("this planner sees with cameras and lidar: the batch has no sensors")
        return SensorInput(batch.camera.float() / 255, batch.lidar.float() / most, batch.status, batch.command)


class SensorTrunk(Protocol):
    """A trunk over sensors: gives C_bev [B, 256, 64, 64] over +-32 m and 30 agent tokens (spec section 1.3)."""

    def sense(self, sensors: SensorInput) -> SceneFeatures: ...
