"""123D's Arrow logs (Dauner et al., arXiv 2605.08084), read and written: what they mean and what we make of them.

Origin: https://github.com/kesai-labs/py123d (Apache-2.0; format of version 0.7). Licence of the data: that of the data
set that a log was made from; it stands nowhere in a 123D log, so say it by ``--licence``.

Files read of a log ``logs/<split>/<log>/`` (metadata of each as msgpack in its Arrow schema, key ``metadata``):

- ``sync.arrow``: uuid, time in microseconds, and the row of every modality's file; our frames.
- ``ego_state_se3.arrow``: pose of the inertial unit (x y z qw qx qy qz, global), nine numbers of motion.
- ``box_detections_se3.arrow``: a list of boxes a row (pose, length, width, height; global), tokens, labels, velocities.
- ``traffic_light_detections.arrow``, ``camera.<id>.arrow`` (pinhole), ``lidar.<id>.arrow``, ``map.arrow`` (or
  ``maps/<dataset>/<dataset>_<location>.arrow`` by ``--maps``).

Decisions:

- Ego frame = 123D's IMU frame. Boxes are turned by the frame's pose; their velocities are global vectors, as 123D
  writes them. Poses of sweeps are ego states interpolated at their time; of images the recorded camera_to_global.
- Labels are numbers of an enum that the metadata names; :mod:`data_tools.d123.labels` knows the names of nuScenes, AV2,
  nuPlan, Waymo and the default one, under the data sets' own spelling. Others become ``label_<n>``.
- Point clouds: only those stored in the log as Arrow IPC (codec ``ipc``, ``ipc_lz4``, ``ipc_zstd``). Points are in the
  IMU frame; they go back into their lidar's frame by ``lidar_to_imu_se3`` (a merged cloud keeps the IMU frame). Images:
  only JPEG or PNG, as bytes or (``--image-root``) as files by their path. What else is stored by path, as LAZ, Draco or
  video is listed in the table ``d123_references`` with its path and no payload: it needs its own data set's readers.
- Map: the outlines, as kinds of ours; lane boundaries (parts of the lane's outline) are not kept apart. Radars, fisheye
  cameras, segmentation, IMU, GNSS and custom modalities are not read (table ``d123_references`` names them).

Written (:func:`write_d123`, ``python -m data_tools.d123 LOG... OUT``): frames as sync rows, and every sweep and image
at its own rate. Times are cut to microseconds; categories without a label of the data set's enum become OTHER of the
default one; points are moved into the IMU (= our ego) frame as float32, intensity scaled to 0..255; radars are left
out; lanes without a centre line are left out, their boundaries are the two sides of the outline. The size of the
vehicle is not in our logs: ``ego_state_se3`` carries that of a usual car.
"""

from data_tools.d123.convert import D123Log, Options, convert_log, list_logs, log_files
from data_tools.d123.export import write_d123

__all__ = ["D123Log", "Options", "convert_log", "list_logs", "log_files", "write_d123"]
