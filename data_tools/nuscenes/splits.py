"""Which split a nuScenes scene belongs to."""

from __future__ import annotations

import json
from pathlib import Path

from drive.errors import UserError

# The official validation scenes, 150 numbers (nuscenes-devkit, utils/splits.py); trainval's others are for training.
_VAL = (
    "3 12-18 35-36 38-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-627 629-630 632-638 770-771 775 777-778"
    " 780-784 794-800 802 904-917 919-931 962-963 966-969 971-972 1059-1073"
)
_MINI_VAL = "103 916"


def _names(ranges: str) -> frozenset[str]:
    numbers: list[int] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return frozenset(f"scene-{number:04d}" for number in numbers)


def custom_splits(folder: Path) -> dict[str, list[str]]:
    """``<version>/splits.json`` (split -> scene names), which the devkit reads since 1.2; {} where absent."""
    path = folder / "splits.json"
    if not path.exists():
        return {}
    try:
        splits = json.loads(path.read_bytes())
        return {str(key): [str(name) for name in names] for key, names in splits.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(path, f"not a table of splits ({error})", "write {split: [scene names]}") from error


def split_of(scene: str, version: str, custom: dict[str, list[str]]) -> str:
    """The split of a scene: a custom one that names it, else the official one of the version."""
    for split, names in custom.items():
        if scene in names:
            return split
    if version == "v1.0-mini":
        return "mini_val" if scene in _names(_MINI_VAL) else "mini_train"
    if version == "v1.0-trainval":
        return "val" if scene in _names(_VAL) else "train"
    return "test" if version == "v1.0-test" else ""
