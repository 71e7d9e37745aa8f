"""From the data sets' own names to what a scene knows: kinds of actors, measures of the ego, colours of signals."""

from __future__ import annotations

from drive.dynamics.vehicle import Vehicle
from drive.logs.store import Log
from drive.samples.scene import CYCLIST, GREEN, PEDESTRIAN, RED, STATIC, UNKNOWN_LIGHT, VEHICLE, YELLOW

# Parts of categories in lower case, of all data sets that are converted. The first that a category holds decides:
# things come before what they are named after ("mobile_pedestrian_crossing_sign", "static_object.bicycle_rack").
_KINDS = (
    (
        STATIC,
        (
            "cone",
            "barrier",
            "bollard",
            "sign",
            "barrel",
            "debris",
            "pushable",
            "rack",
            "generic_object",
            "message_board",
            "traffic_light_trailer",
            "misc",
            "static",
        ),
    ),
    (CYCLIST, ("cycl", "rider", "scooter", "wheeled_device", "moped")),
    (PEDESTRIAN, ("pedestrian", "person", "human", "wheelchair", "stroller", "dog", "animal")),
    (VEHICLE, ("vehicle", "car", "truck", "bus", "van", "trailer", "tram", "towed", "lorry")),
)

# Beginnings that decide before the parts do.
_FIRST = (
    ("human.", PEDESTRIAN),  # "human.pedestrian.stroller"
    ("official_signaler", PEDESTRIAN),
    ("construction", STATIC),  # "construction" alone, of forecasting data
    ("background", STATIC),
    ("riderless", STATIC),
)


def actor_kind(category: str) -> int | None:
    """Index into ACTOR_KINDS of a source category; None where it says nothing (unknown, other, DontCare ...)."""
    name = category.lower()
    if "dontcare" in name:
        return None
    for start, kind in _FIRST:
        if name.startswith(start):
            return kind
    for kind, parts in _KINDS:
        if any(part in name for part in parts):
            return kind
    return None


LIGHT_OF_STATE = {
    "red": RED,
    "arrow_red": RED,
    "flashing_red": UNKNOWN_LIGHT,  # stop, then go: no signal to wait for
    "yellow": YELLOW,
    "arrow_yellow": YELLOW,
    "flashing_yellow": UNKNOWN_LIGHT,
    "green": GREEN,
    "arrow_green": GREEN,
    "unknown": UNKNOWN_LIGHT,
}

# [recall] Renault Zoe: 4.084 m long, 1.73 m wide, wheelbase 2.588 m, 0.657 m behind the rear axle. The converted
# excerpts give 4.08 x 1.73.
NUSCENES_VEHICLE = Vehicle(width=1.73, front=3.427, rear=0.657, wheelbase=2.588, cog=1.3, height=1.562)
# The logs' own ego box is 5.286 x 2.332 x 2.33 (Jaguar I-Pace with its sensors, wheelbase 2.99 [recall]). Where its
# middle lies was measured on the logs that turn: 1.2 m to 1.4 m ahead of the point that moves without side slip.
WAYMO_VEHICLE = Vehicle(width=2.332, front=3.993, rear=1.293, wheelbase=2.99, cog=1.5, height=2.33)
# [recall] Ford Fusion: wheelbase 2.85 m; the logs' own ego box is 4.877 x 2.0 x 1.473 with its mirrors.
AV2_VEHICLE = Vehicle(width=1.85, front=3.8, rear=1.077, wheelbase=2.85, cog=1.4, height=1.473)

# The synthetic town's own ego (data_tools.town), in logs that it writes itself.
TOWN_VEHICLE = Vehicle(width=1.73, front=3.34, rear=0.74, wheelbase=2.6, cog=1.3, height=1.56)


def _make(log: Log) -> str:
    """Data set whose vehicle recorded a log."""
    dataset = str(log.manifest["dataset"])
    return str(log.manifest["source_version"]).split()[0].lower() if dataset == "scenarionet" else dataset


def ego_vehicle(log: Log) -> Vehicle:
    """Measures of the vehicle that recorded a log; nuPlan's own where the data set's is not known."""
    make = _make(log)
    for start, vehicle in (
        ("nuscenes", NUSCENES_VEHICLE),
        ("waymo", WAYMO_VEHICLE),
        ("av2", AV2_VEHICLE),
        ("town", TOWN_VEHICLE),
    ):
        if make.startswith(start):
            return vehicle
    return Vehicle()


def ego_origin_is_centre(log: Log) -> bool:
    """Whether the log's ego frame stands at the middle of the ego's box (else at its rear axle).

    Motion data sets give the box; checked by side slip on logs that turn (the rear axle has none).
    """
    return _make(log) in ("waymo_motion", "waymo", "lyft_l5_prediction")
