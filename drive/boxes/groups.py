"""Grids and head groups of the data sets: which classes share a head, and where its numbers start.

Kernels, heat scales and starting sizes are [inferred] (spec 1.7, 1.8); suppression thresholds and IoU powers are those
of DSVT's code for Waymo's three classes, and this project's choice elsewhere. Kernels are in cells: TOWN_GROUPS is for
pillars of about 0.5 m, the others for 0.32 m.
"""

from __future__ import annotations

from drive.boxes.head import HeadGroup
from drive.voxels.grid import GridSpec

# Spec 0.3. The other ranges are whole numbers of 0.32 m pillars around what the data set scores.
WAYMO_GRID = GridSpec((-74.88, -74.88, -2.0, 74.88, 74.88, 4.0), (0.32, 0.32, 6.0))
NUSCENES_GRID = GridSpec((-54.4, -54.4, -3.0, 54.4, 54.4, 5.0), (0.32, 0.32, 8.0))
KITTI_GRID = GridSpec((0.0, -40.0, -3.0, 70.4, 40.0, 1.0), (0.32, 0.32, 4.0))

WAYMO_GROUPS = (
    HeadGroup(("vehicle",), 9, (1.0,), (4.7, 2.1, 1.7), 0.9, nms_iou=0.7, iou_power=0.68),
    HeadGroup(("pedestrian",), 5, (0.22,), (0.91, 0.86, 1.73), 0.9, nms_iou=0.6, iou_power=0.71),
    HeadGroup(("cyclist",), 5, (0.39,), (1.78, 0.84, 1.78), 0.9, nms_iou=0.55, iou_power=0.65),
)

# The six groups of CBGS (arXiv 1908.09492), as CenterPoint uses them: classes of a group look and measure alike.
NUSCENES_GROUPS = (
    HeadGroup(("car",), 9, (1.0,), (4.6, 1.95, 1.75), 0.9, nms_iou=0.2),
    HeadGroup(("truck", "construction_vehicle"), 11, (1.0, 1.0), (6.8, 2.6, 2.9), 1.5, nms_iou=0.2),
    HeadGroup(("bus", "trailer"), 11, (1.0, 1.0), (11.5, 2.9, 3.6), 1.9, nms_iou=0.2),
    HeadGroup(("barrier",), 5, (0.3,), (0.5, 2.5, 1.0), 0.5, nms_iou=0.2),
    HeadGroup(("motorcycle", "bicycle"), 5, (0.39, 0.39), (1.9, 0.7, 1.4), 0.7, nms_iou=0.2),
    HeadGroup(("pedestrian", "traffic_cone"), 5, (0.22, 0.22), (0.6, 0.6, 1.4), 0.8, nms_iou=0.2),
)

# In KITTI the ego frame is the lidar's: the road lies about 1.7 m below it.
KITTI_GROUPS = (
    HeadGroup(("car",), 9, (1.0,), (3.9, 1.6, 1.56), -0.9, nms_iou=0.2),
    HeadGroup(("pedestrian",), 5, (0.22,), (0.8, 0.6, 1.73), -0.8, nms_iou=0.2),
    HeadGroup(("cyclist",), 5, (0.39,), (1.76, 0.6, 1.73), -0.8, nms_iou=0.2),
)

TOWN_GROUPS = (
    HeadGroup(("car", "truck", "bus"), 7, (1.0, 1.0, 1.0), (4.8, 2.0, 1.8), 0.9, nms_iou=0.2),
    HeadGroup(("pedestrian", "bicycle", "traffic_cone"), 3, (0.4, 0.5, 0.4), (0.8, 0.6, 1.5), 0.8, nms_iou=0.2),
)
