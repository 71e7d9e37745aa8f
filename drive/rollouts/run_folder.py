"""The folder that ``drive simulate`` leaves: which planners drove where, and the scenes that they drove in again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from drive.dynamics.vehicle import Vehicle
from drive.errors import UserError
from drive.logs.store import Log
from drive.rollouts.rollout import Rollout
from drive.rollouts.rollout_file import read_rollouts
from drive.samples.scene import Scene
from drive.samples.scene_load import SceneConfig, load_scene

ROLLOUTS, SUMMARY = "rollouts.arrow", "infractions.json"
_AGAIN = "simulate again"


@dataclass(frozen=True)
class RunFolder:
    """A read folder.

    Attributes:
        path: the folder.
        document: all of infractions.json.
        scene: how its scenes were made.
        logs: folder of each log, as it was when the drives were made.
        drives: each planner's, in the file's order; planners in the order in which they were named.
    """

    path: Path
    document: dict[str, Any]
    scene: SceneConfig
    logs: dict[str, Path]
    drives: dict[str, list[Rollout]]

    @property
    def scenes(self) -> list[str]:
        """Names of all scenes, each once, in order of name."""
        return sorted({rollout.scene for rollouts in self.drives.values() for rollout in rollouts})

    def moved(self, logs: Iterable[Path]) -> RunFolder:
        """The same with the logs' folders looked for among others (the logs were moved since)."""
        return replace(self, logs=self.logs | {path.name: path for path in logs})

    def load(self, name: str) -> Scene:
        """One of its scenes again, from its log.

        Raises:
            UserError: the log is no longer there or cannot be read, the scene could not be made in the first place.
        """
        log, _, tenths = name.rpartition("@")
        path = self.logs.get(log)
        if path is None or not path.is_dir() or not tenths.isdigit():
            raise UserError(name, f"its log {path or log} is not there", "name the logs' folder with --logs")
        return load_scene(Log.open(path), int(tenths) / 10, self.scene)


def is_run_folder(path: Path) -> bool:
    """Whether ``drive simulate`` wrote there."""
    return (path / SUMMARY).is_file()


def scene_entry(config: SceneConfig, logs: Mapping[str, Path]) -> dict[str, Any]:
    """What infractions.json must hold so that scenes can be made again."""
    return {"scene": asdict(config), "logs": {name: str(path.resolve()) for name, path in sorted(logs.items())}}


def read_run_folder(path: Path) -> RunFolder:
    """A folder that ``drive simulate`` wrote.

    Raises:
        UserError: it is none, or a file in it is damaged or older than scenes can be made again from.
    """
    summary = path / SUMMARY
    try:
        document = json.loads(summary.read_text(encoding="utf-8"))
        entry = dict(document["scene"])
        if entry.get("vehicle") is not None:
            entry["vehicle"] = Vehicle(**entry["vehicle"])
        config = SceneConfig(**entry)
        logs = {str(name): Path(place) for name, place in document["logs"].items()}
        planners = [str(name) for name in document["planners"]]
    except (OSError, ValueError) as error:
        raise UserError(summary, f"cannot be read ({error})", "name a folder that `drive simulate` wrote") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(summary, f"does not name what scenes are made of ({error})", _AGAIN) from error
    return RunFolder(path, document, config, logs, {name: read_rollouts(path / name / ROLLOUTS) for name in planners})
