"""Toyota Research Institute's Dataset Governance Policy format (DGP; DDAD and others): its meaning, what we make of it.

Origin: https://github.com/TRI-ML/dgp. Licence: that of the data set; DDAD is CC BY-NC-SA 4.0 (``--licence``).

Raw files read of a scene folder:

- ``scene_*.json``: samples (instants, each with its data and calibration), data (``datum``: an image or a point cloud
  with its file, annotation files, and the sensor's pose in the world), ontologies.
- ``calibration/<key>.json``: for each sensor its pose in the vehicle frame and pinhole intrinsics.
- ``point_cloud/<SENSOR>/*.npz``: array ``data``, columns as ``point_format`` says; sensor frame.
- ``bounding_box_3d/<SENSOR>/*.json``: boxes in the SENSOR's frame (x forward for a lidar), centre, instance ids, number
  of points. ``bounding_box_2d``: pixels. ``ontology/<key>.json``: names of class ids.

Decisions:

- Ego frame = DGP's vehicle frame (that of the extrinsics); global = the world of the poses. A log a scene, named as its
  folder. A frame a sample, at the time of its first point cloud, else of the sample.
- 3D boxes are those of the sample's point clouds (cameras carry the same boxes once more, in their frame); 2D boxes
  are the standard table ``camera_labels``. Yaw is taken in the ego frame; roll and pitch of a box stay in
  ``source_rotation`` (which with ``source_translation`` is in the sensor's frame).
- Velocities: differences of a track's places in the world (:mod:`data_tools.av2.velocity`).
- Times: ISO 8601. Those of the repository's test scene are ten times too large (year 2463, 1 s between samples of 10
  Hz; with a tenth of it cars drive 16 m/s): times after 2200 are divided by ten.
- ``num_points`` of the test scene counts points of a denser cloud than the one in the files.
- One calibration a scene; a scene whose samples have several is refused. Points are float64 in the files, float32 here.
"""

from data_tools.dgp.convert import DgpScene, Options, convert_log, list_logs, log_files

__all__ = ["DgpScene", "Options", "convert_log", "list_logs", "log_files"]
