"""Waymo Open Dataset, perception (Sun et al., CVPR 2020): what its files mean and what we make of them.

Origin: https://waymo.com/open. Licence: Waymo Dataset License Agreement for Non-Commercial Use. Nothing of TensorFlow
or of the Waymo package is needed.

Raw files: v1, ``<split>/segment-<name>_with_camera_labels.tfrecord``: one ``Frame`` message a record, 10 Hz; v2,
``<component>/<name>.parquet``, any subset of the components (v2 has no maps). Both become the same log.

Decisions:

- The ego frame is Waymo's vehicle frame: x forward, y left, z up, origin at the rear axle's middle, on the ground.
  Labels, poses and points belong to the frame's pose; a log's global frame is that of the poses.
- A lidar a laser (LIDAR_TOP, LIDAR_FRONT, LIDAR_SIDE_LEFT, LIDAR_SIDE_RIGHT, LIDAR_REAR). Points are what the official
  ``convert_range_image_to_point_cloud`` gives, VEHICLE frame at the frame's pose, the top lidar's ones moved there
  from the pose of their pixel (its sweep takes 0.1 s). So the log's extrinsics are the identity, as in Argoverse 2;
  the recorded ones are the sensor's ``source_translation/rotation`` and the table ``lidar_calibration``.
- Arithmetic: polar coordinates in float32, step by step as the official code has them, the rest in float64. The
  official default takes float32 through global coordinates too, where its points lose up to millimetres.
- Columns x y z intensity elongation (intensity without upper bound: ``intensity_max`` is inf, readers take tanh), first
  all points of return 1, then of return 2, each row by row. Typed columns beside them: ``range`` (m), ``return`` (1,
  2), ``row``, ``column`` (of the range image), ``nlz`` (1 in a no-label zone, -1 outside, 0 unknown). With the table
  ``range_images`` the range images can be put back bit for bit (:func:`restore`). Pixel poses are not kept.
  ``--projections`` keeps camera_1 u_1 v_1 camera_2 u_2 v_2.
- Every frame is labelled and is a key frame; sweeps bear the frame's time (start of the top lidar's sweep).
- Cameras CAM_FRONT ... in optical axes (x right, y down, z forward); the recorded extrinsic (x forward, y left) is the
  source's. Distortion is plumb_bob (k1 k2 p1 p2 k3). An image has its own pose and pose time; what its rolling shutter
  needs stands in the tables ``images`` and ``camera_calibration``.
- Velocities are labelled in the GLOBAL frame; boxes have them turned into the ego frame, ``source_speed_*`` as
  recorded. Difficulty levels are null where not set. A box without lidar points stays: ``num_lidar_points`` says so.
- Camera labels are the table camera_labels, projections of laser labels the table projected_lidar_labels.
- Map features stand in the first frame only; ``map_pose_offset`` is subtracted, so that they fit the poses.
- ``point_labels``: semantic classes 0 to 22 (0 undefined) of the top lidar, on the few frames that have them.
"""

from data_tools.waymo_perception.convert import Options, WaymoSegment, convert_log, list_logs, log_files
from data_tools.waymo_perception.scans import restore

__all__ = ["Options", "WaymoSegment", "convert_log", "list_logs", "log_files", "restore"]
