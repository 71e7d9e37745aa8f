"""KITTI's rules of what a tracking score counts, from text columns or from logs and tracks.

AB3DMOT's program (scripts/KITTI/evaluate.py, after KITTI's own development kit): an object is ignored where it is
truncated at all (label above 0), occlusion "unknown" (above 2), or of a neighbouring class (Van of Car,
Person_sitting of Pedestrian; the tracking labels call the latter "Person", which the program does not know: such
labels do not exist for it, and a track on one is a false positive). A track that matches nothing is no false positive
where its image box is at most 25 pixels high or lies by more than half in a DontCare region. Overlaps are taken in the
rectified camera frame, in which the labels stand upright.

From logs, a track's image box is the projection of its 3D box, cut at the image's border. AB3DMOT's result files carry
the image box of the detection instead, which its detector made in the same way from a slightly different box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.box import corners, transform_boxes
from drive.geometry.rigid import transform_points
from drive.logs.store import Log
from drive.scores.clear_mot_boxes import MotBoxes
from drive.scores.image_boxes import image_rectangles
from drive.tracks.sequence import TrackSet

KITTI_TRACKING = "kitti_tracking"  # Log.dataset of what was converted from the KITTI tracking set
KITTI_MOT_CLASSES = ("car", "pedestrian", "cyclist")
NEIGHBOURS = {"van": "car", "person_sitting": "pedestrian"}
MAX_TRUNCATION, MAX_OCCLUSION, MIN_HEIGHT_PX, MAX_DONT_CARE = 0, 2, 25.0, 0.5
USUAL_IMAGE = (1242, 375)  # width and height, pixels, where a log has no images


@dataclass(frozen=True)
class KittiLabels:
    """N labelled objects, grouped by frame (those of all sequences one after another), DontCare apart.

    frame int64 [N]; track int64 [N] unique over all sequences; kind: KITTI's type, lower case, [N]; truncation,
    occlusion int64 [N]; boxes f64 [N, 9] in the level camera frame (``level_boxes``). dont_care_frame int64 [R],
    dont_care f64 [R, 4] left top right bottom, pixels.
    """

    num_frames: int
    frame: np.ndarray
    track: np.ndarray
    kind: list[str]
    truncation: np.ndarray
    occlusion: np.ndarray
    boxes: np.ndarray
    dont_care_frame: np.ndarray
    dont_care: np.ndarray


@dataclass(frozen=True)
class KittiTracks:
    """M tracked boxes in the frames of the labels, columns as there; image_box f64 [M, 4], score f64 [M]."""

    frame: np.ndarray
    track: np.ndarray
    kind: list[str]
    boxes: np.ndarray
    image_box: np.ndarray
    score: np.ndarray


def level_boxes(numbers: np.ndarray) -> np.ndarray:
    """Boxes f64 [N, 9] in the level camera frame (x forward, y left, z up) of KITTI's seven numbers f64 [N, 7]: height,
    width, length, bottom centre x y z, rotation_y in the rectified camera frame (right, down, forward)."""
    boxes = np.zeros((len(numbers), 9))
    boxes[:, 0], boxes[:, 1], boxes[:, 2] = numbers[:, 5], -numbers[:, 3], numbers[:, 0] / 2 - numbers[:, 4]
    boxes[:, 3], boxes[:, 4], boxes[:, 5] = numbers[:, 2], numbers[:, 1], numbers[:, 0]
    boxes[:, 6] = wrap_angle(-(numbers[:, 6] + np.pi / 2))
    return boxes


def kitti_sides(labels: KittiLabels, tracks: KittiTracks, name: str) -> tuple[MotBoxes, MotBoxes]:
    """(truth, tracks) of one class of KITTI_MOT_CLASSES, with what KITTI ignores marked.

    Raises ValueError for another class and as MotBoxes does (an object twice in a frame).
    """
    if name not in KITTI_MOT_CLASSES:
        raise ValueError(f"no class {name!r}: {', '.join(KITTI_MOT_CLASSES)}")
    kind = np.array(labels.kind, dtype=object)
    own = kind == name
    neighbour = np.array([NEIGHBOURS.get(k, "") == name for k in labels.kind], dtype=bool)
    rows = np.flatnonzero(own | neighbour)
    ignored = neighbour | (labels.truncation > MAX_TRUNCATION) | (labels.occlusion > MAX_OCCLUSION)
    truth = MotBoxes.of(
        labels.frame[rows], labels.num_frames, labels.boxes[rows], labels.track[rows], ignored=ignored[rows]
    )
    rows = np.flatnonzero(np.array(tracks.kind, dtype=object) == name)
    image = tracks.image_box[rows]
    pardoned = np.abs(image[:, 1] - image[:, 3]) <= MIN_HEIGHT_PX
    pardoned |= _in_dont_care(tracks.frame[rows], image, labels)
    found = MotBoxes.of(
        tracks.frame[rows], labels.num_frames, tracks.boxes[rows], tracks.track[rows], tracks.score[rows], pardoned
    )
    return truth, found


def _in_dont_care(frame: np.ndarray, image: np.ndarray, labels: KittiLabels) -> np.ndarray:
    """bool [M]: more than half of the image box lies in one DontCare region of its frame."""
    region_frame = np.asarray(labels.dont_care_frame, np.int64)
    order = np.argsort(region_frame, kind="stable")
    low, high = (np.searchsorted(region_frame[order], frame, side) for side in ("left", "right"))
    count = high - low
    box = np.repeat(np.arange(len(frame)), count)
    step = np.arange(len(box)) - np.repeat(np.cumsum(count) - count, count)
    region = labels.dont_care[order][low[box] + step]
    mine = image[box]
    sides = np.minimum(mine[:, 2:], region[:, 2:]) - np.maximum(mine[:, :2], region[:, :2])
    area = (mine[:, 2] - mine[:, 0]) * (mine[:, 3] - mine[:, 1])
    covered = (sides > 0).all(axis=1)
    share = np.divide(sides[:, 0] * sides[:, 1], area, out=np.zeros(len(box)), where=covered & (area > 0))
    inside = np.zeros(len(frame), bool)
    inside[box[share > MAX_DONT_CARE]] = True
    return inside


@dataclass(frozen=True)
class KittiMotTruth:
    """Labels of KITTI tracking logs, and what places tracks among them.

    frame_of: {(log name, frame index): row}; log_of int64 [F] number of the log; log_names. global_from_ego f64
    [F, 4, 4]; camera_from_ego f64 [L, 4, 4] (rectified frame), projection f64 [L, 3, 4], image_size int64 [L, 2].
    """

    labels: KittiLabels
    frame_ids: list[str]
    frame_of: dict[tuple[str, int], int]
    log_of: np.ndarray
    log_names: list[str]
    global_from_ego: np.ndarray
    camera_from_ego: np.ndarray
    projection: np.ndarray
    image_size: np.ndarray


def load_kitti_mot(log_paths: Sequence[Path]) -> KittiMotTruth:
    """Labels of KITTI tracking logs, exactly as recorded.

    Raises UserError: no log, one of another data set, one without labels, one that is given twice.
    """
    ids: list[str] = []
    frame_of: dict[tuple[str, int], int] = {}
    kind: list[str] = []
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("frame", "track", "extra", "region", "region_frame")}
    poses, log_of, names, calibrations, sizes = [], [], [], [], []
    first_track = 0
    for number, path in enumerate(log_paths):
        log = Log.open(path)
        if log.dataset != KITTI_TRACKING:
            what = f"a log of {log.dataset!r}; KITTI's tracking score needs KITTI tracking logs"
            raise UserError(path, what, "convert the KITTI tracking set")
        if not log.has_table("dont_care"):
            raise UserError(path, "has no labels", "give logs of the training part")
        if log.name in names:
            raise UserError(path, f"log {log.name} is given twice", "give every log once")
        names.append(log.name)
        calibrations.append(_calibration(log))
        camera = log.sensors.get("image_02")
        sizes.append(USUAL_IMAGE if camera is None else (camera.width, camera.height))
        first = len(ids)
        for index in range(log.num_frames):
            content, frame = log.boxes(index), log.frame(index)
            ids.append(f"{log.name}/{frame.token or index}")
            frame_of[log.name, index] = first + index
            log_of.append(number)
            poses.append(frame.global_from_ego)
            kind += [category.lower() for category in content.category]
            columns["frame"].append(np.full(len(content.category), first + index))
            columns["track"].append(first_track + content.track.astype(np.int64))
            columns["extra"].append(_numbers(content.extra, len(content.category)))
        regions = log.table("dont_care").to_pydict()
        columns["region_frame"].append(first + np.array(regions["frame"], np.int64))
        columns["region"].append(_numbers(regions, len(regions["frame"]))[:, 2:6])
        first_track += len(log.track_tokens)
    if not ids:
        raise UserError("logs", "no labelled frame to score against", "give logs of the training part")
    numbers = np.concatenate(columns["extra"])
    labels = KittiLabels(
        num_frames=len(ids),
        frame=np.concatenate(columns["frame"]).astype(np.int64),
        track=np.concatenate(columns["track"]),
        kind=kind,
        truncation=numbers[:, 0].astype(np.int64),
        occlusion=numbers[:, 1].astype(np.int64),
        boxes=level_boxes(numbers[:, 6:]),
        dont_care_frame=np.concatenate(columns["region_frame"]),
        dont_care=np.concatenate(columns["region"]),
    )
    return KittiMotTruth(
        labels, ids, frame_of, np.array(log_of), names, np.stack(poses), np.stack([c[0] for c in calibrations]),
        np.stack([c[1] for c in calibrations]), np.array(sizes, np.int64),
    )  # fmt: skip


_NUMBERS = (
    "truncated", "occluded", "bbox_left", "bbox_top", "bbox_right", "bbox_bottom", "dim_height", "dim_width",
    "dim_length", "camera_x", "camera_y", "camera_z", "rotation_y",
)  # fmt: skip


def _numbers(columns: dict[str, list[float]], count: int) -> np.ndarray:
    """f64 [count, 13] of KITTI's columns."""
    return np.array([columns[name] for name in _NUMBERS], np.float64).reshape(len(_NUMBERS), count).T


def _calibration(log: Log) -> tuple[np.ndarray, np.ndarray]:
    """Rectified camera frame from ego [4, 4] and P2 [3, 4]."""
    matrices = {r["name"]: np.array(r["values"]).reshape(r["rows"], -1) for r in log.table("calibration").to_pylist()}
    rectify, camera_from_scanner = np.eye(4), np.eye(4)
    rectify[:3, :3] = matrices["R0_rect"]
    camera_from_scanner[:3] = matrices["Tr_velo_to_cam"]
    return rectify @ camera_from_scanner, matrices["P2"]


def place_in_camera(tracks: TrackSet, truth: KittiMotTruth, place: str = "tracks") -> tuple[KittiTracks, list[str]]:
    """Tracks in the level camera frames of the truth; names of the frames that they lack.

    The way of ``drive convert`` back: the bottom centre moves by the calibration, the yaw keeps its number.
    UserError where no frame or class is in common.
    """
    names = np.array([name.lower() for name in tracks.class_names], dtype=object)
    if not set(names.tolist()) & set(KITTI_MOT_CLASSES):
        what = f"its classes are {', '.join(tracks.class_names)}"
        raise UserError(place, what, f"score tracks of {', '.join(KITTI_MOT_CLASSES)}")
    row_of = [truth.frame_of.get(key, -1) for key in zip(tracks.logs, tracks.frame_indices, strict=True)]
    if max(row_of, default=-1) < 0:
        raise UserError(place, "none of its frames belongs to these logs", "score against the logs it was made from")
    frame = np.repeat(np.array(row_of, np.int64), np.diff(tracks.offsets))
    order = np.argsort(frame, kind="stable")
    order = order[frame[order] >= 0]
    frame = frame[order]
    log = truth.log_of[frame]
    boxes = tracks.boxes[order].astype(np.float64)
    moved = (truth.global_from_ego != np.eye(4)).any(axis=(1, 2))
    for row in np.unique(frame[moved[frame]]):
        rows = slice(*np.searchsorted(frame, [row, row + 1]))
        boxes[rows] = transform_boxes(np.linalg.inv(truth.global_from_ego[row]), boxes[rows])
    image = np.zeros((len(frame), 4))
    for number in np.unique(log):
        mine = log == number
        boxes[mine] = _to_level(boxes[mine], truth.camera_from_ego[number])
        image[mine] = _image_boxes(boxes[mine], truth.projection[number], truth.image_size[number])
    key = np.stack([log, tracks.ids[order]], axis=1)
    track = np.unique(key, axis=0, return_inverse=True)[1].reshape(-1)
    kind = names[tracks.labels[order]].tolist()
    placed = KittiTracks(frame, track.astype(np.int64), kind, boxes, image, tracks.scores[order])
    present = set(row_of)
    return placed, [name for row, name in enumerate(truth.frame_ids) if row not in present]


def _to_level(ego: np.ndarray, camera_from_ego: np.ndarray) -> np.ndarray:
    bottom = ego[:, :3].copy()
    bottom[:, 2] -= ego[:, 5] / 2
    camera = transform_points(camera_from_ego, bottom)
    boxes = ego.copy()
    boxes[:, 0], boxes[:, 1], boxes[:, 2] = camera[:, 2], -camera[:, 0], ego[:, 5] / 2 - camera[:, 1]
    return boxes


def _image_boxes(level: np.ndarray, projection: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Rectangles cut at the border; one behind the camera or beside the image is empty (height 0, so pardoned)."""
    points = corners(level).reshape(-1, 3)
    camera = np.stack([-points[:, 1], -points[:, 2], points[:, 0]], axis=1).reshape(-1, 8, 3)
    limit = np.concatenate([size, size]).astype(np.float64) - 1
    return np.clip(np.nan_to_num(image_rectangles(camera, projection), nan=0.0), 0.0, limit)
