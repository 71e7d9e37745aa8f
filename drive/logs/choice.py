"""What of a recording goes into a log, and in which form: one place for the converters of all data sets.

A converter writes everything that it finds; the LogWriter leaves out what was not chosen. Converters count the rows of
sensors and the frames as if nothing were left out (`LogWriter.add_sweep` and `add_frame` return such numbers), the
writer translates: rows of frames, boxes, and the columns ``frame``, ``sensor`` and ``row`` of extra tables.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from drive.errors import UserError

PointCoding = Literal["raw", "lz4", "quantised"]


@dataclass(frozen=True)
class Choice:
    """What is written.

    Attributes:
        sensors: Names or globs (``CAM_*``); empty = all.
        start_s, end_s: Half-open range of time, seconds after `LogWriter.begin`'s or else the first time that the
            converter writes (chosen or not); end_s None = to the end.
        reference_images: Cameras hold the paths of the recorded files instead of their bytes.
        points: "raw" = float32, mapped into memory; "lz4" = the same numbers, compressed; "quantised" = x, y, z as
            whole steps (drive.logs.coding), the other columns exact, compressed.
    """

    sensors: tuple[str, ...] = ()
    start_s: float = 0.0
    end_s: float | None = None
    reference_images: bool = False
    points: PointCoding = "raw"

    @property
    def leaves_out(self) -> bool:
        """Whether anything may be left out."""
        return bool(self.sensors) or self.start_s > 0 or self.end_s is not None

    def as_dict(self) -> dict[str, Any]:
        """The fields that are not at their defaults, for JSON."""
        default = asdict(Choice())
        return {name: value for name, value in asdict(self).items() if value != default[name]}


_EVERYTHING = Choice()
_CHOICE: ContextVar[Choice] = ContextVar("choice", default=_EVERYTHING)


@contextlib.contextmanager
def choosing(choice: Choice) -> Iterator[None]:
    """Every LogWriter that is made inside the block writes what `choice` says."""
    token = _CHOICE.set(choice)
    try:
        yield
    finally:
        _CHOICE.reset(token)


def chosen() -> Choice:
    """The choice of the innermost `choosing` block; everything, raw, outside of any."""
    return _CHOICE.get()


class Filter:
    """Which rows and frames of one log are kept, and what numbers they have in the log."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self._origin_ns: int | None = None
        self._rows: dict[str, list[int]] = {}  # sensor -> stored row of every row that the converter added, -1 = none
        self._count: dict[str, int] = {}
        self._frames: list[int] = []
        self._num_frames = 0

    def add_sensor(self, name: str) -> bool:
        """Whether a sensor is wanted."""
        self._rows[name], self._count[name] = [], 0
        return self.wants_sensor(name)

    def wants_sensor(self, name: str) -> bool:
        """Whether the choice names a sensor."""
        return not self.choice.sensors or any(fnmatchcase(name, glob) for glob in self.choice.sensors)

    def wants_time(self, timestamp_ns: int) -> bool:
        """Whether an instant lies in the chosen range; the first one asked for is the log's beginning."""
        if self._origin_ns is None:
            self._origin_ns = int(timestamp_ns)
        seconds = (int(timestamp_ns) - self._origin_ns) * 1e-9
        # Sensors do not begin at one instant: without a start, what is a little before the first is in.
        after = self.choice.start_s <= 0 or seconds >= self.choice.start_s
        return after and (self.choice.end_s is None or seconds < self.choice.end_s)

    def add_row(self, sensor: str, kept: bool) -> int:
        """Number of a sensor's next row as the converter counts."""
        self._rows[sensor].append(self._count[sensor] if kept else -1)
        self._count[sensor] += kept
        return len(self._rows[sensor]) - 1

    def add_frame(self, kept: bool) -> int:
        """Number of the next frame as the converter counts."""
        self._frames.append(self._num_frames if kept else -1)
        self._num_frames += kept
        return len(self._frames) - 1

    def stored_frame(self, frame: int) -> int | None:
        """A frame's number in the log; None where it is left out. ValueError where it was never added."""
        if not 0 <= frame < len(self._frames):
            raise ValueError(f"frame {frame} was not added")
        return self._frames[frame] if self._frames[frame] >= 0 else None

    def stored_rows(self, rows: Mapping[str, int]) -> dict[str, int]:
        """Rows of a frame as they are in the log, without what was left out."""
        for sensor, row in rows.items():
            if not 0 <= row < len(self._rows[sensor]):
                raise ValueError(f"frame {len(self._frames)}: {sensor!r} has no row {row}")
        stored = {sensor: self._rows[sensor][row] for sensor, row in rows.items()}
        return {sensor: row for sensor, row in stored.items() if row >= 0}

    def check(self, place: str) -> None:
        """UserError where sensors were chosen and a log has none of them."""
        if self.choice.sensors and self._rows and not any(self.wants_sensor(name) for name in self._rows):
            what = f"has no sensor {' or '.join(self.choice.sensors)}"
            raise UserError(place, what, f"its sensors are {', '.join(self._rows)}")

    def table(self, table: pa.Table, tracks: set[str]) -> pa.Table:
        """Rows of an extra table that belong to what is kept; ``frame`` and ``row`` renumbered.

        Told by the names of columns: ``sensor`` and ``row``; ``frame``; ``timestamp_ns``; ``track`` (of `tracks`).
        """
        if not self.choice.leaves_out:
            return table
        names, keep = table.column_names, np.ones(table.num_rows, bool)
        changed: dict[str, np.ndarray] = {}
        sensors = table["sensor"].to_pylist() if "sensor" in names else None
        if sensors is not None:
            keep &= np.array([self.wants_sensor(s) for s in sensors] if sensors else [], bool) | self._unknown(sensors)
        if sensors is not None and "row" in names:
            rows = table["row"].to_numpy()
            new = [self._translate(self._rows.get(s, self._frames), r) for s, r in zip(sensors, rows, strict=True)]
            changed["row"] = np.array(new, np.int64)
        elif "frame" in names and pa.types.is_integer(table["frame"].type):
            new = [self._translate(self._frames, frame) for frame in table["frame"].to_numpy()]
            changed["frame"] = np.array(new, np.int64)
        elif "timestamp_ns" in names:
            keep &= np.array([self.wants_time(t) for t in table["timestamp_ns"].to_numpy()], bool)
        elif "track" in names and pa.types.is_string(table["track"].type):
            keep &= np.array([token in tracks for token in table["track"].to_pylist()], bool)
        for name, values in changed.items():
            keep &= values >= 0
            at = names.index(name)
            table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
        return table.filter(pa.array(keep))

    def _unknown(self, sensors: list[str]) -> np.ndarray:
        """bool [N]: names that are no sensor of the log (a converter's own words)."""
        return np.array([name not in self._rows for name in sensors], bool)

    @staticmethod
    def _translate(numbers: list[int], number: int) -> int:
        return numbers[number] if 0 <= number < len(numbers) else -1
