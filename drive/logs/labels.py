"""The tables of boxes and tracks, collected frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.logs import schema
from drive.logs.tables import columns_table, vectors


class BoxTable:
    """Boxes of a log being written, and the tracks that their tokens name."""

    def __init__(self, log_name: str) -> None:
        self._log_name = log_name
        self._boxes: list[pa.Table] = []
        self._tracks: dict[str, int] = {}
        self._track_categories: list[str] = []

    @property
    def num_tracks(self) -> int:
        """Different track tokens seen so far."""
        return len(self._tracks)

    @property
    def tokens(self) -> list[str]:
        """Track tokens, in the order in which they were first seen."""
        return list(self._tracks)

    def add(
        self,
        frame: int,
        boxes: np.ndarray,
        category: Sequence[str],
        track: Sequence[str],
        *,
        velocity_valid: np.ndarray,
        num_lidar_points: np.ndarray | None,
        num_radar_points: np.ndarray | None,
        source_translation: np.ndarray,
        source_rotation: np.ndarray,
        source_size: np.ndarray,
        attributes: Sequence[str] | None,
        visibility: Sequence[str] | None,
        source_token: Sequence[str] | None,
        interpolated: bool,
        extra: Mapping[str, Any] | None,
    ) -> None:
        """Append the boxes of a frame; arguments and errors: LogWriter.add_boxes."""
        boxes = np.array(boxes, np.float64).reshape(-1, 9)
        count = len(boxes)
        valid = np.asarray(velocity_valid, bool).reshape(count)
        boxes[~valid, 7:9] = 0.0
        bad = ~np.isfinite(boxes).all(axis=1) | ~(boxes[:, 3:6] > 0).all(axis=1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise UserError(
                f"{self._log_name}, frame {frame}, box {row} ({category[row]}, track {track[row]})",
                f"not a box: {', '.join(f'{v:g}' for v in boxes[row])}",
                "every number must be finite and every size positive; mend or leave out this label",
            )
        for name, values in (("category", category), ("track", track)):
            if len(values) != count:
                raise ValueError(f"{len(values)} values of {name} for {count} boxes")
        tracks = [self._track(token, kind) for token, kind in zip(track, category, strict=True)]
        blank = [""] * count
        columns = {
            "frame": pa.array(np.full(count, frame, np.int32)),
            "box": vectors(boxes, 9),
            "category": pa.array(list(category), pa.string()),
            "track": pa.array(tracks, pa.int32()),
            "velocity_valid": pa.array(valid),
            "num_lidar_points": _counts(num_lidar_points, count),
            "num_radar_points": _counts(num_radar_points, count),
            "source_translation": vectors(source_translation, 3),
            "source_rotation": vectors(source_rotation, 4),
            "source_size": vectors(source_size, 3),
            "attributes": pa.array(list(blank if attributes is None else attributes), pa.string()),
            "visibility": pa.array(list(blank if visibility is None else visibility), pa.string()),
            "source_token": pa.array(list(blank if source_token is None else source_token), pa.string()),
            "interpolated": pa.array(np.full(count, bool(interpolated))),
        }
        for name, values in (extra or {}).items():
            if name in columns:
                raise ValueError(f"extra box column {name!r} has the name of a standard one")
            columns[name] = pa.array(values)
        self._boxes.append(pa.table(columns))

    def _track(self, token: str, category: str) -> int:
        index = self._tracks.setdefault(token, len(self._tracks))
        if index == len(self._track_categories):
            self._track_categories.append(category)
        return index

    def boxes(self) -> pa.Table:
        """The table of boxes, sorted by frame."""
        if not self._boxes:
            return schema.BOXES.empty_table()
        table = pa.concat_tables([schema.BOXES.empty_table(), *self._boxes], promote_options="default")
        order = np.argsort(table["frame"].to_numpy(), kind="stable")  # within a frame: the order they were added in
        return table.take(pa.array(order)).combine_chunks()

    def tracks(self, boxes: pa.Table) -> pa.Table:
        """The table of tracks, with what `boxes` (the table above) says of them."""
        track, frame = boxes["track"].to_numpy(), boxes["frame"].to_numpy()
        count = np.bincount(track, minlength=len(self._tracks))
        first = np.full(len(self._tracks), np.iinfo(np.int32).max)
        last = np.full(len(self._tracks), -1)
        np.minimum.at(first, track, frame)
        np.maximum.at(last, track, frame)
        return columns_table(schema.TRACKS, [list(self._tracks), self._track_categories, count, first, last])


def _counts(values: np.ndarray | None, count: int) -> pa.Array:
    return pa.nulls(count, pa.int32()) if values is None else pa.array(np.asarray(values), pa.int32())
