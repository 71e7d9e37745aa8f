"""What every comparison does: run our side in the project's own environment, and hold the figures together."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
Figures = dict[int, dict[str, np.ndarray]]


def ours(script: str, *arguments: str) -> None:
    """Run a script of this folder with the project's Python ($DRIVE_PYTHON, else .venv). CalledProcessError where it
    fails."""
    python = os.environ.get("DRIVE_PYTHON", str(REPO / ".venv" / "bin" / "python"))
    subprocess.run([python, str(HERE / script), *arguments], check=True, cwd=REPO)


def compare(script: str, kind: str, seeds: list[int], theirs: Figures) -> list[tuple[float, int, str]]:
    """Our figures of the same scenes; (largest difference, seed, name) of every figure's name, largest first.

    A shape or a missing figure counts as infinite; a NaN on one side only too.
    """
    with tempfile.TemporaryDirectory() as folder:
        request, out = Path(folder) / "request.json", Path(folder) / "ours.npz"
        request.write_text(json.dumps({"seeds": seeds}))
        ours(script, kind, str(request), str(out))
        found = dict(np.load(out))
    worst: dict[str, tuple[float, int, str]] = {}
    for seed, figures in theirs.items():
        for name, value in figures.items():
            difference = distance(found.get(f"{seed}.{name}"), value)
            if difference >= worst.get(name, (-1.0, 0, ""))[0]:
                worst[name] = (difference, seed, name)
    return sorted(worst.values(), reverse=True)


def distance(a: np.ndarray | None, b: np.ndarray) -> float:
    """Largest absolute difference; infinite for different shapes and one-sided NaN."""
    if a is None or a.shape != b.shape:
        return float("inf")
    if a.size == 0:
        return 0.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    return float(np.nanmax(np.abs(a - b), initial=0.0))


def report(title: str, scenes: int, worst: list[tuple[float, int, str]], bound: float) -> int:
    """Print the largest differences; 1 where one is beyond the bound."""
    for difference, seed, name in worst:
        print(f"{title}: {scenes} scenes, {name}: largest difference {difference:.3g} (scene {seed})", flush=True)
    return int(any(difference > bound for difference, _, _ in worst))


def save_golden(path: str, theirs: Figures, names: tuple[str, ...]) -> None:
    """Keep some figures of every scene in one compressed file."""
    flat = {f"{seed}.{name}": figures[name] for seed, figures in theirs.items() for name in names}
    np.savez_compressed(path, **flat)


def compare_random(
    title: str, kind: str, official: Callable[[int], dict[str, np.ndarray]], kept: tuple[str, ...], scenes: int
) -> int:
    """The command line of a comparison on random scenes: --scenes, --first, --golden FILE (where `kept` figures go)."""
    parser = argparse.ArgumentParser(description=f"{title}: the official operator against ours on random scenes.")
    parser.add_argument("--scenes", type=int, default=scenes)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--golden", default="")
    args = parser.parse_args()
    seeds = list(range(args.first, args.first + args.scenes))
    theirs = {seed: official(seed) for seed in seeds}
    if args.golden:
        save_golden(args.golden, theirs, kept)
    return report(title, len(seeds), compare("ours_waymo.py", kind, seeds, theirs), 1e-5)
