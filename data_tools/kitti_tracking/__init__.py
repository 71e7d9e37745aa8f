"""KITTI multi-object tracking (Geiger, Lenz, Urtasun, CVPR 2012): what its files mean and what we make of them.

Origin: https://www.cvlibs.net/datasets/kitti/eval_tracking.php. Licence: CC BY-NC-SA 3.0 (non-commercial).

Raw files read, below ``training/`` or ``testing/``, one sequence SSSS of 10 Hz each; only ``calib`` must be there:

- ``label_02/SSSS.txt``: frame, track id, then the 15 columns of the object set (rectified camera frame, bottom centre).
- ``calib/SSSS.txt``: P0..P3, R_rect (or R0_rect), Tr_velo_cam, Tr_imu_velo, in either spelling.
- ``velodyne/SSSS/FFFFFF.bin``, ``image_02/SSSS/FFFFFF.png``, ``image_03/...``: as in the object set. Some frames of the
  set have no scan (0001: 177 to 180): their frame has no row of that sensor.
- ``oxts/SSSS.txt``: one line of 30 numbers a frame (GPS, inertial unit); kept whole as the table ``oxts``.

Decisions:

- Ego frame = Velodyne frame, boxes, cameras and DontCare exactly as in :mod:`data_tools.kitti`.
- One log a sequence, ``kitti_tracking_SSSS``; as many frames as the last one that any of the files names.
- The set gives no times: frame k is at k * 100 ms (``frame_attributes.timestamp_known`` is false).
- With oxts: poses by the raw-data devkit's rule (Mercator at the first latitude, origin at the first
  frame's unit), the scanner on the inertial unit by Tr_imu_velo; ``ego`` holds the unit's own motion in its own axes
  (forward, left, up; turned 1 degree against the scanner's). Velocities of boxes are differences of their track in
  the global frame, as :mod:`data_tools.av2.velocity` does. Without oxts: poses are identity, ``pose_known`` is false
  and velocities are masked.
- Detections stored beside the set (AB3DMOT's PointRCNN files) are no labels, see ``detections.py``.
"""

from data_tools.kitti_tracking.convert import KittiSequence, Options, convert_log, list_logs, log_files

__all__ = ["KittiSequence", "Options", "convert_log", "list_logs", "log_files"]
