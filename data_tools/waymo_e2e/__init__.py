"""Waymo Open Dataset for end-to-end driving (WOD-E2E): what the files mean and what we make of them.

Origin: https://waymo.com/open (Xu et al., 2025). Licence: Waymo Open Dataset licence, non-commercial. Facts:
``end_to_end_driving_data.proto`` of https://github.com/waymo-research/waymo-open-dataset.

Raw files: ``*.tfrecord*`` anywhere below the folder, one ``E2EDFrame`` a record: a ``Frame`` with eight cameras, their
calibrations and a time, the ego's past (16 states at 4 Hz, the last one now) and future (20 positions at 4 Hz; not in
test data), the intent of the route, and for rated frames up to three trajectories with a rater's score.

Decisions:

- A segment is one log: the frames whose names ``<segment>-<number>`` share their first part, in the order of their
  numbers, wherever in the files they stand. Listing reads the beginning of every record.
- Ego frame: the vehicle's own, origin at the rear axle, x forward, y left, z up. Cameras, images, their tables:
  :mod:`data_tools.waymo_perception`.
- THE DATA SET GIVES NO GLOBAL POSES. Frames have the identity then and ``e2e_frames.pose_valid`` is false: nothing may
  be moved from one frame to another by them. Where a ``Frame`` does hold a pose it is taken.
- Table ``ego_states``: all past, future and rated trajectories, in the ego frame of their frame, with their time
  relative to it; what a trajectory does not give (velocities of the future) is null. Table ``preferences``: one row a
  rated trajectory; a score of -1 says that there is none. Table ``ego``: the state now.
"""

from data_tools.waymo_e2e.convert import Options, Segment, convert_log, list_logs, log_files

__all__ = ["Options", "Segment", "convert_log", "list_logs", "log_files"]
