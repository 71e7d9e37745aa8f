"""Scenes as they were driven: what the page, the pictures and the videos of the closed loop show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from drive.errors import UserError
from drive.rollouts import infractions
from drive.rollouts.rollout import Rollout
from drive.rollouts.run_folder import RunFolder
from drive.samples.scene import HEADING, Actors, Scene, X, Y
from drive.view.replay_map import ReplayMap, replay_map

KINDS = ("failed", *infractions.KINDS, "other contact")
"""What can go wrong with a drive, gravest first: `wrong` counts them. "collision" is one by the ego's own fault."""


@dataclass(frozen=True)
class Replay:
    """One scene with the drives of all planners in it.

    Attributes:
        name: of the scene.
        drives: one a planner that drove (or failed) here, in the planners' order.
        scene: None where it cannot be made again; `missing` says why, and map, route, signals and recording are absent.
    """

    name: str
    drives: tuple[Rollout, ...]
    scene: Scene | None
    missing: str = ""

    @property
    def steps(self) -> int:
        """Instants after the start of the longest drive."""
        return max((len(drive.ego) - 1 for drive in self.drives if len(drive.ego)), default=0)

    def places(self) -> np.ndarray:
        """Places float64 [P, 2] of all drives and, as far as they last, of the recording."""
        parts = [drive.ego[:, [X, Y]] for drive in self.drives]
        if (recorded := self.recorded()) is not None:
            parts.append(recorded[:, :2])
        return np.concatenate([*parts, np.zeros((0, 2))])

    def recorded(self) -> np.ndarray | None:
        """x, y, heading float64 [N, 3] of the recorded ego from the start on, up to where its poses end or the longest
        drive does."""
        if self.scene is None:
            return None
        times = slice(self.scene.now, self.scene.now + self.steps + 1)
        valid = self.scene.ego_valid[times]
        last = len(valid) if valid.all() else int(np.argmin(valid))
        return np.asarray(self.scene.ego[times][:last][:, [X, Y, HEADING]])

    def actors(self) -> Actors:
        """The others as recorded, from the start to the longest drive's end; without a scene, as they moved in it."""
        if self.scene is None:
            longest = max(self.drives, key=lambda drive: len(drive.ego))
            return longest.actors
        times = slice(self.scene.now, self.scene.now + self.steps + 1)
        a = self.scene.actors
        return Actors(a.box[:, times], a.velocity[:, times], a.valid[:, times], a.kind, a.token, a.ground_z[:, times])

    def map(self) -> ReplayMap:
        """The map around the drives; empty without a scene or drives."""
        places = self.places()
        return replay_map(self.scene, places) if self.scene is not None and len(places) else ReplayMap()


def wrong(drive: Rollout) -> tuple[int, ...]:
    """How often each of KINDS happened in a drive: drives sort by it, gravest first."""
    count = dict.fromkeys(KINDS, 0)
    count["failed"] = int(drive.failed)
    for found in drive.infractions:
        count[found.kind if found.at_fault else "other contact"] += 1
    return tuple(count.values())


def replays(run: RunFolder, names: Sequence[str] = (), planners: Sequence[str] = ()) -> Iterator[Replay]:
    """The scenes of a folder (of these names), one by one, each with the drives of all planners (or these).

    Raises:
        UserError: a name or a planner that the folder does not have.
    """
    known = run.scenes
    for name in names:
        if name not in known:
            raise UserError(f"scene {name}", f"nobody drove in it in {run.path}", _choose(known))
    for planner in planners:
        if planner not in run.drives:
            raise UserError(f"planner {planner}", f"is none of {run.path}", _choose(list(run.drives)))
    of_planner = [{drive.scene: drive for drive in run.drives[name]} for name in planners or run.drives]
    for name in names or known:
        drives = tuple(own[name] for own in of_planner if name in own)
        scene, missing = None, ""
        try:
            scene = run.load(name)
        except UserError as error:
            missing = f"{error.what}; {error.mend}"
        yield Replay(name, drives, scene, missing)


def _choose(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"choose one of {shown}" if names else "simulate first"
