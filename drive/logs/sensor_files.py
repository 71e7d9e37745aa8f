"""The payload files of a log being written, one a sensor, and the rows of sweeps.arrow that go with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from drive.logs import schema
from drive.logs.choice import Filter
from drive.logs.partial import PartialFolder
from drive.logs.rows import sweeps_table
from drive.logs.tables import TableFile


class SensorFiles:
    """Sensors that were declared, and what was written of those that `filter` wants (`written`: their rows)."""

    def __init__(self, folder: PartialFolder, kept: Filter) -> None:
        self.written: dict[str, dict[str, Any]] = {}
        self._folder, self._filter = folder, kept
        self._declared: dict[str, dict[str, Any]] = {}
        self._payloads: dict[str, TableFile] = {}
        self._sweeps: dict[str, list[tuple[Any, ...]]] = {}
        self._points: dict[str, int] = {}

    def declare(self, name: str, row: dict[str, Any]) -> None:
        """Add a sensor by its row of schema.SENSORS; ValueError for a name that was used."""
        if name in self._declared:
            raise ValueError(f"sensor {name!r} is declared twice")
        self._declared[name] = row
        if self._filter.add_sensor(name):
            self.written[name] = row
            self._sweeps[name] = []
            self._points[name] = 0

    def check(self, sensor: str, modalities: tuple[str, ...]) -> dict[str, Any]:
        """A sensor's row; ValueError where it was not declared or is of another kind."""
        if sensor not in self._declared:
            raise ValueError(f"sensor {sensor!r} was not declared by add_sensor")
        if (modality := self._declared[sensor]["modality"]) not in modalities:
            raise ValueError(f"sensor {sensor!r} is a {modality}")
        return self._declared[sensor]

    def wants(self, sensor: str, timestamp_ns: int) -> bool:
        """Whether a sweep or image is to be written."""
        return self._filter.wants_time(timestamp_ns) and sensor in self.written

    def add_row(
        self,
        sensor: str,
        batch: tuple[pa.Schema, list[pa.Array]],
        points: int,
        timestamp_ns: int,
        translation: Any,
        rotation: Any,
        is_key_frame: bool,
        *source: Any,
    ) -> int:
        """Write a payload of so many points and its row; returns the row's number as the converter counts."""
        rows = self._sweeps[sensor]
        if rows and timestamp_ns < rows[-1][0]:
            raise ValueError(f"{sensor!r}: time goes back from {rows[-1][0]} to {timestamp_ns}")
        self._payload(sensor, batch[0]).write_batch(batch[1])
        self._points[sensor] += points
        pose = np.asarray(translation, np.float64).reshape(3), np.asarray(rotation, np.float64).reshape(4)
        rows.append((int(timestamp_ns), *pose, bool(is_key_frame), *source))
        return self._filter.add_row(sensor, kept=True)

    def _payload(self, sensor: str, payload_schema: pa.Schema) -> TableFile:
        payload = self._payloads.get(sensor)
        if payload is None:
            modality = self.written[sensor]["modality"]
            packed = modality != "camera" and self._filter.choice.points != "raw"
            path = self._folder.partial / schema.payload_file(modality, sensor)
            payload = self._payloads[sensor] = TableFile(path, payload_schema, "lz4" if packed else None)
        elif not payload.schema.equals(payload_schema):
            raise ValueError(f"sweep of {sensor!r} has columns {payload_schema}, earlier ones {payload.schema}")
        return payload

    def finish(self) -> None:
        """Close the payload files (an empty one for a sensor that never spoke); write sensors and sweeps."""
        for sensor, info in self.written.items():
            empty = schema.CAMERA_PAYLOAD if info["modality"] == "camera" else schema.points_payload({})
            payload = self._payload(sensor, empty) if sensor not in self._payloads else self._payloads[sensor]
            self._folder.files[schema.payload_file(info["modality"], sensor)] = payload.finish()
        sensors = pa.Table.from_pylist(list(self.written.values()), schema=schema.SENSORS)
        self._folder.write_table("sensors.arrow", sensors)
        self._folder.write_table("sweeps.arrow", sweeps_table(self._sweeps))

    def abandon(self) -> None:
        """Close what is open, whatever it holds."""
        for payload in self._payloads.values():
            payload.abandon()

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows of every sensor and points of those that measure any, for the manifest."""
        points = {name: count for name, count in self._points.items() if self.written[name]["modality"] != "camera"}
        return {"rows": {name: len(rows) for name, rows in self._sweeps.items()}, "points": points}
