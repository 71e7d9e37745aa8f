"""What goes wrong in a drive: contacts and whose fault they are, the road and the route left, red lights run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive.plans.corridor import boxes_touch, project
from drive.rollouts.config import SimulationConfig
from drive.rollouts.ground import NOTHING, in_several_lanes, off_road
from drive.rollouts.state import State, World
from drive.rollouts.way import logged_progress, logged_way, metres_against, runs, standing
from drive.samples.scene import ACTOR_KINDS, HEADING, STEP_S, VX, X, Y

CONTACTS = (
    "none",
    "at the start",
    "appeared on the ego",
    "ego standing",
    "other standing",
    "from behind",
    "front",
    "side",
)
NONE, AT_START, APPEARED, EGO_STANDING, OTHER_STANDING, FROM_BEHIND, FRONT, SIDE = range(8)
STANDING_MPS, BEHIND_RAD = 0.05, np.deg2rad(150.0)
WINDOW = 10
"""Steps over which way against the lanes is summed (nuPlan: a second)."""


KINDS = ("collision", "off_road", "wrong_way", "red_light", "off_route", "standing", "no_progress")
"""What can go wrong while a planner drives, gravest first."""


@dataclass(frozen=True)
class Infraction:
    """Something that went wrong.

    Attributes:
        kind: one of KINDS. "wrong_way": against the lanes; "standing": while the log's driver drove; "no_progress": at
            the drive's end, hardly any of the log's driver's.
        step, time_s: when it began, since the drive's start.
        x, y: where the ego's rear axle was then, in the scene; global_x, global_y the same in the log's global frame.
        at_fault: of the ego. A contact is not the ego's fault at the start, when the other one appeared where the ego
            is, when the ego stood, and when it was hit from behind; a sideways one only if the ego was in several lanes
            or off the road (the PDM score's classes).
        what: one of CONTACTS for a collision, else "".
        counterpart: token of the other one, or None; counterpart_kind: its kind.
        amount: metres off the road or the route at the worst, against the lanes in the worst second, behind the log's
            driver; metres a second between both at a contact.
        duration_s: for as long; 0 for a moment.
    """

    kind: str
    step: int
    time_s: float
    x: float
    y: float
    global_x: float
    global_y: float
    at_fault: bool
    what: str = ""
    counterpart: str | None = None
    counterpart_kind: str | None = None
    amount: float = 0.0
    duration_s: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"infraction {self.kind!r} is none of {KINDS}")


@dataclass
class Watch:
    """What has been seen of S drives so far; `look` writes one column a step.

    Attributes:
        off_road_m: float64 [S, N + 1], the ego's corner that is furthest out (signed where road edges bound the road).
        along_m, aside_m: float64 [S, N + 1] of the rear axle on the route's centre line; 0 without a route.
        contact: int8 [S, A], class of the first contact with each; contact_step, contact_mps, fault beside it.
        red_step: int64 [K], step at which the stop of each signal on the route was crossed on red, or -1.
    """

    off_road_m: np.ndarray
    along_m: np.ndarray
    aside_m: np.ndarray
    contact: np.ndarray
    contact_step: np.ndarray
    contact_mps: np.ndarray
    fault: np.ndarray
    red_step: np.ndarray

    @staticmethod
    def of(world: World) -> Watch:
        """Nothing seen yet."""
        S, A = world.kind.shape
        times = (S, int(world.steps.max()) + 1)
        return Watch(
            np.zeros(times), np.zeros(times), np.zeros(times), np.zeros((S, A), np.int8),
            np.full((S, A), -1, np.int64), np.zeros((S, A)), np.zeros((S, A), bool),
            np.full(len(world.routes.light_along), -1, np.int64),
        )  # fmt: skip

    def look(
        self, world: World, state: State, present_before: np.ndarray, active: np.ndarray, tolerance: float
    ) -> None:
        """Take in one instant of the drives that are ``active`` bool [S]; ``present_before`` bool [S, A] is who was
        there an instant earlier (all, at the start)."""
        _look(
            state.step, state.ego, state.box, state.velocity, state.valid, present_before, active, world.vehicle,
            world.ground_z, world.ground, world.routes, tolerance, self.off_road_m, self.along_m, self.aside_m,
            self.contact, self.contact_step, self.contact_mps, self.fault, self.red_step,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _look(  # type: ignore[no-untyped-def]
    step, ego, box, velocity, valid, before, active, vehicle, ground_z, ground, routes, tolerance, off_m, along_m,
    aside_m, contact, contact_step, contact_mps, fault, red_step,
):  # fmt: skip
    S, A = valid.shape
    corners = np.empty((4, 2))
    for s in range(S):
        if not active[s]:
            continue
        x, y, heading, speed = ego[s, 0], ego[s, 1], ego[s, 2], ego[s, 3]
        cos, sin = np.cos(heading), np.sin(heading)
        length, width, front, centre = vehicle[s, 0], vehicle[s, 1], vehicle[s, 2], vehicle[s, 3]
        worst = -np.inf
        for c in range(4):
            ahead = front if c < 2 else front - length
            left = 0.5 * width if c % 2 == 0 else -0.5 * width
            corners[c, 0], corners[c, 1] = x + ahead * cos - left * sin, y + ahead * sin + left * cos
            worst = max(worst, off_road(ground, s, corners[c, 0], corners[c, 1], ground_z[s, step]))
        off_m[s, step] = worst
        first, last = routes.offsets[s], routes.offsets[s + 1]
        if last - first > 1:
            at, aside = project(routes.places[first:last], routes.along[first:last], x, y)
            along_m[s, step], aside_m[s, step] = at, aside
            if step > 0:
                for k in range(routes.light_offsets[s], routes.light_offsets[s + 1]):
                    stop, was = routes.light_along[k], along_m[s, step - 1] + front
                    if red_step[k] < 0 and was < stop <= at + front and routes.light_red[k, step]:
                        red_step[k] = step
        bx, by = x + centre * cos, y + centre * sin
        for a in range(A):
            if not valid[s, a] or contact[s, a] != NONE:
                continue
            ox, oy, ol, ow, oh = box[s, a, 0], box[s, a, 1], box[s, a, 2], box[s, a, 3], box[s, a, 4]
            if not boxes_touch(bx, by, length, width, heading, ox, oy, ol, ow, oh):
                continue
            vx, vy = velocity[s, a, 0] - speed * cos, velocity[s, a, 1] - speed * sin
            contact_step[s, a], contact_mps[s, a] = step, np.hypot(vx, vy)
            if step == 0:
                contact[s, a] = AT_START
            elif not before[s, a]:
                contact[s, a] = APPEARED
            elif abs(speed) <= STANDING_MPS:
                contact[s, a] = EGO_STANDING
            elif np.hypot(velocity[s, a, 0], velocity[s, a, 1]) <= STANDING_MPS:
                contact[s, a], fault[s, a] = OTHER_STANDING, True
            elif abs(np.arctan2((oy - y) * cos - (ox - x) * sin, (ox - x) * cos + (oy - y) * sin)) > BEHIND_RAD:
                contact[s, a] = FROM_BEHIND
            elif boxes_touch(x + front * cos, y + front * sin, 0.0, width, heading, ox, oy, ol, ow, oh):
                contact[s, a], fault[s, a] = FRONT, True
            else:
                contact[s, a] = SIDE
                fault[s, a] = worst > tolerance or (
                    ground.kind[s] != NOTHING and in_several_lanes(ground, s, corners)
                )  # fmt: skip


def infractions_of(
    world: World, watch: Watch, s: int, ego: np.ndarray, last: int, config: SimulationConfig
) -> tuple[Infraction, ...]:
    """All infractions of drive s up to step ``last``, in order of time. ego float64 [N + 1, 11]."""
    scene = world.scenes[s]
    found = []

    def infraction(kind: str, step: int, at_fault: bool, **more: object) -> Infraction:
        x, y = float(ego[step, X]), float(ego[step, Y])
        gx, gy = (float(v) for v in (scene.origin_xy[0] + x, scene.origin_xy[1] + y))
        return Infraction(kind, step, round(step * STEP_S, 3), x, y, gx, gy, at_fault, **more)  # type: ignore[arg-type]

    for a in np.flatnonzero(watch.contact[s] != NONE):
        step = int(watch.contact_step[s, a])
        if step <= last:
            found.append(
                infraction(
                    "collision",
                    step,
                    bool(watch.fault[s, a]),
                    what=CONTACTS[watch.contact[s, a]],
                    counterpart=scene.actors.token[a],
                    counterpart_kind=ACTOR_KINDS[scene.actors.kind[a]],
                    amount=float(watch.contact_mps[s, a]),
                )
            )
    ahead = np.stack([np.cos(ego[: last + 1, HEADING]), np.sin(ego[: last + 1, HEADING])], axis=1)
    middle = ego[: last + 1, [X, Y]] + scene.vehicle.centre * ahead
    # A route without lanes is the recorded path: the map lacks the lanes that lead along it.
    lanes_known = scene.route is None or len(scene.route.lanes) > 0
    against = metres_against(world.ground, s, scene.map, middle, WINDOW) if lanes_known else np.zeros(last + 1)
    for kind, off, limit in (
        ("off_road", watch.off_road_m[s, : last + 1], config.off_road_tolerance_m),
        ("off_route", np.abs(watch.aside_m[s, : last + 1]), config.off_route_m),
        ("wrong_way", against, config.wrong_way_m),
    ):
        for start, end in runs(off > limit):
            worst, lasted = float(off[start:end].max()), round((end - 1 - start) * STEP_S, 3)
            found.append(infraction(kind, start, True, amount=worst, duration_s=lasted))
    for stretch in standing(
        ego[: last + 1, VX], logged_way(scene, last), config.standing_s, config.standing_mps, config.standing_way_m
    ):
        lasted = round((stretch.last - stretch.first) * STEP_S, 3)
        found.append(infraction("standing", stretch.first, True, amount=stretch.missed_m, duration_s=lasted))
    expert, own = logged_progress(scene, last), float(watch.along_m[s, last] - watch.along_m[s, 0])
    if expert >= config.standing_way_m and own < config.least_progress * expert:
        found.append(infraction("no_progress", last, True, amount=expert - own, duration_s=round(last * STEP_S, 3)))
    crossed = watch.red_step[world.routes.light_offsets[s] : world.routes.light_offsets[s + 1]]
    found += [infraction("red_light", int(step), True) for step in crossed if 0 <= step <= last]
    return tuple(sorted(found, key=lambda i: (i.step, i.kind, i.counterpart or "")))
