"""The synthetic town: a data set of our own in raw nuScenes v1.0 shape, made by a procedure from a seed.

Frames, units and files are those of nuScenes (dataset_formats: tables, `samples/`, `sweeps/`, `maps/`, `can_bus/`),
with two additions that the devkit ignores: the table `scene_3d` (scene_token, filename, bodies_filename) names each
scene's static 3D world (`scene_3d/*.arrow`, read by `drive.render.scene.StaticScene.load`) and the shapes of its
actors (`drive.render.bodies.Bodies.load`), and `splits.json` lists `town_train` and `town_val`. Traffic drives on the
right everywhere, whatever the borrowed location names say. No licence applies: the data are generated, there is nothing
of anybody's in them.

`python -m data_tools.town OUT` makes it; `make_tiny_town` makes a small one for tests.
"""

from data_tools.town.command import TownConfig, build, is_town, main, make_tiny_town

__all__ = ["TownConfig", "build", "is_town", "main", "make_tiny_town"]
