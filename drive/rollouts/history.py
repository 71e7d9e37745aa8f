"""What happened so far in S drives, recorded before the start and simulated after it: what planners are shown."""

from __future__ import annotations

import numpy as np

from drive.plans.planner import HISTORY, Observation
from drive.rollouts.state import State, World
from drive.samples.route import command
from drive.samples.scene import Actors, Lights, X, Y


class History:
    """Arrays of H - 1 recorded instants and up to N + 1 simulated ones; step k stands at column H - 1 + k."""

    def __init__(self, world: World) -> None:
        self.world = world
        count, most = world.kind.shape
        times = HISTORY + int(world.steps.max())
        recording = world.recording
        past = slice(0, HISTORY)
        self.ego, self.ego_valid = np.zeros((count, times, 11)), np.zeros((count, times), bool)
        self.box, self.velocity = np.zeros((count, most, times, 5)), np.zeros((count, most, times, 2))
        self.valid = np.zeros((count, most, times), bool)
        self.box[:, :, past], self.velocity[:, :, past] = recording.box[:, :, past], recording.velocity[:, :, past]
        self.valid[:, :, past] = recording.valid[:, :, past]
        for s, scene in enumerate(world.scenes):
            have = min(scene.now, HISTORY - 1) + 1
            rows = slice(scene.now + 1 - have, scene.now + 1)
            self.ego[s, HISTORY - have : HISTORY] = scene.ego[rows]
            self.ego_valid[s, HISTORY - have : HISTORY] = scene.ego_valid[rows]

    def add(self, state: State) -> None:
        """Take in a simulated instant."""
        at = HISTORY - 1 + state.step
        self.ego[:, at], self.ego_valid[:, at] = state.ego, True
        self.box[:, :, at], self.velocity[:, :, at], self.valid[:, :, at] = state.box, state.velocity, state.valid

    def observe(self, s: int, step: int) -> Observation:
        """What is known in drive s at a step. Its arrays cannot be written to."""
        scene = self.world.scenes[s]
        times = slice(step, step + HISTORY)
        count = len(scene.actors)
        seen = self.valid[s, :count, times].any(axis=1)
        token = tuple(np.asarray(scene.actors.token, object)[seen].tolist())
        rows = np.flatnonzero(seen)
        actors = Actors(
            _sealed(self.box[s, rows, times]), _sealed(self.velocity[s, rows, times]),
            _sealed(self.valid[s, rows, times]), _sealed(scene.actors.kind[rows]), token,
            _sealed(self._ground_z(s, rows, times)),
        )  # fmt: skip
        ego = self.ego[s, times]
        return Observation(
            scene=scene.name,
            timestamp_ns=int(scene.timestamps_ns[scene.now + step]),
            step=step,
            ego=_sealed(ego.copy()),
            ego_valid=_sealed(self.ego_valid[s, times].copy()),
            vehicle=scene.vehicle,
            actors=actors,
            lights=self._lights(s, step),
            map=scene.map,
            route=scene.route,
            command=command(scene.route, ego[-1, [X, Y]]),
        )

    def _ground_z(self, s: int, rows: np.ndarray, times: slice) -> np.ndarray:
        """Heights as recorded at those times (nobody drives off a hill here)."""
        scene = self.world.scenes[s]
        at = np.arange(times.start, times.stop) - (HISTORY - 1) + scene.now
        inside = (at >= 0) & (at < len(scene.timestamps_ns))
        z = scene.actors.ground_z[rows][:, np.clip(at, 0, len(scene.timestamps_ns) - 1)]
        return np.where(inside, z, 0.0)

    def _lights(self, s: int, step: int) -> Lights:
        scene = self.world.scenes[s]
        at = scene.now + step + np.arange(1 - HISTORY, 1)
        inside = (at >= 0) & (at < len(scene.timestamps_ns))
        state = np.where(inside[:, None], scene.lights.state[np.clip(at, 0, len(scene.timestamps_ns) - 1)], 0)
        return Lights(_sealed(state.astype(np.int8)), scene.lights.lane, scene.lights.stop_xy)

    def drive(self, s: int, last: int) -> tuple[np.ndarray, Actors]:
        """ego float64 [last + 1, 11] and the others from the start to step ``last``."""
        times = slice(HISTORY - 1, HISTORY + last)
        actors = self.world.scenes[s].actors
        rows = np.arange(len(actors))
        return self.ego[s, times].copy(), Actors(
            self.box[s, rows, times].copy(), self.velocity[s, rows, times].copy(), self.valid[s, rows, times].copy(),
            actors.kind, actors.token, self._ground_z(s, rows, times),
        )  # fmt: skip


def _sealed(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
