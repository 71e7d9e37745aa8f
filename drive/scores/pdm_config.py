"""What the PDM score is made of: versions, thresholds, weights, and the quirks of the published scorer by name.

Source: NAVSIM ``pdm_scorer.py``, ``pdm_scorer_utils.py`` and ``pdm_comfort_metrics.py`` (branches v1.1 and v2.2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from drive.dynamics.bicycle import BicycleConfig
from drive.dynamics.controller import Tracker, TrackerConfig
from drive.dynamics.vehicle import Vehicle

Version = Literal["v1.1", "v2-fixed", "v2-legacy"]


@dataclass(frozen=True)
class Quirks:
    """What the published scorer does that its text does not say; each may be switched off by itself.

    Attributes:
        first_appearance: an object's speed is that of its first frame in the window, not that at the contact.
        short_yaw_windows: the yaw rate and acceleration are smoothed over 5 samples, because the longer window is not
            passed on (else 15, as the signature says).
        progress_zeroed: in v1.1 a proposal with an infraction has its progress column set to 0 too.
        bent_shift: in v2 the acceleration at the vehicle's middle adds the centripetal and the angular term to the
            longitudinal axis with a plus sign; and the lateral acceleration of the plant is 0 by definition.
            Else the rigid body's: a_lon - d w^2, v w + d w'.
        history_gap: v2's history ends two steps before now, not one.
        history_without_turning: v2's history has no yaw rate or acceleration: nuPlan's states lose them when they are
            interpolated.
        no_history_is_comfortable: in v2 a scene without a history has the history comfort 1.
        jerk_is_acceleration: the tracker penalises accelerations, not jerks (`TrackerConfig.jerk_is_acceleration`).
    """

    first_appearance: bool = True
    short_yaw_windows: bool = True
    progress_zeroed: bool = True
    bent_shift: bool = True
    history_gap: bool = True
    history_without_turning: bool = True
    no_history_is_comfortable: bool = True
    jerk_is_acceleration: bool = True


PARITY: dict[str, Quirks] = {
    "navsim": Quirks(),
    "corrected": Quirks(False, False, False, False, False, False, False, False),
}
"""The switch ``parity``: numbers to compare with published ones, or numbers that mean what they say."""


@dataclass(frozen=True)
class ComfortBounds:
    """Strict bounds of nuPlan's comfort metric, and those of the two-frame comparison (root mean squares)."""

    acceleration_high: float = 2.40
    acceleration_low: float = -4.05
    lateral_acceleration: float = 4.89
    jerk: float = 8.37
    longitudinal_jerk: float = 4.13
    yaw_rate: float = 0.95
    yaw_acceleration: float = 1.93
    two_frame_acceleration: float = 0.7
    two_frame_jerk: float = 0.5
    two_frame_yaw_rate: float = 0.1
    two_frame_yaw_acceleration: float = 0.1


@dataclass(frozen=True)
class PdmConfig:
    """A version of the score.

    `parity` names an entry of PARITY. A result without `version` and `parity` beside it is no PDM score.
    """

    version: Version = "v1.1"
    parity: Literal["navsim", "corrected"] = "navsim"
    steps: int = 40
    step_s: float = 0.1
    stopped_mps: float = 0.05
    """Ego or object at most this fast stands (collisions)."""
    ttc_stopped_mps: float = 0.005
    """An ego slower than this has no time to collision."""
    ttc_steps: tuple[int, ...] = (0, 3, 6, 9)
    ahead_deg: float = 30.0
    behind_deg: float = 150.0
    direction_window_s: float = 1.0
    direction_half_m: float = 2.0
    direction_zero_m: float = 6.0
    progress_m: float = 5.0
    """Where nobody gets further than this, everybody's progress is 1 (0.1 inside PDM-Closed)."""
    lane_keeping_m: float = 0.5
    lane_keeping_s: float = 2.0
    direction_multiplies: bool | None = None
    """Whether DDC is a factor: None as the version has it (v1.1 no, v2 yes); PDM-Closed's own scorer: yes."""
    road_tolerance_m: float = 0.0
    """How far a corner may leave the road unpunished (nuPlan's closed-loop score: 0.3)."""
    traffic_beyond: bool | None = None
    """Whether the last steps look ahead into traffic beyond the horizon: None as the version has it (v1.1 yes, v2 no);
    False for drives that end where their traffic does."""
    comfort: ComfortBounds = field(default_factory=ComfortBounds)

    def __post_init__(self) -> None:
        if self.version not in ("v1.1", "v2-fixed", "v2-legacy"):
            raise ValueError(f"version {self.version!r} is not v1.1, v2-fixed or v2-legacy")
        if self.parity not in PARITY:
            raise ValueError(f"parity {self.parity!r} is not one of {tuple(PARITY)}")
        if self.steps < 3 or self.step_s <= 0 or not self.ttc_steps or min(self.ttc_steps) < 0:
            raise ValueError(f"at least 3 steps of positive length and one step of look-ahead: {self}")

    @property
    def second(self) -> bool:
        """Whether this is the extended score (EPDMS)."""
        return self.version != "v1.1"

    @property
    def quirks(self) -> Quirks:
        return PARITY[self.parity]

    @property
    def ttc_last(self) -> int:
        """Last step at which the time to collision is judged: v2 needs no traffic beyond its horizon."""
        return self.steps if self.looks_beyond else max(self.steps - max(self.ttc_steps), 0)

    @property
    def looks_beyond(self) -> bool:
        return not self.second if self.traffic_beyond is None else self.traffic_beyond

    @property
    def traffic_steps(self) -> int:
        """Instants of traffic that a scene must bring: 4.9 s for v1.1, 4 s for v2, both with the first."""
        return self.steps + 1 + (max(self.ttc_steps) if self.looks_beyond else 0)

    @property
    def direction_is_factor(self) -> bool:
        return self.second if self.direction_multiplies is None else self.direction_multiplies

    def tracker(self, vehicle: Vehicle) -> Tracker:
        """Who drives the plans of this score."""
        bicycle = BicycleConfig(step_s=self.step_s)
        return Tracker(vehicle, TrackerConfig(jerk_is_acceleration=self.quirks.jerk_is_acceleration), bicycle)

    def label(self) -> str:
        """Name for tables and files, as ``EPDMS v2-fixed (navsim)``."""
        spared = f", {self.road_tolerance_m:g} m off the road are spared" if self.road_tolerance_m else ""
        return f"{'EPDMS' if self.second else 'PDMS'} {self.version} ({self.parity}{spared})"
