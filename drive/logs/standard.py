"""Extra tables that several data sets have: one name and one schema each, so that readers need no data set's name.

A log has them only where the data set recorded such a thing. Columns of one data set may follow the ones given here.
Missing values are null.

lights        state of a signal at a frame; ``feature_id`` is the lane or connector of the map that it governs
ego           motion of the ego as recorded (not derived from poses), in the ego frame
camera_labels boxes drawn into images, pixels, origin at the image's upper left corner
point_labels  classes of the points of one sweep, in the order of its points
track_roles   what a benchmark asks of a track
"""

from __future__ import annotations

import pyarrow as pa

from drive.logs.schema import VECTOR3

# What a signal may show; the data set's own name stands in source_state.
LIGHT_STATES = (
    "unknown",
    "red",
    "yellow",
    "green",
    "arrow_red",
    "arrow_yellow",
    "arrow_green",
    "flashing_red",
    "flashing_yellow",
)

# ego: the vehicle that records; predict, focal, scored: of a prediction benchmark; interest: of an interaction.
TRACK_ROLES = ("ego", "predict", "focal", "scored", "interest")

STANDARD_TABLES = {
    "lights": pa.schema(
        [
            ("frame", pa.int32()),
            ("feature_id", pa.string()),
            ("state", pa.string()),  # one of LIGHT_STATES
            ("stop_point", VECTOR3),  # global coordinates
            ("source_state", pa.string()),
        ]
    ),
    "ego": pa.schema(
        [
            ("timestamp_ns", pa.int64()),
            ("vx_mps", pa.float64()),
            ("vy_mps", pa.float64()),
            ("ax_mps2", pa.float64()),
            ("ay_mps2", pa.float64()),
            ("yaw_rate_rps", pa.float64()),
            ("steering_rad", pa.float64()),  # of the front wheels, left positive
        ]
    ),
    "camera_labels": pa.schema(
        [
            ("frame", pa.int32()),
            ("sensor", pa.string()),
            ("category", pa.string()),
            ("track", pa.string()),  # source token; null = none
            ("x_min", pa.float64()),
            ("y_min", pa.float64()),
            ("x_max", pa.float64()),
            ("y_max", pa.float64()),
        ]
    ),
    "point_labels": pa.schema(
        [
            ("sensor", pa.string()),
            ("row", pa.int32()),  # payload row of the sensor
            ("semantic", pa.list_(pa.uint16())),
            ("instance", pa.list_(pa.int32())),  # 0 = none
        ]
    ),
    "track_roles": pa.schema(
        [
            ("track", pa.string()),  # source token
            ("role", pa.string()),  # one of TRACK_ROLES
            ("difficulty", pa.int32()),
        ]
    ),
}


def check_standard(name: str, table: pa.Table) -> None:
    """ValueError where a table bears a standard name but not its columns (its own columns may follow them)."""
    schema = STANDARD_TABLES.get(name)
    if schema is None:
        return
    head = pa.schema([(field.name, field.type) for field in list(table.schema)[: len(schema)]])
    if not head.equals(schema):
        raise ValueError(f"table {name!r} must begin with the columns {schema.names}, it has {table.schema}")
    allowed = {"lights": ("state", LIGHT_STATES), "track_roles": ("role", TRACK_ROLES)}.get(name)
    if allowed is not None:
        column, values = allowed
        unknown = sorted(set(table[column].to_pylist()) - set(values), key=str)
        if unknown:
            raise ValueError(f"table {name!r}: {column} {unknown[0]!r} is not one of {values}")
