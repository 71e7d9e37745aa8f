"""ScenarioNet / MetaDrive scenario pickles: what the files mean and what we make of them.

Origin: https://github.com/metadriverse/scenarionet (Li et al., NeurIPS 2023 datasets track), format
``metadrive/scenario`` of https://github.com/metadriverse/metadrive. The files hold data of other data sets (Waymo,
nuScenes, nuPlan ...) under THEIR licences: a log carries the licence of the data set that ``metadata.dataset`` names.

Raw folder: one pickle a scenario (``*.pkl`` anywhere below it; ``dataset_summary.pkl`` and ``dataset_mapping.pkl`` are
left alone), read by :mod:`data_tools.unpickle`. Coordinates: the source's global ones, right-handed, z up; 10 Hz.

Decisions:

- Ego frame and tables: :mod:`data_tools.scenario_log`. The ego's position is taken as ScenarioNet gives it: in scenes
  made from Waymo the centre of its box, in scenes made from nuScenes the ego pose, that is the REAR AXLE at z = 0.
- In nuScenes scenes length and width of the ego are swapped (1.73 x 4.08 for a Renault Zoe of 4.08 x 1.73). They are
  put right in the box; ``source_size`` keeps what the file says.
- A box's category is the name of the data set itself (``metadata.type`` of a track: ``vehicle.car``), ScenarioNet's
  own (``VEHICLE``) stands in the table ``track_attributes``.
- A lane with an outline becomes the polygon ``lane`` and the line ``centerline`` of the same id; a lane with a centre
  line only becomes the line ``lane`` (type LANE_SURFACE_UNSTRUCTURE: ``lane_connector``). Points with two coordinates
  get z = 0 (attribute ``source_dimensions`` 2). All other entries of a feature are its attributes.
- A signal without a state at a step (``None``) has no row in ``lights`` for that step.
- The time of a scenario begins at 0: the files hold no absolute one.
"""

from data_tools.scenarionet.convert import Options, ScenarioFile, convert_log, list_logs, log_files

__all__ = ["Options", "ScenarioFile", "convert_log", "list_logs", "log_files"]
