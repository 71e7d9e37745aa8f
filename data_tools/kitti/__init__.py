"""KITTI 3D object detection (Geiger, Lenz, Urtasun, CVPR 2012): what its files mean and what we make of them.

Origin: https://www.cvlibs.net/datasets/kitti/eval_object.php. Licence: CC BY-NC-SA 3.0 (non-commercial).

Raw folders read, below ``training/`` or ``testing/``:

- ``velodyne/ID.bin``: float32 N x 4 (x y z reflectance 0..1), Velodyne HDL-64, x forward, y left, z up, metres. Where
  it is absent, ``velodyne_reduced/ID.bin``: the same scan cropped to the front camera's view.
- ``calib/ID.txt``: P0..P3 (3x4), R0_rect (3x3), Tr_velo_to_cam (3x4), Tr_imu_to_velo (3x4).
- ``label_2/ID.txt``: 15 columns a line; box = bottom centre and rotation about the down axis in the rectified camera
  frame. ``image_2/ID.png`` (and ``image_3``); ``planes/ID.txt``: the ground plane of a third party, kept where present.

Decisions:

- Ego frame = Velodyne frame (KITTI's labels are evaluated from there by everybody; the data set gives no vehicle frame
  for object frames). It lies 1.73 m above the ground, so the ground is near z = -1.73.
- One log a frame, named ``kitti_ID`` (``kitti_testing_ID``): frames of the object set were drawn at random from many
  drives and shuffled. A log promises poses and time order, which they lack, and logs are the unit of splits and of
  parallel work. Timestamps are 0 and poses identity, as the set has neither; ``frame_attributes.pose_known`` says so.
- Box: bottom centre moved by the inverse of R0_rect * Tr_velo_to_cam, z + height / 2, yaw = -(rotation_y + pi / 2), the
  convention of OpenPCDet's ``object3d_kitti``. (The exact turn of the camera against the scanner, below 1 degree, is
  left out of yaw, as there.)
- DontCare regions have no 3D box: they go to the table ``dont_care``. All 15 numbers of every line are kept as columns;
  the label, calibration and plane files also byte for byte.
- Labels exist only where the left colour camera looks: ``frame_attributes.labelled_view`` is ``image_2``.
- A camera's frame is the rectified frame moved by K^-1 * P[:, 3], so that K alone projects as P does.
"""

from data_tools.kitti.convert import KittiFrame, Options, convert_log, list_logs, log_files

__all__ = ["KittiFrame", "Options", "convert_log", "list_logs", "log_files"]
