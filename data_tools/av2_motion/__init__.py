"""Argoverse 2 motion forecasting scenarios (Wilson et al., NeurIPS 2021 datasets track).

Origin: https://www.argoverse.org/av2.html, API https://github.com/argoverse/av2-api. Licence: CC BY-NC-SA 4.0
(non-commercial).

Raw folder of a scenario, anywhere below the given one: ``scenario_<id>.parquet``, a row a track and step (110 steps at
10 Hz, 50 observed; test data has these only), and ``log_map_archive_<id>.json``, its vector map. Positions, headings
and velocities are two-dimensional, in the city frame.

Decisions:

- Frames, boxes, tables: :mod:`data_tools.scenario_log`; the ego is the track ``AV``. Its frame's origin is the point
  that the data set calls its position (tracks are points here; the API does not say where on the vehicle they are).
- No heights are given: z of poses and boxes is 0. Map boundaries keep their own heights.
- NO SIZES ARE GIVEN. A box needs one, so each object type has a nominal size (:data:`SIZES`; vehicles and cyclists as
  the API draws them); ``source_size`` is 0 0 0 to say that the data set has none.
- Roles: the focal track is ``focal``, other tracks of category SCORED_TRACK ``scored``. The category of each track
  (TRACK_FRAGMENT, UNSCORED_TRACK, SCORED_TRACK, FOCAL_TRACK) is in ``track_attributes``. The box column ``observed``
  tells history from future.
- Times: ``start_timestamp`` to ``end_timestamp`` (nanoseconds, as float64 in the file: whole 64 ns) in even steps.
- Map: :mod:`data_tools.av2.maps`, as in the sensor data set.
"""

from data_tools.av2_motion.convert import SIZES, MotionScenario, Options, convert_log, list_logs, log_files

__all__ = ["SIZES", "MotionScenario", "Options", "convert_log", "list_logs", "log_files"]
