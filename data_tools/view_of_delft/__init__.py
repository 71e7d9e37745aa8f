"""View-of-Delft (Palffy et al., RA-L 2022): what its files mean and what we make of them.

Origin: https://github.com/tudelft-iv/view-of-delft-dataset (access on request). Licence: View-of-Delft research use
licence (non-commercial, academic).

Raw folders read, KITTI-shaped, below ``<root>/lidar/{training,testing}/`` and ``<root>/radar/{training,testing}/``
(``radar_3_scans``, ``radar_5_scans`` and the like by ``--radar``):

- ``lidar/.../velodyne/ID.bin``: float32 N x 4 (x y z reflectance 0..255), 64 beams, 10 Hz, motion compensated to the
  image; x forward, y left, z up. ``radar/.../velodyne/ID.bin``: float32 N x 7 (x y z RCS v_r v_r_compensated time), its
  own frame; time = number of the scan, 0 newest.
- ``calib/ID.txt`` of either folder: P2, R0_rect, Tr_velo_to_cam (of the lidar or of the radar). ``image_2/ID.jpg``.
- ``label_2/ID.txt``: KITTI lines of 15 numbers or 16 (a constant score). Location = bottom centre in the camera frame,
  but rotation is about the LIDAR's -z axis, not the camera's y (the camera is tilted by 7 degrees). The truncation
  column holds something else, kept as it is. Where ``radar/.../label_2/ID.json`` lies beside it (example set), the
  object's id and attributes come from there, matched by the box's three sizes to the last digit.
- ``pose/ID.json``: three lines, 4x4 matrices. Despite their names (mapToCamera) they map camera to map coordinates.
- ``lidar/ImageSets/{train,val,test}.txt``: the official split, where present.

Decisions:

- Ego frame = lidar frame, as for KITTI; the ground is near z = -1.6 (the lidar stands on the roof).
- A log is a run of consecutive frame numbers of one split whose place in the map moves less than 5 m a frame
  (50 m/s): the set is one numbered row of many drives. It is named by its first frame, ``vod_ID``. Frame ID is at
  ID * 100 ms: the set's folders give no times.
- Poses: mapToCamera. Velocities: differences of a track's places in the map (:mod:`data_tools.av2.velocity`) where the
  tracks are known; else masked, and every box is a track of its own.
- ``rider`` boxes lie inside ``Cyclist`` boxes: a class map takes one of them. ``DontCare`` goes to ``dont_care``.
"""

from data_tools.view_of_delft.convert import DelftRun, Options, convert_log, list_logs, log_files

__all__ = ["DelftRun", "Options", "convert_log", "list_logs", "log_files"]
