"""The CAN bus expansion of a scene: every message as it is, the ego's motion as the standard table.

Format: nuscenes-devkit 1.2 can_bus/README.md and can_bus_api.py, from which also the two lists of scenes: without CAN
bus data, and with a route that lies away from the poses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from drive.errors import UserError
from drive.geometry.clock import NS_PER_US
from drive.logs.standard import STANDARD_TABLES
from drive.logs.writer import LogWriter

MESSAGES = ("ms_imu", "pose", "steeranglefeedback", "vehicle_monitor", "zoesensors", "zoe_veh_info")
_AGAIN = "the file was cut or damaged: get it again"
_NO_DATA = "161-168 170-176 309-314"
_MISALIGNED = (
    "71 73-76 85 100-101 106-110 112-119 261-264 276 302-306 334 388-390 436 499-502 504-515 517-518 547-551 556-565"
    " 730-731 733-738 778 780-784 904-905 1073-1074"
)


def _scenes(ranges: str) -> frozenset[str]:
    found: list[str] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        found += [f"scene-{number:04d}" for number in range(int(first), int(last or first) + 1)]
    return frozenset(found)


NO_DATA, MISALIGNED = _scenes(_NO_DATA), _scenes(_MISALIGNED)


def add_can_bus(log: LogWriter, raw: Path, scene: str) -> None:
    """``can_bus/<scene>_<message>.json``: a list of messages becomes table ``can_<message>``, the rest raw files.

    Where the expansion is there at all, table ``can_bus`` says in one row what it has of this scene: `messages`,
    `missing` (of MESSAGES), `known_missing` (the scene was recorded without) and `route_misaligned`. Table ``ego``
    (drive.logs.standard) is made of message pose; the steering column stays null, as the message has the angle of the
    steering wheel, not of the front wheels.
    """
    folder = raw / "can_bus"
    if not folder.is_dir():
        return
    found: list[str] = []
    for path in sorted(folder.glob(f"{scene}_*.json")):
        message = path.stem.removeprefix(f"{scene}_")
        found.append(message)
        data = path.read_bytes()
        try:
            records = json.loads(data)
        except ValueError as error:
            raise UserError(path, f"broken JSON ({error})", _AGAIN) from error
        if isinstance(records, list) and records and all(isinstance(r, dict) for r in records):
            try:
                log.add_table(f"can_{message}", pa.Table.from_pylist(records))
            except pa.ArrowException as error:
                raise UserError(path, f"messages of different shapes ({error})", _AGAIN) from error
            if message == "pose":
                log.add_table("ego", _ego(path, records))
        else:
            log.add_file(f"can_{message}.json", data)
    row = {
        "messages": found,
        "missing": [message for message in MESSAGES if message not in found],
        "known_missing": scene in NO_DATA,
        "route_misaligned": scene in MISALIGNED,
    }
    texts = pa.list_(pa.string())
    schema = pa.schema(
        [("messages", texts), ("missing", texts), ("known_missing", pa.bool_()), ("route_misaligned", pa.bool_())]
    )
    log.add_table("can_bus", pa.Table.from_pylist([row], schema))


def _ego(path: Path, records: list[dict[str, Any]]) -> pa.Table:
    """Standard table ego: velocity, acceleration and yaw rate of message pose; null where a message lacks one."""
    rows = []
    for number, record in enumerate(records):
        time = record.get("utime")
        if not isinstance(time, int) or isinstance(time, bool) or abs(time) > 2**53:
            raise UserError(path, f"message {number} has utime {time!r}", _AGAIN)
        velocity, acceleration, turn = (_vector(record, name) for name in ("vel", "accel", "rotation_rate"))
        rows.append(
            {
                "timestamp_ns": time * NS_PER_US,
                "vx_mps": velocity[0],
                "vy_mps": velocity[1],
                "ax_mps2": acceleration[0],
                "ay_mps2": acceleration[1],
                "yaw_rate_rps": turn[2],
                "steering_rad": None,
            }
        )
    return pa.Table.from_pylist(rows, STANDARD_TABLES["ego"])


def _vector(record: dict[str, Any], name: str) -> list[float | None]:
    values = record.get(name)
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(v, (int, float)) for v in values):
        return [None, None, None]
    return [float(value) if value == value else None for value in values]
