"""Lyft Level 5 prediction set (Houston et al., CoRL 2020): what its arrays mean and what we make of them.

Origin: https://github.com/woven-planet/l5kit. Licence: CC BY-NC-SA 4.0 (non-commercial).

Raw folders read: ``*.zarr`` (zarr version 2: a folder an array, ``.zarray`` describes it, a file a chunk, Blosc):

- ``scenes``: frame_index_interval, host, start_time, end_time (nanoseconds).
- ``frames`` (10 Hz): timestamp, agent_index_interval, traffic_light_faces_index_interval, ego_translation, _rotation.
- ``agents``: centroid [2], extent [3], yaw, velocity [2] (world, metres), track_id, label_probabilities [17].
- ``traffic_light_faces``: face_id, traffic_light_id, status (active, inactive, unknown).

No sensors; the semantic map (a protobuf) is not read.

Decisions:

- One log a scene, ``lyft_<zarr>_<scene>``; a frame a frame. Ego frame: origin at the vehicle's centre (l5kit draws the
  ego's box there), axes of ego_rotation; global frame: the set's world.
- Agents have no height above ground: boxes stand with their centre in the ego's plane (z = 0;
  ``frame_attributes.box_z_known`` is false). extent = length, width, height. They come from a perception system, not
  from people: ``label_probability`` is that of the likeliest label, which is the category. The ego is no agent.
- ``lights``: a row a face and frame; feature_id is the face's id in the semantic map, which also knows its colour: the
  state is ``unknown``, source_state the likeliest of active, inactive, unknown.
"""

from data_tools.lyft.convert import LyftScene, Options, convert_log, list_logs, log_files

__all__ = ["LyftScene", "Options", "convert_log", "list_logs", "log_files"]
