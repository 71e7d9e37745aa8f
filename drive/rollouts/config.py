"""How a drive is simulated, and what ends it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from drive.dynamics.idm import IdmParameters

ActorMode = Literal["log", "idm", "idm_behind"]
Tracking = Literal["lqr", "perfect"]


@dataclass(frozen=True)
class ActorConfig:
    """What the others do.

    `mode`: "log" repeats the recording; "idm" drives every vehicle and cyclist that moved at least `least_way_m` along
    its own recorded path, behind whoever is in its way; "idm_behind" does that for those that start behind the ego
    alone (more than `behind_m` behind it, less than `beside_m` aside), the others repeat the recording: that takes away
    those who would drive into an ego which is slower than the recorded one, and leaves scripted leaders alone
    (MetaDrive's rule and numbers). Everybody else repeats the recording in all modes.

    IDM numbers are nuPlan's. `desired_speed_mps` None: each actor's own fastest recorded speed. With
    `never_ahead_of_log` nobody gets further along its path than it was recorded to be at that time: who is free repeats
    the recording, so that nobody runs a light at which the recording waited.
    """

    mode: ActorMode = "log"
    idm: IdmParameters = field(
        default_factory=lambda: IdmParameters(
            headway_s=1.5, standstill_gap_m=1.0, acceleration_mps2=1.0, comfortable_braking_mps2=2.0, exponent=4.0
        )
    )
    desired_speed_mps: float | None = None
    never_ahead_of_log: bool = True
    least_way_m: float = 5.0
    behind_m: float = 1.0
    beside_m: float = 15.0


@dataclass(frozen=True)
class SimulationConfig:
    """A simulated drive.

    `replan_s`: a plan is asked for this often and held in between. `latency_s`: a plan comes into force this long after
    the instant that it was made for; the first one of a drive at once. `time_limit_s`: of one call of the planner; None
    = no limit. `longest_s`: of a drive; None = to the end of the log. `tracking` "perfect" puts the ego where the plan
    says (to debug planners: it hides what no vehicle could do).

    A drive ends with the log, with an at-fault collision, `off_road_s` seconds in a row off the road, more than
    `off_route_m` from its route's centre line, or when its planner fails.
    """

    replan_s: float = 0.5
    latency_s: float = 0.0
    time_limit_s: float | None = 60.0
    longest_s: float | None = None
    tracking: Tracking = "lqr"
    actors: ActorConfig = field(default_factory=ActorConfig)
    off_road_tolerance_m: float = 0.3
    """nuPlan's: a corner this far off the drivable area is not yet an infraction."""
    wrong_way_m: float = 2.0
    """Way against the lanes in a second that is an infraction (nuPlan's; 6 m are its worse class)."""
    standing_s: float = 5.0
    standing_mps: float = 0.1
    standing_way_m: float = 5.0
    """Standing for so long, below so much, is an infraction if the log's driver went so far meanwhile [ours]. In a jam
    and at lights that the log does not have the log's driver stands too."""
    least_progress: float = 0.2
    """Share of the log's driver's way along the route; less is no progress (nuPlan's), where that was `standing_way_m`
    at least."""
    off_road_s: float = 2.0
    off_route_m: float = 10.0
    end_at_collision: bool = True

    def __post_init__(self) -> None:
        if not (0.1 <= self.replan_s < math.inf and 0 <= self.latency_s < math.inf):
            raise ValueError(f"replan_s must be at least 0.1 and latency_s at least 0, got {self}")
