"""Frames of the end-to-end driving data set to logs. Conventions: ``data_tools.waymo_e2e``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_tools.tfrecord import TFRecordFile
from data_tools.waymo_e2e.messages import E2ED_FRAME, E2ED_HEAD
from data_tools.waymo_e2e.states import StateRows
from data_tools.waymo_perception.segment import SegmentWriter
from data_tools.wire import Description, WireError, decode
from drive.errors import UserError
from drive.logs.schema import NAME_PATTERN
from drive.logs.writer import LogWriter

LICENCE = "Waymo Open Dataset licence (non-commercial)"
_FILES = re.compile(r"[^.].*\.tfrecord(-\d+-of-\d+)?")
_NAME = re.compile(r"(.+)-(\d{1,9})")
_SPLITS = re.compile(r"(training|val|test)")
_HEAD_BYTES = 4096
_GIVE = "give files of the end-to-end driving data set (E2EDFrame records), or copy it again"


@dataclass(frozen=True)
class Options:
    """What to convert of a folder of end-to-end driving files."""

    images: bool = True
    """copy the camera images"""

    content: ClassVar[tuple[str, ...]] = ("images",)
    listing: ClassVar[tuple[str, ...]] = ("*tfrecord*",)
    images_in_records: ClassVar[bool] = True


@dataclass(frozen=True)
class Segment:
    """One segment to convert: its name, and (file, record) of its frames in order."""

    name: str
    frames: tuple[tuple[Path, int], ...]


def list_logs(raw: Path, options: Options) -> list[Segment]:
    """All segments of all files below ``raw``, sorted by name."""
    found: dict[str, dict[int, tuple[Path, int]]] = {}
    paths = [p for p in sorted(Path(raw).rglob("*.tfrecord*")) if _FILES.fullmatch(p.name) and p.is_file()]
    for path in paths:
        with TFRecordFile(path) as file, open(path, "rb", buffering=0) as data:
            for record in range(len(file)):
                name = _frame_name(file, record, data)
                match = _NAME.fullmatch(name)
                segment, number = (match[1], int(match[2])) if match else (name, 0)
                if not NAME_PATTERN.fullmatch(segment):
                    raise UserError(file.place(record), f"frame name {name[:80]!r} cannot name a log", _GIVE)
                other = found.setdefault(segment, {}).setdefault(number, (path, record))
                if other != (path, record):
                    what = f"frame {name} is also record {other[1]} of {other[0]}"
                    raise UserError(file.place(record), what, "convert one copy of the data set")
    if not found:
        place = paths[0] if paths else raw
        raise UserError(place, "no TFRecord file with frames in it", "give files of the end-to-end driving data set")
    return [Segment(name, tuple(frames[k] for k in sorted(frames))) for name, frames in sorted(found.items())]


def _frame_name(file: TFRecordFile, record: int, data: Any) -> str:
    """Name of a record's frame, from its first bytes where it stands there, as it does in real files."""
    data.seek(int(file.offsets[record]))
    head = data.read(min(_HEAD_BYTES, int(file.lengths[record])))
    name = _leading_name(head)
    if name is None:
        found = _decode(file.read(record), E2ED_HEAD, file.place(record))
        name = found.get("frame", {}).get("context", {}).get("name")
    if not name:
        raise UserError(file.place(record), "is no E2EDFrame: it has no frame name", _GIVE)
    return name


def _leading_name(head: bytes) -> str | None:
    """The string in field 1 of field 1 of field 1, if each of them comes first."""
    at = 0
    for _ in range(3):
        if at >= len(head) or head[at] != 0x0A:  # field 1, length-delimited
            return None
        at, length, shift = at + 1, 0, 0
        while at < len(head):
            length |= (head[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if head[at - 1] < 128 or shift > 28:
                break
    text = head[at : at + length]
    try:
        return text.decode() if len(text) == length else None
    except UnicodeDecodeError:
        return None


def _decode(data: bytes, description: Description, place: str) -> dict[str, Any]:
    try:
        return decode(data, description)
    except WireError as error:
        raise UserError(place, f"is no E2EDFrame: {error}", _GIVE) from None


def log_files(raw: Path, source: Segment) -> list[Path]:
    """Raw files that hold its frames, and those of other logs."""
    return sorted({path for path, _ in source.frames})


def convert_log(raw: Path, source: Segment, out_root: Path, options: Options) -> None:
    """Write one log. ``raw`` is not used: the segment knows its records.

    Raises:
        UserError: a record is damaged or no such frame; nothing is left behind then.
    """
    split = _SPLITS.match(source.frames[0][0].name) if source.frames else None
    writer = LogWriter(
        out_root, source.name, dataset="waymo_e2e", source_version="1.0.0", licence=LICENCE,
        split=split[1] if split else "",
    )  # fmt: skip
    with writer as log:
        states = StateRows()
        segment = SegmentWriter(log, images=options.images, projections=False)
        segment.write(_frames(source, states))
        states.write(log)


def _frames(source: Segment, states: StateRows) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, Frame message) one after the other; what is beside the Frame goes into `states`."""
    for index, (path, record) in enumerate(source.frames):
        with TFRecordFile(path) as file:
            place = file.place(record) if record < len(file) else str(path)
            if record >= len(file):
                raise UserError(place, f"has no record {record}", "the file was changed: start again")
            found = _decode(file.read(record), E2ED_FRAME, place)
        frame = found.get("frame", {})
        name = frame.get("context", {}).get("name", "")
        match = _NAME.fullmatch(name)
        if (match[1] if match else name) != source.name or "timestamp_micros" not in frame:
            raise UserError(place, f"frame {name!r} without time, or not of segment {source.name}", _GIVE)
        states.add(index, name, found, place)
        if "pose" not in frame:
            frame["pose"] = {"transform": np.eye(4).reshape(-1)}
        # The segment's own name: it must be one for all frames of a log.
        yield place, {**frame, "context": {**frame["context"], "name": source.name}}
