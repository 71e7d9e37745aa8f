"""NAVSIM / OpenScene logs (Dauner et al., NeurIPS 2024): what their pickles mean and what we make of them.

Origin: https://github.com/autonomousvision/navsim and https://github.com/OpenDriveLab/OpenScene: nuPlan at 2 Hz.
Licence: nuPlan's, CC BY-NC-SA 4.0 (non-commercial). Structure as OpenScene's ``create_openscene_metadata.py`` writes it
and NAVSIM reads it; no file of the set was at hand, the tests write files in that shape.

Raw files read:

- ``**/<log>.pkl`` (navsim_logs/{trainval,test,mini}): a pickled list with a dict a frame, read by the restricted
  unpickler. Keys: token, timestamp (microseconds), log_name, scene_token, map_location, roadblock_ids, traffic_lights,
  ego2global_translation and _rotation, lidar2ego_translation and _rotation, ego_dynamic_state, driving_command, cams,
  lidar_path, anns.
- ``--sensor-blobs FOLDER`` (sensor_blobs/<split>): point clouds (``lidar_path``) and images
  (``cams[...].data_path``) that are there. ``--maps FOLDER``: nuPlan's maps, see :mod:`data_tools.nuplan`.

Decisions:

- Ego frame and global frame as in nuPlan (rear axle; UTM). One log a pickle; a frame a dict, in order of time. Frames
  without sensor data were left out by OpenScene: steps are 0.5 s or a multiple.
- gt_boxes: centre in the ego frame, length width height, yaw less the ego's yaw; taken as they are (yaw wrapped).
  gt_velocity_3d is turned into the lidar's axes by OpenScene; it is turned back by lidar2ego.
- A camera's place is lidar2ego * sensor2lidar of the first frame that has it; a log where it changes is refused. Images
  and clouds have no time of their own: they get their frame's. Distortion: k1 k2 p1 p2 k3.
- ``lights``: OpenScene keeps only whether a connector is red; anything else is ``unknown`` with source ``not red``.
- ``navsim_frames``: scene, road blocks of the route and driving command (left, straight, right, unknown) of each frame.
  ``ego``: velocity and acceleration in the ego frame; neither yaw rate nor steering is recorded.
"""

from data_tools.navsim.convert import NavsimLog, Options, convert_log, list_logs, log_files

__all__ = ["NavsimLog", "Options", "convert_log", "list_logs", "log_files"]
