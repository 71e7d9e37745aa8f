"""Stored 3D detections in AB3DMOT's text form (Weng et al., IROS 2020): real detector output for trackers.

Origin: https://github.com/xinshuoweng/AB3DMOT, ``data/KITTI/detection`` and ``data/nuScenes/detection``; AB3DMOT's
licence (non-commercial) and that of the data set they were made on. A line, comma separated: frame, type, image box
(left, top, right, bottom), score, height, width, length, bottom centre x y z, rotation_y, alpha; camera axes right,
down, forward. They are no labels and no part of a log.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_tools.kitti.frames import boxes_of_camera, rectified_from_velodyne
from data_tools.kitti.read import MAX_FRAMES, parse_numbers, read_calibration, read_text
from drive.errors import UserError

KITTI_TYPES = {1: "Pedestrian", 2: "Car", 3: "Cyclist"}
NUSCENES_TYPES = {
    1: "pedestrian", 2: "car", 3: "bicycle", 4: "motorcycle", 5: "bus", 6: "trailer", 7: "truck",
    8: "construction_vehicle", 9: "barrier", 10: "traffic_cone",
}  # fmt: skip

# AB3DMOT's nuScenes frame is that of the front camera, which its files do not say. Seen on the scenes where the ego
# stands (0553, 1100, end of 0757): labels lie 1.69 to 1.75 m before and 0.05 m beside the detections, turned by 0.3 to
# 0.5 degrees; 0.08 to 0.15 m are left then in the median. Here: CAM_FRONT's calibration in nuScenes' tables of
# scene-0061 (to 1 mm and 1e-5). Which of nuScenes' two cars drove is not
# in the files either; 2 cm and 0.2 degrees lie between them.
NUSCENES_EGO_FROM_CAMERA = np.array(
    [
        [0.00568, -0.00564, 0.99997, 1.701],
        [-0.99998, -0.00084, 0.00568, 0.016],
        [0.00081, -0.99998, -0.00564, 1.511],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


@dataclass(frozen=True)
class StoredDetections:
    """Detections of one sequence, in the order of the file.

    Attributes:
        frames: int64 [N]; types: int64 [N], keys of KITTI_TYPES or NUSCENES_TYPES.
        scores: float64 [N], the detector's own (PointRCNN: a logit).
        boxes: float64 [N, 9], ego frame of their frame, columns of drive.geometry.box; velocity is 0 (not given).
        image_boxes: float64 [N, 4] left top right bottom, pixels; -1 = none.
    """

    frames: np.ndarray
    types: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    image_boxes: np.ndarray


def kitti_ego_from_camera(calibration: Path) -> np.ndarray:
    """4x4 Velodyne (= ego) from rectified camera frame of a KITTI calibration file."""
    return np.linalg.inv(rectified_from_velodyne(read_calibration(calibration)))


def read_ab3dmot_detections(path: Path, ego_from_camera: np.ndarray) -> StoredDetections:
    """Detections of a file; an empty file has none.

    Args:
        ego_from_camera: 4x4, :func:`kitti_ego_from_camera` or NUSCENES_EGO_FROM_CAMERA.

    Raises:
        UserError: a line has not 15 finite numbers, a frame or type that is not whole, or a size that is not positive.
    """
    rows = []
    for number, line in enumerate(read_text(path, "detections").splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        values = parse_numbers(place, "detection", line.split(","), 15)
        if (values[:2] != np.round(values[:2])).any() or not (0 <= values[0] <= MAX_FRAMES and 0 < values[1] < 1000):
            raise UserError(place, "frame or type is not a whole number in range", "mend or remove the line")
        if not (values[7:10] > 0).all():
            raise UserError(place, "box has a side that is not positive", "mend or remove the line")
        rows.append(values)
    table = np.array(rows, dtype=np.float64).reshape(-1, 15)
    return StoredDetections(
        frames=table[:, 0].astype(np.int64),
        types=table[:, 1].astype(np.int64),
        scores=np.ascontiguousarray(table[:, 6]),
        boxes=boxes_of_camera(table[:, 7:14], ego_from_camera),
        image_boxes=np.ascontiguousarray(table[:, 2:6]),
    )
