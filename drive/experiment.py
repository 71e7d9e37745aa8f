"""A whole run as one frozen dataclass. A recipe in ``configs/`` is a function that returns one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from drive.boxes.detector import PillarsConfig, SWFormerConfig
from drive.samples.config import DataConfig
from drive.train.config import TrainConfig


@dataclass(frozen=True)
class Experiment:
    """What is trained, on what, and how. Everything that changes a run's numbers is in here."""

    name: str
    """Names the run's folder."""
    model: SWFormerConfig | PillarsConfig
    data: DataConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0
    """Seeds the weights, the order of the samples and every augmentation."""

    def to_json(self) -> str:
        """The resolved configuration, sorted, as stored in a run's ``config.json``."""
        return json.dumps(as_plain(self), indent=2, sort_keys=True)

    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of :meth:`to_json`: equal hashes mean equal configurations."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]


def as_plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as what JSON has; a dataclass says which class it is under ``class``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: as_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **fields}
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(k): as_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
