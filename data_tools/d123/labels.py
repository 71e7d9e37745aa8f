"""Numbers of 123D's enums (version 0.7): labels of boxes, ids of cameras and lidars, states of lights."""

from __future__ import annotations

# Class paths as metadata names them, and the data sets' own category names in the order of the numbers.
_REGISTRY = "py123d.parser.registry."
DEFAULT_CLASS = "py123d.datatypes.detections.box_detection_label.DefaultBoxDetectionLabel"
LABELS: dict[str, tuple[str, ...]] = {
    DEFAULT_CLASS: (
        "ego", "vehicle", "train", "two_wheeler", "person", "animal", "traffic_sign", "traffic_cone", "traffic_light",
        "barrier", "generic_object", "other",
    ),
    _REGISTRY + "NuScenesBoxDetectionLabel": (
        "vehicle.car", "vehicle.truck", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.construction",
        "vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.trailer", "vehicle.bicycle",
        "vehicle.motorcycle", "human.pedestrian.adult", "human.pedestrian.child",
        "human.pedestrian.construction_worker", "human.pedestrian.personal_mobility",
        "human.pedestrian.police_officer", "human.pedestrian.stroller", "human.pedestrian.wheelchair",
        "movable_object.trafficcone", "movable_object.barrier", "movable_object.pushable_pullable",
        "movable_object.debris", "static_object.bicycle_rack", "animal",
    ),
    _REGISTRY + "AV2SensorBoxDetectionLabel": (
        "ANIMAL", "ARTICULATED_BUS", "BICYCLE", "BICYCLIST", "BOLLARD", "BOX_TRUCK", "BUS", "CONSTRUCTION_BARREL",
        "CONSTRUCTION_CONE", "DOG", "LARGE_VEHICLE", "MESSAGE_BOARD_TRAILER", "MOBILE_PEDESTRIAN_CROSSING_SIGN",
        "MOTORCYCLE", "MOTORCYCLIST", "OFFICIAL_SIGNALER", "PEDESTRIAN", "RAILED_VEHICLE", "REGULAR_VEHICLE",
        "SCHOOL_BUS", "SIGN", "STOP_SIGN", "STROLLER", "TRAFFIC_LIGHT_TRAILER", "TRUCK", "TRUCK_CAB",
        "VEHICULAR_TRAILER", "WHEELCHAIR", "WHEELED_DEVICE", "WHEELED_RIDER",
    ),
    _REGISTRY + "NuPlanBoxDetectionLabel": (
        "vehicle", "bicycle", "pedestrian", "traffic_cone", "barrier", "czone_sign", "generic_object",
    ),
    _REGISTRY + "WODPerceptionBoxDetectionLabel": (
        "TYPE_UNKNOWN", "TYPE_VEHICLE", "TYPE_PEDESTRIAN", "TYPE_SIGN", "TYPE_CYCLIST",
    ),
    _REGISTRY + "WODMotionBoxDetectionLabel": (
        "TYPE_UNSET", "TYPE_VEHICLE", "TYPE_PEDESTRIAN", "TYPE_CYCLIST", "TYPE_OTHER",
    ),
}  # fmt: skip

# Words of a category in any data set -> default label, the first that fits; for data sets whose enum is not above.
_DEFAULT_WORDS = (
    ("train", "train"), ("tram", "train"), ("cyclist", "two_wheeler"), ("bicycle", "two_wheeler"),
    ("motor", "two_wheeler"), ("moped", "two_wheeler"), ("pedestrian", "person"), ("person", "person"),
    ("human", "person"), ("rider", "person"), ("animal", "animal"), ("dog", "animal"), ("cone", "traffic_cone"),
    ("sign", "traffic_sign"), ("barrier", "barrier"), ("car", "vehicle"), ("van", "vehicle"), ("truck", "vehicle"),
    ("bus", "vehicle"), ("vehicle", "vehicle"), ("trailer", "vehicle"),
)  # fmt: skip

CAMERA_IDS = {
    "pcam_f0": 0, "pcam_b0": 1, "pcam_l0": 2, "pcam_l1": 3, "pcam_l2": 4, "pcam_r0": 5, "pcam_r1": 6, "pcam_r2": 7,
    "pcam_stereo_l": 8, "pcam_stereo_r": 9, "pcam_d0": 19,
}  # fmt: skip
# Which id a camera of a data set has in 123D; others take free ids in order.
CAMERA_NAMES = {
    "CAM_FRONT": "pcam_f0", "CAM_BACK": "pcam_b0", "CAM_FRONT_LEFT": "pcam_l0", "CAM_BACK_LEFT": "pcam_l1",
    "CAM_FRONT_RIGHT": "pcam_r0", "CAM_BACK_RIGHT": "pcam_r1", "CAM_F0": "pcam_f0", "CAM_B0": "pcam_b0",
    "CAM_L0": "pcam_l0", "CAM_L1": "pcam_l1", "CAM_L2": "pcam_l2", "CAM_R0": "pcam_r0", "CAM_R1": "pcam_r1",
    "CAM_R2": "pcam_r2", "ring_front_center": "pcam_f0", "ring_front_left": "pcam_l0", "ring_side_left": "pcam_l1",
    "ring_rear_left": "pcam_l2", "ring_front_right": "pcam_r0", "ring_side_right": "pcam_r1",
    "ring_rear_right": "pcam_r2", "stereo_front_left": "pcam_stereo_l", "stereo_front_right": "pcam_stereo_r",
}  # fmt: skip
LIDAR_IDS = {
    "lidar_top": 2, "lidar_front": 3, "lidar_side_left": 4, "lidar_side_right": 5, "lidar_back": 6, "lidar_down": 7,
}  # fmt: skip

LIGHTS = ("green", "yellow", "red", "off", "unknown")


def names_of(label_class: str) -> tuple[str, ...]:
    """Category names of an enum by its path or its bare name; () where it is not known."""
    bare = label_class.rsplit(".", 1)[-1]
    return next((names for path, names in LABELS.items() if path.rsplit(".", 1)[-1] == bare), ())


def category_of(names: tuple[str, ...], label: int) -> str:
    """Category of a label's number."""
    return names[label] if label < len(names) else f"label_{label}"


def class_for(categories: set[str]) -> str:
    """Path of the enum that has all the categories, the default one where none has."""
    for path, names in LABELS.items():
        if path != DEFAULT_CLASS and categories <= set(names):
            return path
    return DEFAULT_CLASS


def label_of(label_class: str, category: str) -> int:
    """Number of a category in an enum; for the default one by its words."""
    names = LABELS[label_class]
    if category in names:
        return names.index(category)
    words = category.lower()
    return names.index(next((label for word, label in _DEFAULT_WORDS if word in words), "other"))
