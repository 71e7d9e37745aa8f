"""Pictures of one frame of a log: from above and of its cameras, with a run's predictions if they are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from drive.boxes.detections import DetectionSet
from drive.errors import UserError
from drive.logs.store import Log
from drive.samples.radar import RadarConfig, radar_points
from drive.view.bev import draw_bev
from drive.view.camera import draw_camera
from drive.view.frames import frame_map, frame_points, front_camera
from drive.view.ink import RIGHT, TRUTH


def frame_from_above(
    log: Log,
    frame: int,
    detections: DetectionSet | None = None,
    *,
    min_score: float = 0.3,
    colour_by: str = "height",
    size_px: int = 900,
    radars: RadarConfig | None = None,
) -> Image.Image:
    """Points, map, labels and (from ``min_score`` on) predictions of a frame; with ``radars`` their returns as well.

    Raises UserError: there is no such frame, or no such radar.
    """
    check_frame(log, frame)
    boxes, scores, labels = predictions_of(detections, log.name, frame, min_score)
    return draw_bev(
        frame_points(log, frame),
        boxes=log.boxes(frame).boxes,
        predictions=boxes,
        scores=scores,
        labels=labels,
        class_names=detections.class_names if detections else (),
        map_features=frame_map(log, frame),
        colour_by=colour_by,
        size_px=size_px,
        title=f"{log.name}, frame {frame}",
        radar=None if radars is None else radar_points(log, log.frame(frame), radars),
    )


def save_frame(
    log: Log,
    frame: int,
    out: Path,
    *,
    detections: DetectionSet | None = None,
    cameras: Sequence[str] | None = (),
    min_score: float = 0.3,
    colour_by: str = "height",
    radars: RadarConfig | None = None,
    points: bool = False,
) -> list[Path]:
    """Write ``<log>_<frame>_above.png`` and one PNG a camera into the folder ``out``; returns the paths.

    cameras: names; None means the front camera if the log has one, () none. points: the lidar's in the cameras'
    pictures too. Raises UserError: no such frame or camera,
    a picture that cannot be read, a folder that cannot be written.
    """
    above = frame_from_above(log, frame, detections, min_score=min_score, colour_by=colour_by, radars=radars)
    pictures = {"above": above}
    if cameras is None:
        front = front_camera(log, frame)
        cameras = (front,) if front else ()
    predicted, _, _ = predictions_of(detections, log.name, frame, min_score)
    boxes = log.boxes(frame).boxes
    cloud = frame_points(log, frame) if points else None
    for camera in cameras:
        layers = [(boxes, [TRUTH] * len(boxes))]
        if predicted is not None:
            layers.append((predicted, [RIGHT] * len(predicted)))
        title = f"{log.name}, frame {frame}, {camera}"
        pictures[camera] = draw_camera(log, frame, camera, layers, title=title, points=cloud)
    paths = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            paths.append(out / f"{log.name}_{frame:04d}_{name}.png")
            picture.save(paths[-1])
    except OSError as error:
        raise UserError(out, f"cannot be written ({error})", "choose another folder or free some space") from error
    return paths


def check_frame(log: Log, frame: int) -> None:
    """UserError where the log has no such frame."""
    if not 0 <= frame < log.num_frames:
        raise UserError(log.path, f"has no frame {frame}", f"choose 0 to {log.num_frames - 1}")


def predictions_of(
    detections: DetectionSet | None, log_name: str, frame: int, min_score: float
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """(boxes [M, 9] ego frame, scores [M], labels [M]) of a frame from ``min_score`` on, or three times None."""
    if detections is None:
        return None, None, None
    for f, key in enumerate(zip(detections.logs, detections.frame_indices, strict=True)):
        if key == (log_name, frame):
            rows = slice(int(detections.offsets[f]), int(detections.offsets[f + 1]))
            shown = detections.scores[rows] >= min_score
            return detections.boxes[rows][shown], detections.scores[rows][shown], detections.labels[rows][shown]
    raise UserError(
        f"{log_name}, frame {frame}", "the detections do not cover it", "run drive detect or train on this log"
    )
