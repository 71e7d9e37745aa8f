"""nuPlan (Caesar et al. 2021): what its log databases and maps mean and what we make of them.

Origin: https://www.nuscenes.org/nuplan, devkit https://github.com/motional/nuplan-devkit. Licence: CC BY-NC-SA 4.0
(non-commercial; a commercial licence exists). Structure as the devkit 1.2 declares it (nuplan/database/nuplan_db_orm,
nuplan/common/maps); no file of the set was at hand, the tests write files in that shape.

Raw files read:

- ``**/<log>.db``: SQLite, tables log, ego_pose, lidar_pc (20 Hz), lidar_box, track, category, scene, scenario_tag,
  traffic_light_status, camera, image, lidar. Tokens are 8-byte blobs (kept as hexadecimal), times microseconds;
  calibrations are pickled lists, read by the restricted unpickler.
- ``--maps FOLDER``: ``<map name>/<version>/map.gpkg``, geographic coordinates; the last version of several.
- ``--sensor-blobs FOLDER``: ``<log>/MergedPointCloud/*.pcd`` and ``<log>/CAM_*/*.jpg`` as ``lidar_pc.filename`` and
  ``image.filename_jpg`` name them. Files that are not there are left out: few logs have sensor data.

Decisions:

- Ego frame = frame of ``ego_pose``: on the rear axle, x forward, y left, z up. Global frame: UTM, metres.
- One log a database, named as its file; a frame for every n-th lidar_pc (``--every``), with boxes or without. Its time
  is the lidar_pc's; its pose the ego_pose that the lidar_pc names.
- lidar_box: centre, yaw and velocity are global; boxes are turned into the ego frame by the full pose, their yaw by the
  pose's yaw. Boxes come from an offline tracker (``confidence``), not from people. The ego is no track of the set.
- ``lights``: a row a lane connector and frame; no stop point is given. ``scenario_tags``, ``scenes`` and
  ``frame_attributes`` (the scene of a frame) are tables.
  ``ego``: velocity and acceleration in the ego frame as recorded, yaw rate about z; no steering angle is recorded.
- Map features whose bounding box comes within 150 m of the path, UTM by :mod:`data_tools.nuplan.utm`, z = 0. Lane
  groups are ``road_block`` (their connectors ``road_block_connector``): the ids of ``scenes.roadblock_ids``.
  Intersections are ``road_segment`` with ``is_intersection``; boundaries ``lane_divider`` with ``boundary_type_fid``
  (0 dashed, 2 solid).
- The merged point cloud's mounting is the ``lidar`` table's; where the log has no such row, the identity.
"""

from data_tools.nuplan.convert import NuplanLog, Options, convert_log, list_logs, log_files

__all__ = ["NuplanLog", "Options", "convert_log", "list_logs", "log_files"]
