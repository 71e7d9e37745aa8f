"""Which scenes to drive in."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal

import numpy as np

from drive.samples.route import COMMANDS, command
from drive.samples.scene import Scene, X, Y

Command = Literal["left", "straight", "right", "unknown"]


@dataclass(frozen=True)
class SceneFilter:
    """What a scene must have. The defaults keep every scene."""

    names: str = "*"
    """Pattern of scene names (<log>@<tenths>)."""
    least_way_m: float = 0.0
    """The recorded drive is at least this long: leaves out scenes in which it stands."""
    least_seconds: float = 0.0
    """The scene goes on for at least so long after its start."""
    commands: tuple[Command, ...] = ()
    """Where the route leads at the start; () = anywhere."""
    with_route: bool = False
    """Leave out scenes without a route."""
    with_road: bool = False
    """Leave out scenes whose map does not say where the road is."""
    least_actors: int = 0
    """Others that are there at the start."""

    def refuses(self, scene: Scene) -> str:
        """Why a scene is left out; "" where it is kept."""
        way = scene.ego[scene.now :, [X, Y]][scene.ego_valid[scene.now :]]
        driven = float(np.linalg.norm(np.diff(way, axis=0), axis=1).sum())
        said = COMMANDS[command(scene.route, scene.ego[scene.now, [X, Y]])]
        seconds = scene.steps_ahead / 10
        there = int(scene.actors.valid[:, scene.now].sum())
        reasons = (
            (not fnmatch(scene.name, self.names), "name"),
            (driven < self.least_way_m, f"drives {driven:.1f} m"),
            (seconds < self.least_seconds, f"lasts {seconds:.1f} s"),
            (bool(self.commands) and said not in self.commands, f"command {said}"),
            (self.with_route and scene.route is None, "no route"),
            (self.with_road and scene.map.drivable_from == "nothing", "no road in the map"),
            (there < self.least_actors, f"{there} actors"),
        )
        return "; ".join(why for refused, why in reasons if refused)
