"""The measures of the driven vehicle."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vehicle:
    """Metres; the point of reference is the middle of the rear axle.

    The defaults are the vehicle of nuPlan and NAVSIM (nuplan-devkit, ``common/actor_state/vehicle_parameters.py``:
    ``get_pacifica_parameters``), which their scores assume for every log.
    """

    width: float = 2.297
    front: float = 4.049
    """Rear axle to front bumper."""
    rear: float = 1.127
    """Rear axle to rear bumper, positive."""
    wheelbase: float = 3.089
    cog: float = 1.67
    """Rear axle to centre of gravity."""
    height: float = 1.777

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.front > 0 and self.rear >= 0 and self.wheelbase > 0):
            raise ValueError(f"width, front and wheelbase must be positive and rear at least 0: {self}")

    @property
    def length(self) -> float:
        return self.front + self.rear

    @property
    def centre(self) -> float:
        """How far the middle of the footprint lies ahead of the rear axle."""
        return (self.front - self.rear) / 2
