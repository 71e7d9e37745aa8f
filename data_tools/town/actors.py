"""The actors of a scene at any instant: where they are, how they move, what the renderer is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_tools.town.bodies import Body
from data_tools.town.traffic import History
from drive.render.scene import Actors, Primitives

EGO_REAR_AXLE = 1.3  # from the box's centre back to the ego frame's origin


@dataclass(frozen=True)
class Population:
    """All actors of a scene: the movers of `history` (mover 0 is the ego), then the `still` ones [S, 3] x y yaw.

    `bodies` has one entry an annotated actor: first the movers without the ego, then the still ones.
    """

    history: History
    bodies: tuple[Body, ...]
    still: np.ndarray

    @property
    def parts(self) -> Primitives:
        return Primitives.concatenate([body.parts for body in self.bodies])

    def poses(self, time: float) -> np.ndarray:
        """x, y, yaw [N, 3] of every annotated actor."""
        return np.concatenate([self.history.poses_at(time)[1:], self.still])

    def motion(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Velocities [N, 2] and yaw rates [N], by central differences over 40 ms."""
        h = 0.02
        before, after = self.history.poses_at(time - h)[1:], self.history.poses_at(time + h)[1:]
        still = np.zeros((len(self.still), 3))
        turn = np.arctan2(np.sin(after[:, 2] - before[:, 2]), np.cos(after[:, 2] - before[:, 2]))
        rate = np.concatenate([np.column_stack([after[:, :2] - before[:, :2], turn]), still]) / (2 * h)
        return rate[:, :2], rate[:, 2]

    def over_time(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Poses [T, 1 + N, 3] of the ego's box and every annotated actor, and their velocities [T, 1 + N, 2], at once.

        As `poses` and `motion` have them.
        """
        h, fleet = 0.02, self.history.fleet
        along = np.array([[self.history.along_at(float(t) + d)[0] for t in times] for d in (-h, 0.0, h)])
        before, now, after = fleet.pose(along.reshape(3, len(times), len(fleet.movers)))
        still = np.broadcast_to(self.still, (len(times), *self.still.shape))
        velocity = np.zeros((len(times), now.shape[1] + len(self.still), 2))
        velocity[:, : now.shape[1]] = (after - before)[..., :2] / (2 * h)
        return np.concatenate([now, still], axis=1), velocity

    def speeds(self, time: float) -> np.ndarray:
        return np.concatenate([self.history.along_at(time)[1][1:], np.zeros(len(self.still))])

    def ego_pose(self, time: float) -> np.ndarray:
        """x, y, yaw of the ego frame: origin on the ground under the rear axle."""
        return ego_from_centre(self.history.poses_at(time, 1)[0])


def ego_from_centre(pose: np.ndarray) -> np.ndarray:
    x, y, yaw = pose
    return np.array([x - EGO_REAR_AXLE * np.cos(yaw), y - EGO_REAR_AXLE * np.sin(yaw), yaw])


class ActorPicker:
    """Builds the renderer's `Actors` at an instant from the actors near a point."""

    def __init__(self, population: Population) -> None:
        self.population = population
        self.parts = population.parts
        self.count = np.array([len(body.parts) for body in population.bodies])
        self.owner = np.repeat(np.arange(len(self.count)), self.count)

    def at(self, time: float, centre: np.ndarray, radius: float) -> tuple[Actors, np.ndarray]:
        """Actors within `radius` of `centre` [2], and their indices [n] in the population."""
        poses = self.population.poses(time)
        velocity, turn = self.population.motion(time)
        chosen = np.flatnonzero(np.hypot(*(poses[:, :2] - centre).T) < radius)
        rows = np.flatnonzero(np.isin(self.owner, chosen))
        p = self.parts
        parts = Primitives(
            p.kind[rows], p.centre[rows], p.half_size[rows], p.yaw[rows], p.material[rows], p.colour[rows],
            p.texture[rows],
        )  # fmt: skip
        pose = np.column_stack([poses[chosen, :2], np.zeros(len(chosen)), poses[chosen, 2]])
        offsets = np.concatenate([[0], np.cumsum(self.count[chosen])])
        return Actors(pose, velocity[chosen], turn[chosen], offsets, parts), chosen
