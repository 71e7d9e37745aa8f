"""Waymo Open Dataset perception segments to logs. Conventions: ``data_tools.waymo_perception``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

from data_tools.waymo_perception.components import KEPT, Component, read_segment, segment_files
from data_tools.waymo_perception.records import read_frames, segment_name
from data_tools.waymo_perception.segment import SegmentWriter
from drive.errors import UserError
from drive.logs.schema import NAME_PATTERN
from drive.logs.writer import LogWriter

DATASET = "waymo_perception"
LICENCE = "Waymo Dataset License Agreement for Non-Commercial Use"
SPLITS = {"training": "train", "validation": "val", "testing": "test"}


@dataclass(frozen=True)
class Options:
    """What to convert of a Waymo perception folder (v1: TFRecord files, v2: folders of parquet components)."""

    split: Literal["all", "train", "val", "test"] = "all"
    """segments of one split only, as a folder above them says (training, validation, testing)"""
    images: bool = True
    """copy the camera images"""
    projections: bool = False
    """keep where every point stands in the images (six more columns a point)"""

    content: ClassVar[tuple[str, ...]] = ("images", "projections")
    images_in_records: ClassVar[bool] = True


@dataclass(frozen=True)
class WaymoSegment:
    """One segment: the TFRecord file of v1, or the parquet file of every component of v2 that it has."""

    name: str
    files: tuple[tuple[str, Path], ...]  # (component, file); one ("", file) for v1

    @property
    def version(self) -> str:
        """v1 or v2."""
        return "v1" if self.files[0][0] == "" else "v2"

    @property
    def split(self) -> str:
        """train, val or test where one of the three folders above the files is called so, the nearest one first."""
        names = SPLITS | {short: short for short in SPLITS.values()}
        above = [folder.name for folder in self.files[0][1].parents][:3]
        return next((names[name] for name in above if name in names), "")


def list_logs(raw: Path, options: Options) -> list[WaymoSegment]:
    """Segments below ``raw``, sorted by name."""
    raw = Path(raw)
    if not raw.is_dir():
        raise UserError(raw, "no such folder", "give the folder of the .tfrecord files or of the v2 components")
    found = [WaymoSegment(segment_name(path), (("", path),)) for path in sorted(raw.rglob("*.tfrecord"))]
    found += [WaymoSegment(name, files) for name, files in segment_files(raw)]
    segments = sorted(found, key=lambda segment: segment.name)
    if not segments:
        raise UserError(raw, "holds no .tfrecord file and no v2 component", "give the folder of the segments")
    segments = [segment for segment in segments if options.split in ("all", segment.split)]
    if not segments:
        raise UserError(raw, f"no segment of the split {options.split}", "give another --split")
    for first, second in pairwise(segments):
        if first.name == second.name:
            other = first.files[0][1]
            raise UserError(second.files[0][1], f"the segment is also {other}", "convert one of them at a time")
    for segment in segments:
        if not NAME_PATTERN.fullmatch(segment.name):
            raise UserError(segment.files[0][1], "its name cannot be the name of a log", "rename the file")
    return segments


def log_files(raw: Path, segment: WaymoSegment) -> list[Path]:
    """Raw files that only this log needs."""
    return [path for _, path in segment.files]


def convert_log(raw: Path, segment: WaymoSegment, out_root: Path, options: Options) -> None:
    """Write one segment as ``out_root/<segment name>``. ``raw`` is not used: the segment knows its files.

    Raises:
        UserError: a record or table is damaged, or holds a wrong number; nothing is left behind then.
    """
    frames: Any = read_frames(segment.files[0][1]) if segment.version == "v1" else read_segment(segment.files)
    writer = LogWriter(
        out_root, segment.name, dataset=DATASET, source_version=segment.version, licence=LICENCE, split=segment.split
    )
    with writer as log:
        SegmentWriter(log, images=options.images, projections=options.projections).write(frames)
        for tag, path in segment.files:
            if tag in KEPT:
                log.add_table(tag, Component(path, segment.name).table())
