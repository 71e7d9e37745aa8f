"""Argoverse 2 motion forecasting scenarios to logs. Conventions: ``data_tools.av2_motion``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.av2.convert import LICENCE, SPLITS
from data_tools.av2.maps import add_map
from data_tools.av2.read import finite_columns, int64_column, read_map
from data_tools.scenario_log import Agents, Scenario, check_states, write_scenario
from drive.errors import UserError
from drive.logs.writer import LogWriter

EGO = "AV"
CATEGORIES = ("TRACK_FRAGMENT", "UNSCORED_TRACK", "SCORED_TRACK", "FOCAL_TRACK")
# Nominal length, width, height in metres. Vehicle and cyclist in the plane: the API's visualisation.
SIZES = {
    "vehicle": (4.0, 2.0, 1.6),
    "bus": (12.0, 2.6, 3.2),
    "motorcyclist": (2.0, 0.7, 1.7),
    "cyclist": (2.0, 0.7, 1.7),
    "riderless_bicycle": (2.0, 0.7, 1.1),
    "pedestrian": (0.6, 0.6, 1.7),
    "static": (1.0, 1.0, 1.0),
    "construction": (1.0, 1.0, 1.0),
    "background": (1.0, 1.0, 1.0),
    "unknown": (1.0, 1.0, 1.0),
}
MAX_ROWS = 2_000_000
_STATES = ("position_x", "position_y", "heading", "velocity_x", "velocity_y")
_INTEGERS = ("object_category", "timestep", "num_timestamps")
_TIMES = ("start_timestamp", "end_timestamp")
_TEXTS = ("track_id", "object_type", "scenario_id", "focal_track_id", "city")
_AGAIN = "copy the file from the data set again"


@dataclass(frozen=True)
class Options:
    """Nothing to choose."""


@dataclass(frozen=True)
class MotionScenario:
    """One scenario to convert: its parquet file."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the log: the scenario's id, from the file's name."""
        return self.path.stem.removeprefix("scenario_")

    @property
    def split(self) -> str:
        """train, val or test where a folder above says so."""
        return next((part for part in reversed(self.path.parent.parts) if part in SPLITS), "")


def list_logs(raw: Path, options: Options) -> list[MotionScenario]:
    """All scenarios below ``raw``, sorted by name."""
    found = sorted((MotionScenario(path) for path in Path(raw).rglob("scenario_*.parquet")), key=lambda s: s.name)
    if not found:
        raise UserError(raw, "no scenario_*.parquet in it", "give the folder of the motion forecasting data set")
    for first, second in pairwise(found):
        if first.name == second.name:
            raise UserError(second.path, f"the scenario is also {first.path}", "convert one of the folders at a time")
    return found


def log_files(raw: Path, source: MotionScenario) -> list[Path]:
    """Raw files that only this log needs."""
    return [source.path, source.path.parent / f"log_map_archive_{source.name}.json"]


def convert_log(raw: Path, source: MotionScenario, out_root: Path, options: Options) -> None:
    """Write one log. ``raw`` is not used: the scenario knows its file.

    Raises:
        UserError: a file is missing, broken or holds a wrong number; nothing is left behind then.
    """
    scenario = read_scenario(source.path)
    map_path = source.path.with_name(f"log_map_archive_{source.name}.json")
    writer = LogWriter(
        out_root, source.name, dataset="av2_motion", source_version="v1", licence=LICENCE, split=source.split,
        location=str(scenario.facts["city"]),
    )  # fmt: skip
    with writer as log:
        add_map(log, read_map(map_path), map_path)
        write_scenario(log, scenario)


def _table(path: Path) -> pa.Table:
    columns = ["observed", *_TEXTS, *_INTEGERS, *_TIMES, *_STATES]
    try:
        file = pq.ParquetFile(path)
        rows = file.metadata.num_rows
        if rows > MAX_ROWS:
            raise UserError(path, f"{rows} rows are no scenario", _AGAIN)
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise UserError(path, f"columns {', '.join(missing)} are missing", _AGAIN)
        table = file.read(columns=columns)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(path, f"not a readable parquet file ({text})", _AGAIN) from None
    wrong = [name for name in _TEXTS if not pa.types.is_string(table[name].type) or table[name].null_count]
    if wrong or not pa.types.is_boolean(table["observed"].type) or table["observed"].null_count or not table.num_rows:
        raise UserError(path, f"no rows, or column {(wrong or ['observed'])[0]} is not what it should be", _AGAIN)
    return table


def _one(table: pa.Table, name: str, path: Path) -> str:
    values = table[name].unique().to_pylist()
    if len(values) != 1:
        raise UserError(path, f"column {name} has {len(values)} values, not one", _AGAIN)
    return str(values[0])


def read_scenario(path: Path) -> Scenario:
    """The scenario in a parquet file, without its map."""
    table = _table(path)
    times = finite_columns(table, _TIMES, path)
    category, step, count = (int64_column(table, name, path) for name in _INTEGERS)
    start, end = times[0]
    if (times != times[0]).any() or (count != count[0]).any() or not (0 <= start < end < 2**62 and count[0] > 1):
        raise UserError(path, "start_timestamp, end_timestamp or num_timestamps differ from row to row", _AGAIN)
    if step.min() < 0 or step.max() >= count[0]:
        row = int(np.flatnonzero((step < 0) | (step >= count[0]))[0])
        raise UserError(f"{path}: row {row}", f"timestep {step[row]} of {count[0]}", _AGAIN)
    steps = int(step.max()) + 1  # test data ends with what is observed
    agents, categories = _agents(table, category, step, steps, path)
    tokens = list(agents.token)
    focal = _one(table, "focal_track_id", path)
    roles: list[tuple[str, str, int | None]] = [(focal, "focal", None)]
    roles += [(token, "scored", None) for token, given in zip(tokens, categories, strict=True) if given == 2]
    return Scenario(
        place=str(path),
        seconds=np.arange(steps) * ((end - start) / (int(count[0]) - 1) / 1e9),
        start_ns=int(start),
        agents=agents,
        ego=tokens.index(EGO) if EGO in tokens else None,
        roles=roles,
        facts={
            "scenario_id": _one(table, "scenario_id", path),
            "city": _one(table, "city", path),
            "num_timestamps": int(count[0]),
        },
        track_columns={"object_category": [CATEGORIES[c] for c in categories]},
    )


def _agents(
    table: pa.Table, category: np.ndarray, step: np.ndarray, steps: int, path: Path
) -> tuple[Agents, list[int]]:
    """States by track, in the order of the tracks' first rows, and the category of each track."""
    encoded = table["track_id"].combine_chunks().dictionary_encode()
    track, tokens = encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()
    check_states(len(tokens), steps, str(path))
    first = np.unique(track, return_index=True)[1]
    types = table["object_type"].to_pylist()
    for row in range(table.num_rows):
        of = first[track[row]]
        if types[row] != types[of] or category[row] != category[of]:
            raise UserError(f"{path}: row {row}", f"track {tokens[track[row]]} changes its type or category", _AGAIN)
    kinds, categories = [types[row] for row in first], [int(category[row]) for row in first]
    for token, kind, given in zip(tokens, kinds, categories, strict=True):
        if kind not in SIZES or not 0 <= given < len(CATEGORIES):
            raise UserError(f"{path}: track {token}", f"object type {kind!r}, category {given} are not known", _AGAIN)
    values = finite_columns(table, _STATES, path)
    valid = np.zeros((len(tokens), steps), bool)
    valid[track, step] = True
    if valid.sum() != table.num_rows:
        raise UserError(path, "a track has two rows at the same timestep", _AGAIN)
    states = np.zeros((len(tokens), steps, len(_STATES)))
    states[track, step] = values
    observed = np.zeros((len(tokens), steps), bool)
    observed[track, step] = table["observed"].to_numpy()
    size = np.repeat(np.array([SIZES[kind] for kind in kinds])[:, None], steps, axis=1)
    agents = Agents(
        tokens, kinds, np.pad(states[..., :2], ((0, 0), (0, 0), (0, 1))), size, states[..., 2], states[..., 3:], valid,
        columns={"observed": observed}, source_size=np.zeros_like(size),
    )  # fmt: skip
    return agents, categories
