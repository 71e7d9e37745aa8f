"""``drive score`` of what ``drive simulate`` left: a ranking of planners, pairs, every drive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from drive.errors import UserError
from drive.rollouts.rollout import Rollout
from drive.rollouts.run_folder import RunFolder, read_run_folder
from drive.samples.frame_dataset import find_logs
from drive.samples.scene import Scene
from drive.scores.closed_loop import DriveScoreConfig, Reference
from drive.scores.closed_loop_report import ReportConfig, Unit, score_planners
from drive.scores.pdm_config import PdmConfig, Version
from drive.scores.report import write_scores
from drive.scores.significance import SignificanceConfig

SCORES = "scores.json"
LEAST_WIDTH = 130
"""Of the tables: a row that is cut off says nothing."""


@dataclass(frozen=True)
class ScoreDrivesArguments:
    """Score drives: FOLDER/scores.json, a ranking with 95 % intervals, and every two planners compared.

    Exit status 1 where a drive failed; each is listed and counts 0.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of `drive simulate`, over the same scenes. A planner of one name in several is one planner with so many
    seeds."""
    logs: tuple[Path, ...] = ()
    """Where the logs are now, if they were moved since."""
    seeds: tuple[str, ...] = ()
    """Planners that are seeds of one, as NAME=a,b,c."""
    version: tuple[Version, ...] = ("v1.1", "v2-fixed")
    """PDM scores; the first ranks."""
    parity: Literal["navsim", "corrected"] = "navsim"
    """As the published scorer does, quirks included, or as its text says."""
    reference: Reference = "human"
    """Whose progress a drive's is measured against."""
    road_tolerance_m: float = 0.0
    """How far a corner may leave the road unpunished in the PDM scores."""
    unit: Unit = "log"
    """What the intervals draw and the tests count: scenes of one log are no independent draws."""
    significance: SignificanceConfig = field(default_factory=SignificanceConfig)
    out: Path | None = None
    """Where the scores go, FOLDER/scores.json of the first folder unless given."""


def score_drives_command(argv: Sequence[str]) -> int:
    """``drive score FOLDER``."""
    arguments = tyro.cli(ScoreDrivesArguments, args=list(argv), prog="drive score")
    document = score_runs(arguments)
    out = arguments.out or arguments.runs[0] / SCORES
    write_scores(out, document)
    console = Console()
    console.width = max(console.width, LEAST_WIDTH)
    for table in tables(document):
        console.print(table)
    for name in document["left_out"]:
        console.print(f"left out: {name} is shorter than a window", highlight=False, soft_wrap=True)
    for failed in document["failed"]:
        line = f"failed: {failed['planner']} in {failed['scene']}: {failed['why']}"
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"-> {out}", highlight=False, soft_wrap=True)
    return 1 if document["failed"] else 0


def score_runs(arguments: ScoreDrivesArguments) -> dict[str, Any]:
    """Everything that is said of the drives in some folders.

    Raises:
        UserError: no folders of drives, drives that were simulated differently or in different scenes, a log that is
            gone, names of seeds that are none.
    """
    runs = [read_run_folder(path) for path in arguments.runs]
    if arguments.logs:
        runs = [run.moved(find_logs([str(path) for path in arguments.logs])) for run in runs]
    first = runs[0].document
    for run in runs[1:]:
        if run.document["simulation"] != first["simulation"] or run.document["scene"] != first["scene"]:
            raise UserError(
                run.path, f"was simulated otherwise than {runs[0].path}", "compare drives of one simulation"
            )
    seconds = first["simulation"]["longest_s"]
    pdm = PdmConfig(parity=arguments.parity, road_tolerance_m=arguments.road_tolerance_m)
    versions = tuple(
        DriveScoreConfig(replace(pdm, version=version), seconds=seconds, reference=arguments.reference)
        for version in arguments.version
    )
    config = ReportConfig(versions, arguments.unit, arguments.significance)
    try:
        config.names()
    except ValueError as error:
        raise UserError("--version", str(error), "name v1.1, and one of v2-fixed and v2-legacy") from error
    document = score_planners(grouped(runs, arguments.seeds), lambda name: _load(runs, name), config)
    return {"runs": [str(run.path) for run in runs], "simulation": first["simulation"]} | document


def grouped(runs: Sequence[RunFolder], seeds: Sequence[str]) -> dict[str, list[list[Rollout]]]:
    """Drives of each planner, seed by seed. UserError: NAME=a,b that names no planners, or takes one twice."""
    found: dict[str, list[list[Rollout]]] = {}
    for run in runs:
        for name, drives in run.drives.items():
            found.setdefault(name, []).append(drives)
    for entry in seeds:
        name, _, members = entry.partition("=")
        taken = [member for member in members.split(",") if member]
        missing = [member for member in taken if member not in found]
        if not name or not taken or missing or len(set(taken)) < len(taken):
            known = f"the planners are {', '.join(found)}"
            raise UserError(f"--seeds {entry}", "does not name planners, each once", f"write NAME=a,b,c; {known}")
        drives_of = [drives for member in taken for drives in found.pop(member)]
        found[name] = [*found.get(name, []), *drives_of]
    return found


def _load(runs: Sequence[RunFolder], name: str) -> Scene:
    log = name.rpartition("@")[0]
    return next((run for run in runs if log in run.logs), runs[0]).load(name)


def tables(document: dict[str, Any]) -> list[Table]:
    """The ranking, and the pairs by the score that ranks."""
    by, *others = document["versions"]
    units = f"{document['significance']['units']} {document['significance']['unit']}s"
    head = Table(title=f"{document['versions'][by]}; {document['scenes']} scenes, {units}", box=box.SIMPLE)
    columns = ["planner", "seeds", by.upper(), "95 %", "NC", "DAC", "EP", "TTC", "C", *(o.upper() for o in others)]
    for column in (*columns, "nuPlan", "hits", "off", "failed"):
        head.add_column(column, justify="left" if column == "planner" else "right", no_wrap=True)
    for name, planner in document["planners"].items():
        score, sub = planner[by], planner[by]["sub_scores"]
        counts = {n: planner["metrics"][n]["mean"] for n in ("collisions_at_fault", "off_road")}
        head.add_row(
            name, str(planner["seeds"]), f"{score['mean']:.3f}", f"{score['low']:.3f}-{score['high']:.3f}",
            *(f"{sub[n]:.3f}" for n in ("nc", "dac", "ep", "ttc", "comfort")),
            *(f"{planner[o]['mean']:.3f}" for o in others), f"{planner['nuplan']['mean']:.3f}",
            *(f"{v:.2f}" for v in counts.values()), f"{planner['failed']}/{planner['drives']}",
        )  # fmt: skip
    pairs = Table(title=f"{by.upper()}, paired over the same {units}", box=box.SIMPLE)
    for column in ("", "", "difference", "95 %", "better/worse", "p permutation", "p Wilcoxon", "p Holm"):
        pairs.add_column(column, justify="right" if column else "left", no_wrap=True)
    for pair in document["pairs"]:
        if pair["score"] == by:
            pairs.add_row(
                pair["a"], pair["b"], f"{pair['difference']:+.3f}", f"{pair['low']:+.3f} {pair['high']:+.3f}",
                f"{pair['better']}/{pair['worse']}",
                *(f"{pair[n]:.4f}" for n in ("p_permutation", "p_wilcoxon", "p_holm")),
            )  # fmt: skip
    return [head, pairs] if document["pairs"] else [head]
