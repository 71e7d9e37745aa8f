"""What do the town's detectors keep of their scores when sensors fail? Lidar alone, cameras alone, fused, and fused
with modality drop-out in training.

``python -m benchmarks.town_robustness --work WORK`` takes the trained runs of ``benchmarks.town_fusion``
(``WORK/runs/<model>_<seed>_<hash>``; cameras alone by ``--camera RUN ...``), scores each with ``drive score RUN
--corrupt`` on the town's scoring logs and writes ``results/town_robustness.json``: of every model mean and standard
deviation over seeds of the clean score, RA of each corruption and mRA, and of pairs of models the differences seed by
seed. Every score is kept in its run's folder: killed, the same command goes on; started twice (``OMP_NUM_THREADS=1``
each), two processes share the runs.

A corruption of a sensor that a model does not read leaves its score as it is; its RA counts as 1 by definition here
(``untouched_as_one``), since the question is which detector to take. The mean RA of the corruptions that touch a model
stands beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import claimed, machine, write
from benchmarks.study import run as run_command
from drive.errors import UserError
from drive.experiment import Experiment
from drive.samples.corrupt.config import CORRUPTIONS
from drive.samples.frame_dataset import find_logs
from drive.score_corrupted import PUBLISHED, CorruptedScoring, corruptions_named, score_corrupted, write_robustness
from drive.scores.robustness import Robustness

MODELS = ("lidar", "fused", "fused_drop", "camera")
PAIRS = (("fused", "lidar"), ("fused_drop", "lidar"), ("fused_drop", "fused"))
FIGURE = "mAP"
"""Of the paired differences. Classes that the town lacks count 0 in it, clean or not: RA is that of the others."""


def runs_of(a: argparse.Namespace) -> list[tuple[str, int, Path]]:
    """(model, seed, folder) of every trained run of the models asked for.

    Raises:
        UserError: A model of which there is none, or two of a seed.
    """
    found: list[tuple[str, int, Path]] = []
    for folder in sorted((a.work / "runs").glob("*_*_*")):
        model, seed, _ = folder.name.rsplit("_", 2)
        if (folder / "weights.safetensors").is_file() and model in a.models and int(seed) in a.seeds:
            found.append((model, int(seed), folder))
    found += [("camera", Experiment.read(run / "config.json").seed, run) for run in a.camera]
    for model in a.models:
        seeds = [seed for name, seed, _ in found if name == model]
        if not seeds and model != "camera":
            mend = "run benchmarks.town_fusion first, or name other --models"
            raise UserError(a.work / "runs", f"no trained {model} run", mend)
        if len(set(seeds)) < len(seeds):
            raise UserError(a.work / "runs", f"two runs of {model} with one seed", "remove those of another budget")
    return found


def scoring_of(run: Path, a: argparse.Namespace) -> CorruptedScoring:
    """What is scored of a run: its own scoring logs, or the first so many of them."""
    data = Experiment.read(run / "config.json").data
    folders = [str(a.logs)] if a.logs else data.val_logs
    logs = find_logs(folders, data.val_split)
    names = corruptions_named(a.corrupt)
    return CorruptedScoring(run, tuple(logs[: a.scenes]), "nuscenes", names, every=a.every, untouched_as_one=True)


def row_of(found: Robustness, figure: str) -> dict[str, float | None]:
    """Clean score, RA of each corruption, and their means."""
    ours = [name for name in found.names if name not in found.published]
    touching = [name for name in found.names if name not in found.untouched]
    row: dict[str, float | None] = {"clean": found.clean[figure]}
    row |= {f"RA {name}": found.ra(name, figure) for name in found.names}
    row |= {"mRA": found.mra(figure), "mRA MultiCorrupt": found.mra(figure, sorted(found.published & set(found.names)))}
    return row | {"mRA ours": found.mra(figure, ours), "mRA of what touches it": found.mra(figure, touching)}


def scores_of(found: Robustness, figure: str) -> dict[str, float | None]:
    """The score itself: clean, and under each corruption the mean over the severities."""
    row: dict[str, float | None] = {"clean": found.clean[figure]}
    for name in found.names:
        severities = sorted(found.cells.get(name, {})) or [1]
        row[name] = mean_of([found.score(name, severity, figure) for severity in severities])
    return row


def mean_of(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def spread(rows: list[dict[str, float | None]]) -> dict[str, dict[str, float | int]]:
    """Mean and standard deviation over seeds of every figure that is known for all of them."""
    out: dict[str, dict[str, float | int]] = {}
    for key in rows[0]:
        values = [row.get(key) for row in rows]
        known = [value for value in values if value is not None]
        if len(known) == len(rows):
            out[key] = {"mean": float(np.mean(known)), "seeds": len(known)}
            if len(known) > 1:
                out[key]["sd"] = float(np.std(known, ddof=1))
    return out


def summary(found: dict[str, dict[int, Robustness]]) -> dict[str, Any]:
    """Of every model RA and scores, of pairs of models the differences of scores and RRA, over their common seeds."""
    document: dict[str, Any] = {"models": {}, "pairs": {}}
    for model, of in found.items():
        document["models"][model] = {
            "resistance": {f: spread([row_of(r, f) for r in of.values()]) for f in ("NDS", "mAP")},
            "scores": {f: spread([scores_of(r, f) for r in of.values()]) for f in ("NDS", "mAP")},
        }
    for one, other in PAIRS:
        seeds = sorted(set(found.get(one, {})) & set(found.get(other, {})))
        if not seeds:
            continue
        rows: list[dict[str, float | None]] = []
        relative: list[dict[str, float | None]] = []
        for seed in seeds:
            mine, theirs = found[one][seed], found[other][seed]
            here, there = scores_of(mine, FIGURE), scores_of(theirs, FIGURE)
            rows.append({k: None if (x := here[k]) is None or (y := there.get(k)) is None else x - y for k in here})
            relative.append({n: mine.rra(theirs, n, FIGURE) for n in mine.names} | {"mRRA": mine.mrra(theirs, FIGURE)})
        document["pairs"][f"{one} - {other}"] = {FIGURE: spread(rows), "RRA": spread(relative)}
    return document


def table(document: dict[str, Any]) -> str:
    """As Markdown: RA of each corruption, a column a model; then the differences of pairs in points."""
    models = list(document["models"])
    lines = ["", f"| RA ({FIGURE}) | " + " | ".join(models) + " |", "|---" * (len(models) + 1) + "|"]
    columns = [document["models"][m]["resistance"][FIGURE] for m in models]
    keys = dict.fromkeys(key for column in columns for key in column)
    lines += [f"| {key} | " + " | ".join(_cell(column.get(key)) for column in columns) + " |" for key in keys]
    pairs = list(document["pairs"])
    if pairs:
        lines += ["", f"| {FIGURE} x 100 | " + " | ".join(pairs) + " |", "|---" * (len(pairs) + 1) + "|"]
        for key in document["pairs"][pairs[0]][FIGURE]:
            cells = [_cell(document["pairs"][p][FIGURE].get(key), 100.0) for p in pairs]
            lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: dict[str, float] | None, factor: float = 0.0) -> str:
    if value is None:
        return "-"
    mean = f"{factor * value['mean']:+.1f}" if factor else f"{value['mean']:.3f}"
    sd = value.get("sd")
    return mean if sd is None else f"{mean} ± {factor * sd:.1f}" if factor else f"{mean} ± {sd:.3f}"


def main() -> None:
    """Score what is missing; write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/town_fusion"), help="of benchmarks.town_fusion")
    parser.add_argument("--camera", type=Path, nargs="*", default=[], help="runs of a detector of cameras alone")
    parser.add_argument("--logs", type=Path, default=None, help="the town's logs; those of each run unless named")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "town_robustness.json")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--corrupt", nargs="+", default=["all"])
    parser.add_argument("--every", type=int, default=4, help="every n-th frame of a log")
    parser.add_argument("--scenes", type=int, default=None, help="only the first so many scoring logs")
    a = parser.parse_args()
    found: dict[str, dict[int, Robustness]] = {}
    runs = runs_of(a)
    for model, seed, run in runs:
        with claimed(run / "robustness" / "claim") as own:
            if not own:
                continue
            print(f"{model}, seed {seed}: {run}", flush=True)
            scoring = scoring_of(run, a)
            robustness = score_corrupted(scoring)
            write_robustness(scoring, robustness, None)
            found.setdefault(model, {})[seed] = robustness
    if sum(map(len, found.values())) < len(runs):
        what = "some runs are being scored by another process"
        raise UserError(a.work, what, "run this again when that one has ended")
    settings = {"every": a.every, "scenes": a.scenes, "seeds": a.seeds, "corruptions": corruptions_named(a.corrupt)}
    settings |= {"multicorrupt": sorted(PUBLISHED), "ours": sorted(set(CORRUPTIONS) - PUBLISHED)}
    each = {m: {str(seed): r.to_dict() for seed, r in of.items()} for m, of in found.items()}
    document = {"machine": machine(), "settings": settings} | summary(found) | {"runs": each}
    write(a.out, document)
    print(table(document))


if __name__ == "__main__":
    run_command(main)
