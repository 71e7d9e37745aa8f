"""A whole run as one frozen dataclass. A recipe in ``configs/`` is a function that returns one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drive.boxes.camera_detector import CameraConfig
from drive.boxes.detector import PillarsConfig, SWFormerConfig
from drive.boxes.voxel_detector import VoxelConfig
from drive.errors import UserError
from drive.plans.learned import PlannerConfig
from drive.samples.classes import ClassMap
from drive.samples.config import DataConfig
from drive.samples.plan_sample_data import PlanDataConfig
from drive.stt_run import SttTracking
from drive.tracks.ab3dmot import Ab3dmotConfig
from drive.tracks.center_greedy import CenterGreedyConfig
from drive.tracks.history_data import TrackDataConfig
from drive.tracks.simple_track import SimpleTrackConfig
from drive.tracks.stt_config import SttConfig
from drive.train.config import TrainConfig

TrackerConfig = Ab3dmotConfig | CenterGreedyConfig | SimpleTrackConfig | SttTracking
"""Every tracker's configuration; ``build()`` makes the tracker."""


@dataclass(frozen=True)
class Experiment:
    """What is trained, on what, and how. Everything that changes a run's numbers is in here."""

    name: str
    """Names the run's folder."""
    model: SWFormerConfig | PillarsConfig | VoxelConfig | CameraConfig | SttConfig | PlannerConfig
    data: DataConfig | TrackDataConfig | PlanDataConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0
    """Seeds the weights, the order of the samples and every augmentation."""

    def to_json(self) -> str:
        """The resolved configuration, sorted, as stored in a run's ``config.json``."""
        return _to_json(self)

    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of :meth:`to_json`: equal hashes mean equal configurations."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @staticmethod
    def read(path: Path) -> Experiment:
        """The experiment of a run's ``config.json``.

        Raises:
            UserError: the file is missing or broken, or names a field or class that this version does not have.
        """
        experiment: Experiment = _typed(_read_json(path, "drive train"), Experiment, str(path))
        return experiment


@dataclass(frozen=True)
class TrackExperiment:
    """What follows objects over frames, and which labels it is scored against."""

    name: str
    """Names the run's folder."""
    tracker: TrackerConfig
    classes: ClassMap
    """Categories of the logs' labels to the tracker's classes, for scoring. Its names are the tracker's."""
    min_score: float | None = None
    """Detections below it never reach the tracker; None takes all of them."""

    def to_json(self) -> str:
        """The resolved configuration, sorted, as stored in a run's ``config.json``."""
        return _to_json(self)

    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of :meth:`to_json`: equal hashes mean equal configurations."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @staticmethod
    def read(path: Path) -> TrackExperiment:
        """The experiment of a tracking run's ``config.json``. Raises UserError as :meth:`Experiment.read` does."""
        experiment: TrackExperiment = _typed(_read_json(path, "drive track"), TrackExperiment, str(path))
        return experiment


def _to_json(experiment: Experiment | TrackExperiment) -> str:
    # Once there and back: a float field that a recipe wrote as 20 is 20.0 here and in the file that is read again.
    same = _typed(_plain(experiment), type(experiment), experiment.name)
    return json.dumps(_plain(same), indent=2, sort_keys=True) + "\n"


def _read_json(path: Path, verb: str) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise UserError(path, "cannot be read", f"name a folder that `{verb}` made") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}", f"not JSON ({error.msg})", "restore the file") from error


def _plain(value: Any) -> Any:
    """Dataclasses, tuples, mappings and paths as what JSON has; a dataclass names its class."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _typed(value: Any, wanted: Any, place: str) -> Any:
    """The reverse of :func:`_plain`, led by the type hints: only classes that the hints name are ever made."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        choices = [a for a in arguments if a is not type(None)]
        if isinstance(value, dict) and "class" in value:
            choices = [c for c in choices if getattr(c, "__name__", "") == value["class"]]
        if not choices:
            raise UserError(place, f"unknown class {value['class']!r}", "use the version that wrote the run")
        return _typed(value, choices[0], place)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        if not isinstance(value, dict):
            raise UserError(place, f"expected the fields of {wanted.__name__}", "restore the file")
        hints = typing.get_type_hints(wanted)
        unknown = sorted(set(value) - {f.name for f in dataclasses.fields(wanted)} - {"class"})
        if unknown:
            raise UserError(
                place, f"{wanted.__name__} has no field {unknown[0]!r}", "use the version that wrote the run"
            )
        return wanted(**{k: _typed(v, hints[k], f"{place}: {k}") for k, v in value.items() if k != "class"})
    if origin is tuple:
        inner = arguments[0] if len(arguments) == 2 and arguments[1] is Ellipsis else None
        return tuple(_typed(v, inner or arguments[i], place) for i, v in enumerate(value))
    if origin is list:
        return [_typed(v, arguments[0], place) for v in value]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {k: _typed(v, arguments[1], place) for k, v in value.items()}
    if wanted is Path:
        return Path(value)
    if wanted is float:
        return float(value)
    return value
