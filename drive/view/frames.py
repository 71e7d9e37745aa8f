"""The frames of a report: points and map of a log, and pictures of one frame for several runs side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from drive.geometry.box import transform_boxes
from drive.geometry.rigid import invert, transform_points
from drive.logs.maps import MapFeature, in_box
from drive.logs.store import Log
from drive.scores.report import Report
from drive.view.bev import draw_boxes_on, draw_ground
from drive.view.camera import draw_camera
from drive.view.ink import FALSE, MISSED, RIGHT, TRUTH

# The camera that looks ahead, by data set; where a log has none of them, its first camera.
FRONT_CAMERAS = ("CAM_FRONT", "image_2", "ring_front_center", "FRONT")
_MAP_REACH_M = 80.0


@dataclass(frozen=True)
class FrameView:
    """Pictures of a frame, one a run: from above, and of the front camera (None where it has no image); WebP bytes.

    missed, false, predictions: boxes of each run; labels: boxes that count.
    """

    frame_id: str
    log: str
    index: int
    labels: int
    missed: tuple[int, ...]
    false: tuple[int, ...]
    predictions: tuple[int, ...]
    from_above: tuple[bytes, ...]
    ahead: tuple[bytes | None, ...]

    @property
    def size(self) -> int:
        """Bytes of all its pictures."""
        return sum(map(len, self.from_above)) + sum(len(picture) for picture in self.ahead if picture)


def frame_points(log: Log, index: int) -> np.ndarray:
    """Points f32 [P, 4] (x, y, z, intensity 0..1) of all lidars of a frame, in its ego frame."""
    frame, parts = log.frame(index), []
    for name, row in frame.rows.items():
        sensor = log.sensors[name]
        if sensor.modality != "lidar":
            continue
        sweep = log.sweep(name, row)
        pose = invert(frame.global_from_ego) @ sweep.global_from_ego @ sensor.ego_from_sensor
        intensity = np.zeros(len(sweep.points))
        if "intensity" in sensor.columns:
            intensity = sensor.intensity_to(1.0, sweep.points[:, sensor.columns.index("intensity")])
        parts.append(np.column_stack([transform_points(pose, sweep.points[:, :3]), intensity]).astype(np.float32))
    return np.concatenate(parts) if parts else np.zeros((0, 4), np.float32)


@lru_cache(maxsize=4)
def _map_of(path: Path) -> tuple[MapFeature, ...]:
    log = Log.open(path)
    return tuple(log.map_features()) if "map.arrow" in log.manifest["files"] else ()


def frame_map(log: Log, index: int) -> list[MapFeature]:
    """Map features around a frame, in its ego frame."""
    pose = log.frame(index).global_from_ego
    x, y = pose[:2, 3]
    near = in_box(_map_of(log.path), (x - _MAP_REACH_M, y - _MAP_REACH_M, x + _MAP_REACH_M, y + _MAP_REACH_M))
    return [feature.transformed(invert(pose)) for feature in near]


def front_camera(log: Log, index: int) -> str | None:
    """The camera that looks ahead and has an image of this frame."""
    cameras = [name for name in log.frame(index).rows if log.sensors[name].modality == "camera"]
    return next((name for name in FRONT_CAMERAS if name in cameras), cameras[0] if cameras else None)


def badness(reports: Sequence[Report]) -> np.ndarray:
    """Missed and false boxes of each frame, summed over the runs: int64 [F]."""
    return np.sum([report.metrics.missed + report.metrics.false for report in reports], axis=0)


def choose_frames(reports: Sequence[Report], count: int) -> list[int]:
    """Rows of at most ``count`` frames, worst first: half of them the worst, the rest spread evenly over time."""
    bad = badness(reports)
    worst = np.argsort(-bad, kind="stable")
    if len(worst) <= count:
        return worst.tolist()
    chosen = set(worst[: (count + 1) // 2].tolist())
    rest = [row for row in range(len(bad)) if row not in chosen]
    spread = np.unique(np.linspace(0, len(rest) - 1, count - len(chosen)).round().astype(int))
    chosen |= {rest[i] for i in spread}
    return [row for row in worst.tolist() if row in chosen]


def picture_frame(
    log: Log, index: int, row: int, reports: Sequence[Report], *, width_px: int, camera: bool
) -> FrameView:
    """The pictures of the frame at ``row`` of the reports' common list of frames."""
    truth = reports[0].truth
    ground = draw_ground(frame_points(log, index), map_features=frame_map(log, index), size_px=width_px)
    ego_from_global = invert(truth.global_from_ego[row])
    front = front_camera(log, index) if camera else None
    above: list[bytes] = []
    ahead: list[bytes | None] = []
    labels, shown_counts = 0, []
    for report in reports:
        m = report.metrics
        mine_t = report.kept_truth.frame == row
        mine_p = (report.kept_predictions.frame == row) & m.shown
        boxes = transform_boxes(ego_from_global, report.kept_truth.boxes[mine_t])
        predicted = transform_boxes(ego_from_global, report.kept_predictions.boxes[mine_p])
        found, right = m.found[mine_t], m.right[mine_p]
        labels = len(boxes)
        shown_counts.append(len(predicted))
        picture = draw_boxes_on(
            ground, boxes=boxes, found=found, predictions=predicted, right=right,
            scores=report.kept_predictions.score[mine_p],
        )  # fmt: skip
        above.append(_webp(picture))
        ahead.append(None)
        if front is not None:
            layers = [
                (boxes, [TRUTH if f else MISSED for f in found]),
                (predicted, [RIGHT if r else FALSE for r in right]),
            ]
            ahead[-1] = _webp(draw_camera(log, index, front, layers, width_px=width_px))
    return FrameView(
        frame_id=truth.frames.ids[row],
        log=log.name,
        index=index,
        labels=labels,
        missed=tuple(int(report.metrics.missed[row]) for report in reports),
        false=tuple(int(report.metrics.false[row]) for report in reports),
        predictions=tuple(shown_counts),
        from_above=tuple(above),
        ahead=tuple(ahead),
    )


def _webp(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=72, method=2)
    return stream.getvalue()
