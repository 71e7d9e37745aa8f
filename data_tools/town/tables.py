"""The 13 tables of nuScenes v1.0: fixed rows, tokens, and how the scenes' rows are put together."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]

CATEGORIES = (
    "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.wheelchair", "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.construction_worker",
    "animal", "vehicle.car", "vehicle.motorcycle", "vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid",
    "vehicle.truck", "vehicle.construction", "vehicle.emergency.ambulance", "vehicle.emergency.police",
    "vehicle.trailer", "movable_object.barrier", "movable_object.trafficcone", "movable_object.pushable_pullable",
    "movable_object.debris", "static_object.bicycle_rack",
)  # fmt: skip
ATTRIBUTES = (
    "vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "cycle.without_rider",
    "pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving",
)  # fmt: skip
VISIBILITY = (("1", "v0-40"), ("2", "v40-60"), ("3", "v60-80"), ("4", "v80-100"))
# Rows that a scene produces, in this order of tables.
SCENE_TABLES = (
    "calibrated_sensor", "ego_pose", "log", "scene", "sample", "sample_data", "instance", "sample_annotation",
)  # fmt: skip


def token(*parts: object) -> str:
    """32 hexadecimal characters that depend on nothing but `parts`."""
    return hashlib.md5("/".join(str(part) for part in parts).encode(), usedforsecurity=False).hexdigest()


def fixed_tables(channels: dict[str, str]) -> dict[str, list[Row]]:
    """category, attribute, visibility and sensor; `channels` maps channel to modality."""
    return {
        "category": [
            {"token": token("category", name), "name": name, "description": "", "index": index + 1}
            for index, name in enumerate(CATEGORIES)
        ],
        "attribute": [{"token": token("attribute", name), "name": name, "description": ""} for name in ATTRIBUTES],
        "visibility": [
            {"token": key, "level": level, "description": f"visibility of whole object is between {level[1:]}%"}
            for key, level in VISIBILITY
        ],
        "sensor": [
            {"token": token("sensor", channel), "channel": channel, "modality": modality}
            for channel, modality in channels.items()
        ],
    }


def write_json(path: Path, value: object) -> None:
    """One JSON file, compact, the same bytes for the same value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n", encoding="ascii")


def link(rows: list[Row]) -> None:
    """Fill `prev` and `next` of consecutive rows with each other's tokens, '' at the ends."""
    for before, row, after in zip([None, *rows[:-1]], rows, [*rows[1:], None], strict=True):
        row["prev"] = before["token"] if before else ""
        row["next"] = after["token"] if after else ""


def chain_annotations(notes: dict[int, dict[int, Row]], categories: list[str]) -> tuple[list[Row], list[Row]]:
    """Instances and chained annotations from `notes` (actor -> key frame -> annotation).

    A thing without lidar points is kept while it has some in the key frame before or after.
    """
    instances, annotations = [], []
    for actor in sorted(notes):
        seen = {frame for frame, note in notes[actor].items() if note["num_lidar_pts"] > 0}
        kept = [note for frame, note in sorted(notes[actor].items()) if seen & {frame - 1, frame, frame + 1}]
        if kept:
            link(kept)
            instances.append(
                {"token": kept[0]["instance_token"], "category_token": token("category", categories[actor]),
                 "nbr_annotations": len(kept), "first_annotation_token": kept[0]["token"],
                 "last_annotation_token": kept[-1]["token"]}
            )  # fmt: skip
            annotations += kept
    return instances, annotations
