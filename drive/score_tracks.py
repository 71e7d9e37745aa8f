"""``drive score`` of tracks: a file of ``drive track``, or the folder that it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from drive.experiment import TrackExperiment
from drive.scores.report import Provenance, write_scores
from drive.scores.tracking_report import TrackingReport, score_tracks
from drive.tracks.sequence import read_tracks
from drive.train.folder import CONFIG

TRACKS = "tracks.arrow"


def is_tracking(what: Path) -> bool:
    """Whether a path is a file of tracks or a folder with one."""
    if what.is_dir():
        return (what / TRACKS).is_file()
    if what.suffix != ".arrow" or not what.is_file():
        return False
    try:
        with pa.memory_map(str(what)) as file:
            return b"tracks" in (pa.ipc.open_file(file).schema.metadata or {})
    except (OSError, pa.ArrowInvalid):
        return False


def score_tracking(what: Path, log_paths: Sequence[Path], metrics: Sequence[str] = ()) -> TrackingReport:
    """The report of a tracks file or a run's folder, where it becomes ``scores.json``.

    The classes are those of the ``config.json`` beside the file, where there is one.

    Raises:
        UserError: as ``read_tracks`` and ``score_tracks`` do, and for a ``config.json`` of another kind.
    """
    file = what / TRACKS if what.is_dir() else what
    config = file.parent / CONFIG
    experiment = TrackExperiment.read(config) if config.is_file() else None
    provenance = Provenance((), experiment.hash() if experiment else "", file.name)
    classes = experiment.classes if experiment else None
    report = score_tracks(read_tracks(file), log_paths, classes, metrics, provenance, str(file))
    if what.is_dir():
        write_scores(what / "scores.json", report.to_dict())
    return report
