"""Trajectories, intents and ratings of end-to-end frames as tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.waymo_e2e.messages import INTENTS
from data_tools.waymo_perception.checks import finite, named
from drive.errors import UserError
from drive.logs.standard import STANDARD_TABLES
from drive.logs.writer import LogWriter

RATE_HZ = 4.0
_AGAIN = "copy the file again"
# Name in the message: column of the table.
VALUES = {
    "pos_x": "x_m", "pos_y": "y_m", "pos_z": "z_m", "vel_x": "vx_mps", "vel_y": "vy_mps", "accel_x": "ax_mps2",
    "accel_y": "ay_mps2",
}  # fmt: skip
_STATES = pa.schema(
    [
        ("frame", pa.int32()),
        ("part", pa.string()),  # past, future, preference
        ("trajectory", pa.int32()),  # number of the rated trajectory; 0 for past and future
        ("step", pa.int32()),
        ("time_s", pa.float64()),  # relative to the frame
        *((column, pa.float64()) for column in VALUES.values()),
    ]
)
_FRAMES = pa.schema(
    [
        ("frame", pa.int32()),
        ("source_name", pa.string()),
        ("intent", pa.string()),
        ("pose_valid", pa.bool_()),
        ("num_preferences", pa.int32()),
    ]
)
_PREFERENCES = pa.schema(
    [("frame", pa.int32()), ("trajectory", pa.int32()), ("score", pa.float64()), ("source_score", pa.float64())]
)


class StateRows:
    """The rows of the tables ego_states, e2e_frames, preferences and ego, collected frame by frame."""

    def __init__(self) -> None:
        self._states: list[pa.Table] = []
        self._frames: list[dict[str, Any]] = []
        self._preferences: list[dict[str, Any]] = []
        self._ego: list[dict[str, Any]] = []

    def add(self, index: int, name: str, found: dict[str, Any], place: str) -> None:
        """Add what a decoded E2EDFrame says beside its Frame."""
        rated = found["preference_trajectories"]
        self._frames.append(
            {
                "frame": index,
                "source_name": name,
                "intent": named(INTENTS, found.get("intent", 0), "intent", place),
                "pose_valid": "pose" in found["frame"],
                "num_preferences": len(rated),
            }
        )
        past = self._trajectory(index, "past", 0, found.get("past_states"), place)
        self._trajectory(index, "future", 0, found.get("future_states"), place)
        for number, trajectory in enumerate(rated):
            self._trajectory(index, "preference", number, trajectory, place)
            score = trajectory.get("preference_score")
            if score is not None and not -1 <= score <= 10:
                raise UserError(place, f"score {score:g} of trajectory {number} is not 0 to 10 or -1", _AGAIN)
            known = None if score is None or score < 0 else score
            self._preferences.append({"frame": index, "trajectory": number, "score": known, "source_score": score})
        if len(past["pos_x"]):
            now = {VALUES[key]: float(values[-1]) for key, values in past.items() if len(values)}
            stamp = int(found["frame"]["timestamp_micros"]) * 1000
            columns = STANDARD_TABLES["ego"].names
            self._ego.append({"timestamp_ns": stamp, **{key: now[key] for key in columns if key in now}})

    def _trajectory(
        self, index: int, part: str, number: int, found: dict[str, Any] | None, place: str
    ) -> dict[str, np.ndarray]:
        values = {key: np.zeros(0) if found is None else found[key].astype(np.float64) for key in VALUES}
        count = len(values["pos_x"])
        if len(values["pos_y"]) != count or any(len(v) not in (0, count) for v in values.values()):
            lengths = ", ".join(f"{len(v)} of {key}" for key, v in values.items())
            raise UserError(place, f"{part} states: {lengths}", _AGAIN)
        for key, given in values.items():
            finite(given, f"{key} of the {part} states", place)
        steps = np.arange(count)
        times = (steps - (count - 1)) / RATE_HZ if part == "past" else (steps + 1) / RATE_HZ
        columns = [np.full(count, index), [part] * count, np.full(count, number), steps, times]
        columns += [values[key] if len(values[key]) else [None] * count for key in VALUES]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _STATES, strict=True)]
        self._states.append(pa.Table.from_arrays(arrays, schema=_STATES))
        return values

    def write(self, log: LogWriter) -> None:
        """Store the tables; `ego` only where past states were given."""
        log.add_table("ego_states", pa.concat_tables([_STATES.empty_table(), *self._states]).combine_chunks())
        log.add_table("e2e_frames", pa.Table.from_pylist(self._frames, schema=_FRAMES))
        log.add_table("preferences", pa.Table.from_pylist(self._preferences, schema=_PREFERENCES))
        if self._ego:
            log.add_table("ego", pa.Table.from_pylist(self._ego, schema=STANDARD_TABLES["ego"]))
