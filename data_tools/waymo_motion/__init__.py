"""Waymo Open Motion Dataset (WOMD): what the files mean and what we make of them.

Origin: https://waymo.com/open (Ettinger et al., ICCV 2021; WOMD-LiDAR: Chen et al., ICRA 2024). Licence: Waymo Open
Dataset licence, non-commercial. Facts: ``scenario.proto``, ``map.proto``, ``compressed_lidar.proto`` of
https://github.com/waymo-research/waymo-open-dataset.

Raw files, anywhere below the folder; every record or JSON file is one scenario of 91 steps at 10 Hz (10 past, current,
80 future; test data 11), and becomes one log, named by its file and record number:

- ``*.tfrecord*`` with ``Scenario`` records, or with ``tf.Example`` records (the same scenario, resampled: at most 128
  agents, the map as 20,000 or 30,000 points). Which of both a record is, is seen in the record itself.
- ``*.json``: the scenarios that GPUDrive (github.com/Emerge-Lab/gpudrive) makes of them: one size a track.
- WOMD-LiDAR: ``<scenario id>.tfrecord`` in a folder of its own (option ``lidar``), a ``Scenario`` with nothing but
  ``compressed_frame_laser_data`` of the first 11 steps; read as well where it stands in the scenario's own record.

Decisions:

- Global coordinates as they are (right-handed, z up, x east). Ego frame, boxes, tables: :mod:`data_tools.scenario_log`;
  the ego is the sdc's box, origin in its centre. Boxes are given by their centres already.
- Categories ``TYPE_VEHICLE``, ``TYPE_PEDESTRIAN``, ``TYPE_CYCLIST``, ``TYPE_OTHER``, ``TYPE_UNSET``.
- ``tracks_to_predict`` and ``objects_of_interest`` are roles. The scenario's id, its current step and where the record
  stands are in the table ``scenario``; the index of a track in the source (that predictions refer to) in
  ``track_attributes.source_index``.
- Map: :mod:`data_tools.waymo_perception.maps` (the messages are the same). A lane is its centre line. In ``tf.Example``
  the map is sampled points: features are put together again by their ids, kinds by Waymo's type numbers; lanes have no
  successors and no neighbours there.
- Lidar points are moved into the ego frame of their step (sensors with the identity as extrinsics, as the source's
  vehicle frame has another origin than its boxes); both returns, columns as in the perception data. Calibrations and
  vehicle poses are kept in the tables ``lidar_calibration`` and ``vehicle_pose``. Camera tokens: ``camera_tokens``.
- GPUDrive's marks for missing values (-10000) stand only where ``valid`` is false; its ``mark_as_expert`` and goal are
  in ``track_attributes``. Files without ``metadata`` do not tell which object is the ego.
"""

from data_tools.waymo_motion.convert import MotionLog, Options, convert_log, list_logs, log_files

__all__ = ["MotionLog", "Options", "convert_log", "list_logs", "log_files"]
