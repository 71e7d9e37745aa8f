"""Argoverse 2 sensor logs (Wilson et al., NeurIPS 2021 datasets track): what the files mean and what we make of them.

Origin: https://www.argoverse.org/av2.html, API https://github.com/argoverse/av2-api. Licence: CC BY-NC-SA 4.0
(non-commercial).

Raw folder of a log, below ``<root>/{train,val,test}/<uuid>/``:

- ``sensors/lidar/<ns>.feather``: x y z float16 in the EGO frame, ego motion already compensated to the stamp in the
  name, intensity uint8 0..255, laser_number uint8 0..63 (two stacked 32-beam units), offset_ns int32.
- ``annotations.feather``: boxes in the ego frame of their timestamp (``annotations_with_ego.feather`` of scenario
  mining is read where the former is absent); num_interior_pts may be absent.
- ``city_SE3_egovehicle.feather``: poses, denser than the sensors; ``calibration/*.feather``;
  ``sensors/cameras/*/<ns>.jpg``; ``map/``: lanes, drivable areas, crossings (city frame), ground height raster.

Decisions:

- The ego frame is AV2's own: origin at the rear axle, x forward, y left, z up; the ground lies near z = -0.4.
- One lidar sensor ``lidar`` with the identity as extrinsics, since points are given in the ego frame; float16 goes to
  float32, which keeps every value. Where ``up_lidar`` and ``down_lidar`` sit is kept in the table ``calibration``.
- A frame for every timestamp with boxes, with or without a sweep; where a log has no label file at all (test), a frame
  for every sweep, without boxes. ``frame_attributes`` says which of sweep and labels a frame has.
- Every sweep, image and frame has the pose of exactly its stamp, or one interpolated between the two poses around it
  (position linear, rotation slerp): those rows are listed in the table ``interpolated_poses``, and their
  ``source_pose_timestamp`` is null. A stamp outside the recorded poses is an error: an extrapolated pose is a guess.
- Velocity is not labelled. It is the difference of a track's positions in the CITY frame between the labels before and
  after (central) or one of them at the ends, if that neighbour lies within 0.25 s, turned into the ego frame of the
  label; else masked (``velocity_valid``). See :mod:`data_tools.av2.velocity`.
- Images are undistorted already (issue 226 of av2-api), so cameras carry no distortion; k1 k2 k3 stay in the table
  ``intrinsics``. The image nearest to a frame within 50 ms belongs to it.
- Map polygons: lane = left boundary then right boundary backwards; crossing = edge1 then edge2 backwards. Centre lines
  are derived as in the API (mean of the boundaries resampled to 10 points) under the kind ``centerline``.
"""

from data_tools.av2.convert import Av2Log, Options, convert_log, list_logs, log_files

__all__ = ["Av2Log", "Options", "convert_log", "list_logs", "log_files"]
