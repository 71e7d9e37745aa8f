"""ScenarioNet pickles to logs. Conventions: ``data_tools.scenarionet``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from data_tools.scenario_log import write_scenario
from data_tools.scenarionet.read import read_scenario
from drive.errors import UserError
from drive.logs.writer import LogWriter

# metadata.dataset (in lower case, its beginning) -> licence of the data inside.
LICENCES = {
    "waymo": "Waymo Open Dataset licence (non-commercial)",
    "nuscenes": "CC BY-NC-SA 4.0",
    "nuplan": "CC BY-NC-SA 4.0",
    "av2": "CC BY-NC-SA 4.0",
}
_SUMMARIES = ("dataset_summary.pkl", "dataset_mapping.pkl")


@dataclass(frozen=True)
class Options:
    """Nothing to choose."""


@dataclass(frozen=True)
class ScenarioFile:
    """One scenario to convert: its pickle."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the log: the file's, without the suffix."""
        return self.path.stem


def list_logs(raw: Path, options: Options) -> list[ScenarioFile]:
    """All scenario pickles below ``raw``, sorted by name."""
    paths = [path for path in Path(raw).rglob("*.pkl") if path.name not in _SUMMARIES]
    files = sorted((ScenarioFile(path) for path in paths), key=lambda file: (file.name, str(file.path)))
    if not files:
        raise UserError(raw, "no ScenarioNet pickle (*.pkl) in it", "give the folder of the scenarios")
    for first, second in pairwise(files):
        if first.name == second.name:
            raise UserError(second.path, f"the same name as {first.path}", "convert one of the folders at a time")
    return files


def log_files(raw: Path, source: ScenarioFile) -> list[Path]:
    """The raw file that only this log needs."""
    return [source.path]


def convert_log(raw: Path, source: ScenarioFile, out_root: Path, options: Options) -> None:
    """Write one log. ``raw`` is not used: the scenario knows its file.

    Raises:
        UserError: the pickle is damaged, holds a foreign class, or is no scenario; nothing is left behind then.
    """
    scenario = read_scenario(source.path)
    facts = scenario.facts
    dataset = str(facts.get("dataset", "unknown"))
    licence = next((text for name, text in LICENCES.items() if dataset.lower().startswith(name)), "")
    writer = LogWriter(
        out_root, source.name, dataset="scenarionet", source_version=f"{dataset} {facts['version']}",
        licence=licence or f"that of the data set {dataset}", location=str(facts.get("map", "")),
    )  # fmt: skip
    with writer as log:
        write_scenario(log, scenario)
