"""From the categories of a data set to the classes that a detector knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ClassMap:
    """Class names in label order, and which source category is which class.

    Attributes:
        names: Class of label 0, 1, ...
        from_source: Source category to class name; a category that is absent is ignored.
    """

    names: tuple[str, ...]
    from_source: Mapping[str, str]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"class names repeat: {self.names}")
        unknown = sorted(set(self.from_source.values()) - set(self.names))
        if unknown:
            raise ValueError(f"source categories map to classes that are not in names: {unknown}")

    def labels(self, categories: Sequence[str]) -> npt.NDArray[np.int64]:
        """Label of each source category; -1 where the category is ignored."""
        return np.array([self._label_of.get(category, -1) for category in categories], dtype=np.int64)

    @cached_property
    def _label_of(self) -> dict[str, int]:
        index = {name: i for i, name in enumerate(self.names)}
        return {source: index[name] for source, name in self.from_source.items()}

    def only(self, names: tuple[str, ...]) -> ClassMap:
        """The same map restricted to some classes, in the given order."""
        missing = sorted(set(names) - set(self.names))
        if missing:
            raise ValueError(f"classes that this map does not have: {missing}")
        return ClassMap(names, {source: name for source, name in self.from_source.items() if name in names})

    def renamed(self, names: tuple[str, ...], new: Mapping[str, str]) -> ClassMap:
        """The same sources under other classes: `new` maps this map's class to one of `names`, absent = ignored."""
        missing = sorted(set(new) - set(self.names))
        if missing:
            raise ValueError(f"classes that this map does not have: {missing}")
        return ClassMap(names, {source: new[name] for source, name in self.from_source.items() if name in new})


def union(*maps: ClassMap) -> ClassMap:
    """One map for logs of several data sets, all with the same class names.

    Raises:
        ValueError: different names, or a category of the same name that two data sets mean differently.
    """
    names, together = maps[0].names, dict(maps[0].from_source)
    for other in maps[1:]:
        if other.names != names:
            raise ValueError(f"maps of different classes: {names}, {other.names}")
        for source, name in other.from_source.items():
            if together.setdefault(source, name) != name:
                raise ValueError(f"category {source!r} is {together[source]!r} in one data set, {name!r} in another")
    return ClassMap(names, together)


# nuscenes/eval/detection/utils.py, category_to_detection_name, in the order of the detection task's class list.
NUSCENES_CLASSES = ClassMap(
    names=(
        "car",
        "truck",
        "bus",
        "trailer",
        "construction_vehicle",
        "pedestrian",
        "motorcycle",
        "bicycle",
        "traffic_cone",
        "barrier",
    ),
    from_source={
        "vehicle.car": "car",
        "vehicle.truck": "truck",
        "vehicle.bus.bendy": "bus",
        "vehicle.bus.rigid": "bus",
        "vehicle.trailer": "trailer",
        "vehicle.construction": "construction_vehicle",
        "human.pedestrian.adult": "pedestrian",
        "human.pedestrian.child": "pedestrian",
        "human.pedestrian.construction_worker": "pedestrian",
        "human.pedestrian.police_officer": "pedestrian",
        "vehicle.motorcycle": "motorcycle",
        "vehicle.bicycle": "bicycle",
        "movable_object.trafficcone": "traffic_cone",
        "movable_object.barrier": "barrier",
    },
)

# The synthetic town has no trailers, construction vehicles, motorcycles or barriers.
TOWN_CLASSES = NUSCENES_CLASSES.only(("car", "truck", "bus", "pedestrian", "bicycle", "traffic_cone"))

# The three classes that KITTI scores. Van and Person_sitting are neighbours of a class: the benchmark neither rewards
# nor punishes a detection there, so they are not taught as the class either.
KITTI_CLASSES = ClassMap(
    names=("car", "pedestrian", "cyclist"),
    from_source={"Car": "car", "Pedestrian": "pedestrian", "Cyclist": "cyclist"},
)

# The three classes that View-of-Delft scores (Palffy et al. 2022). A rider's own box lies inside its Cyclist box.
VOD_CLASSES = ClassMap(
    names=("car", "pedestrian", "cyclist"),
    from_source={"Car": "car", "Pedestrian": "pedestrian", "Cyclist": "cyclist"},
)

# nuPlan's and OpenScene's categories, all of them: boxes of an offline tracker, not of annotators.
NUPLAN_CLASSES = ClassMap(
    names=("vehicle", "pedestrian", "bicycle", "traffic_cone", "barrier", "czone_sign", "generic_object"),
    from_source={
        name: name
        for name in ("vehicle", "pedestrian", "bicycle", "traffic_cone", "barrier", "czone_sign", "generic_object")
    },
)

# The ontology of Toyota Research Institute's DGP scenes and of DDAD, grouped as they are of use to a detector.
DGP_CLASSES = ClassMap(
    names=("car", "truck", "bus", "trailer", "pedestrian", "motorcycle", "bicycle"),
    from_source={
        "Car": "car",
        "Truck": "truck",
        "Bus/RV/Caravan": "bus",
        "Trailer": "trailer",
        "Towed Object": "trailer",
        "Person": "pedestrian",
        "Motorcycle": "motorcycle",
        "Bicycle": "bicycle",
    },
)

WAYMO_CLASSES = ClassMap(
    names=("vehicle", "pedestrian", "cyclist"),
    from_source={"TYPE_VEHICLE": "vehicle", "TYPE_PEDESTRIAN": "pedestrian", "TYPE_CYCLIST": "cyclist"},
)

# The 26 categories that Argoverse 2 evaluates (av2.evaluation.detection), under their own names in lower case.
_AV2_EVALUATED = (
    "REGULAR_VEHICLE",
    "PEDESTRIAN",
    "BICYCLIST",
    "MOTORCYCLIST",
    "WHEELED_RIDER",
    "BOLLARD",
    "CONSTRUCTION_CONE",
    "SIGN",
    "CONSTRUCTION_BARREL",
    "STOP_SIGN",
    "MOBILE_PEDESTRIAN_CROSSING_SIGN",
    "LARGE_VEHICLE",
    "BUS",
    "BOX_TRUCK",
    "TRUCK",
    "VEHICULAR_TRAILER",
    "TRUCK_CAB",
    "SCHOOL_BUS",
    "ARTICULATED_BUS",
    "MESSAGE_BOARD_TRAILER",
    "BICYCLE",
    "MOTORCYCLE",
    "WHEELED_DEVICE",
    "WHEELCHAIR",
    "STROLLER",
    "DOG",
)
AV2_CLASSES = ClassMap(
    names=tuple(name.lower() for name in _AV2_EVALUATED),
    from_source={name: name.lower() for name in _AV2_EVALUATED},
)

# Several data sets in one training. They mean different things by a two-wheeler: Waymo's and KITTI's box holds the
# rider, Argoverse 2 labels rider and machine apart (the rider's box is taken), nuScenes labels machines with and
# without a rider alike (left out, so there a cyclist counts as background: what tells them apart is an attribute, not
# a category). The scores of a mixed model need this beside them.
_MIXED = ("vehicle", "pedestrian", "cyclist")
MIXED_CLASSES = union(
    WAYMO_CLASSES,
    NUSCENES_CLASSES.renamed(
        _MIXED,
        {
            **dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), "vehicle"),
            "pedestrian": "pedestrian",
        },
    ),
    AV2_CLASSES.renamed(
        _MIXED,
        {
            **dict.fromkeys(
                (
                    "regular_vehicle",
                    "large_vehicle",
                    "bus",
                    "box_truck",
                    "truck",
                    "truck_cab",
                    "school_bus",
                    "articulated_bus",
                    "vehicular_trailer",
                ),
                "vehicle",
            ),
            "pedestrian": "pedestrian",
            "bicyclist": "cyclist",
            "motorcyclist": "cyclist",
        },
    ),
    KITTI_CLASSES.renamed(_MIXED, {"car": "vehicle", "pedestrian": "pedestrian", "cyclist": "cyclist"}),
)
