"""Labels of points for a written town: nuScenes-lidarseg and Panoptic nuScenes beside its tables.

``python -m data_tools.town.lidarseg TOWN``. A point of a key frame's LIDAR_TOP sweep that lies in an annotated box has
the box's class and object; any other is drivable surface below 0.3 m above the ground of the ego, else manmade.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.town.tables import token, write_json
from drive.errors import UserError
from drive.geometry.box import points_in_box_mask
from drive.geometry.rigid import from_translation_rotation, transform_points, yaw_of_quaternion

# Classes that only points have, with their numbers in nuScenes' own category table.
BACKGROUND = {"noise": 0, "flat.driveable_surface": 24, "static.manmade": 28}
GROUND_M = 0.3
PANOPTIC_FACTOR = 1000


def add_point_labels(raw: Path) -> int:
    """Write tables lidarseg and panoptic and their files into a town; returns the number of labelled sweeps.

    Raises:
        UserError: no town there, or labels are there already.
    """
    folders = sorted(path.parent for path in raw.glob("v1.0-*/sample_data.json"))
    if len(folders) != 1:
        raise UserError(raw, f"holds {len(folders)} versions of tables", "give the folder of one town")
    folder = folders[0]
    if (folder / "lidarseg.json").exists():
        raise UserError(folder / "lidarseg.json", "is there already", "the town is labelled")

    def table(name: str) -> dict[str, dict[str, Any]]:
        return {record["token"]: record for record in json.loads((folder / f"{name}.json").read_bytes())}

    categories, instances, poses = table("category"), table("instance"), table("ego_pose")
    calibrated, annotations = table("calibrated_sensor"), table("sample_annotation")
    index = {record["token"]: int(record["index"]) for record in categories.values()}
    by_sample: dict[str, list[dict[str, Any]]] = {}
    for note in annotations.values():
        by_sample.setdefault(note["sample_token"], []).append(note)
    rows: dict[str, list[dict[str, Any]]] = {"lidarseg": [], "panoptic": []}
    for sweep in table("sample_data").values():
        if not sweep["is_key_frame"] or "/LIDAR_TOP/" not in sweep["filename"]:
            continue
        pose, mount = poses[sweep["ego_pose_token"]], calibrated[sweep["calibrated_sensor_token"]]
        global_from_lidar = from_translation_rotation(pose["translation"], pose["rotation"]) @ (
            from_translation_rotation(mount["translation"], mount["rotation"])
        )
        cloud = np.fromfile(raw / sweep["filename"], "<f4").reshape(-1, 5)
        points = transform_points(global_from_lidar, cloud[:, :3].astype(np.float64))
        panoptic = _label(points, by_sample.get(sweep["sample_token"], []), instances, index)
        files = {
            "lidarseg": (f"{sweep['token']}_lidarseg.bin", (panoptic // PANOPTIC_FACTOR).astype(np.uint8).tobytes()),
            "panoptic": (f"{sweep['token']}_panoptic.npz", _npz(panoptic)),
        }
        for name, (file, data) in files.items():
            path = raw / name / folder.name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            rows[name].append(
                {"token": token(sweep["token"], name), "sample_data_token": sweep["token"],
                 "filename": path.relative_to(raw).as_posix()}
            )  # fmt: skip
    extra = [
        {"token": token("category", name), "name": name, "description": "", "index": number}
        for name, number in BACKGROUND.items()
    ]
    write_json(folder / "category.json", [*categories.values(), *extra])
    for name, records in rows.items():
        write_json(folder / f"{name}.json", records)
    return len(rows["lidarseg"])


def _label(
    points: np.ndarray, notes: list[dict[str, Any]], instances: dict[str, dict[str, Any]], index: dict[str, int]
) -> np.ndarray:
    """Class * 1000 + number of the object in this sweep (from 1; 0 = background), uint16 [P]; points are global."""
    ground = points[:, 2] < GROUND_M
    names = np.where(ground, BACKGROUND["flat.driveable_surface"], BACKGROUND["static.manmade"])
    labels = names.astype(np.uint16) * np.uint16(PANOPTIC_FACTOR)
    for number, note in enumerate(notes, 1):
        width, length, height = note["size"]
        yaw = float(yaw_of_quaternion(np.array(note["rotation"])[None])[0])
        box = np.array([[*note["translation"], length, width, height, yaw]])
        inside = points_in_box_mask(points, box)[0]
        labels[inside] = index[instances[note["instance_token"]]["category_token"]] * PANOPTIC_FACTOR + number
    return labels


def _npz(labels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, data=labels)
    return buffer.getvalue()


def main(argv: Sequence[str]) -> int:
    """Exit code 0, or 2 with one line for a UserError."""
    if len(argv) != 1:
        print("usage: python -m data_tools.town.lidarseg TOWN", file=sys.stderr)
        return 2
    try:
        print(f"{argv[0]}: {add_point_labels(Path(argv[0]))} sweeps labelled")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
