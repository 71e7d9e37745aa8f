"""Perception v1: the frames of a TFRecord file, one file a segment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_tools.tfrecord import TFRecordFile
from data_tools.waymo_perception.messages import FRAME, FRAME_HEAD
from data_tools.wire import Description, WireError, decode
from drive.errors import UserError

_NAME = re.compile(r"(?:.*segment-)?(.+?)(?:_with_camera_labels)?")


def segment_name(path: Path) -> str:
    """Segment of a file name: ``segment-<name>_with_camera_labels.tfrecord``, or the bare name."""
    match = _NAME.fullmatch(path.stem)
    assert match is not None
    return match[1]


def _decode(data: bytes, description: Description, file: TFRecordFile, record: int) -> dict[str, Any]:
    try:
        found = decode(data, description)
    except WireError as error:
        mend = "give files of the perception data set (v1 holds Frame records), or copy it again"
        raise UserError(file.place(record), f"is no Frame: {error}", mend) from None
    if "name" not in found.get("context", {}) or "timestamp_micros" not in found:
        raise UserError(
            file.place(record), "is no Frame: it has no context name or no time",
            "give files of the perception data set (v1)",
        )  # fmt: skip
    return found


def read_frames(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, decoded Frame) of every record, checksums verified, one in memory at a time."""
    with TFRecordFile(path) as file:
        for record in range(len(file)):
            yield file.place(record), read_frame(file, record)


def read_frame(file: TFRecordFile, record: int) -> dict[str, Any]:
    """One decoded Frame (fields of ``messages.FRAME``); range images stay compressed."""
    data = file.read(record)
    _decode(data, FRAME_HEAD, file, record)
    return _decode(data, FRAME, file, record)
