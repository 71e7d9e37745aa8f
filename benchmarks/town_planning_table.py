"""The figures of benchmarks.town_planning: means, intervals over scenes and seeds, paired differences."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from drive.scores.significance import interval, paired

SUBS = ("nc", "dac", "ddc", "ep", "ttc", "comfort")
PAIRS = (
    ("diffusion", "mlp"), ("diffusion", "vanilla"), ("mlp", "vanilla"), ("diffusion", "ego_mlp"), ("diffusion", "idm"),
    ("diffusion", "pdm_closed"), ("diffusion", "log_replay"),
)  # fmt: skip


def scores_of(stages: list[dict[str, Any]], name: str, column: str = "pdms") -> np.ndarray:
    """[seeds, scenes] of a planner, scenes in the same order for all."""
    mine = sorted((s for s in stages if s["planner"] == name), key=lambda s: int(s["seed"]))
    return np.array([[row.get(column, np.nan) for row in s["rows"]] for s in mine], np.float64)


def summary(stages: list[dict[str, Any]]) -> dict[str, Any]:
    """What is written: a row a planner, the pairs, and a row a stage."""
    names = list(dict.fromkeys(s["planner"] for s in stages))
    planners: dict[str, Any] = {}
    for name in names:
        mine = [s for s in stages if s["planner"] == name]
        values = scores_of(stages, name)
        sure = interval(values)
        ends = Counter(row["end"] for s in mine for row in s["rows"])
        wrong = Counter(kind for s in mine for row in s["rows"] for kind in set(row["infractions"]))
        row: dict[str, Any] = {"pdms": sure.mean, "low": sure.low, "high": sure.high, "seeds": len(mine)}
        row["pdms_of_seeds"] = [float(v) for v in values.mean(1)]
        row |= {name_: float(scores_of(stages, name, name_).mean()) for name_ in SUBS}
        row |= {f"l2_{t}s": float(np.nanmean(scores_of(stages, name, f"l2_{t}s"))) for t in (1, 2, 3, 4)}
        for key in ("diversity", "l2_best_mode", "network_ms", "modes", "call_ms", "train_seconds", "train_steps"):
            if key in mine[0]:
                row[key] = float(np.mean([s[key] for s in mine]))
        row["ends"], row["drives_with"] = dict(sorted(ends.items())), dict(sorted(wrong.items()))
        planners[name] = row
    pairs = {
        f"{a} - {b}": asdict(paired(scores_of(stages, a), scores_of(stages, b)))
        for a, b in PAIRS
        if a in planners and b in planners
    }
    each = [{k: v for k, v in s.items() if k != "rows"} for s in stages]
    scenes = [row["scene"] for row in stages[0]["rows"]]
    per_scene = {name: np.round(scores_of(stages, name).mean(0), 4).tolist() for name in names}
    return {"planners": planners, "pairs": pairs, "stages": each, "scenes": scenes, "pdms_by_scene": per_scene}


def tables(document: dict[str, Any]) -> str:
    """As Markdown."""
    lines = [
        "| planner | PDMS | 95 % | NC | DAC | EP | TTC | C | L2 3 s | D | ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    ordered = sorted(document["planners"].items(), key=lambda item: -item[1]["pdms"])
    for name, row in ordered:
        subs = " | ".join(f"{100 * row[k]:.1f}" for k in ("nc", "dac", "ep", "ttc", "comfort"))
        spread = f"{100 * row['diversity']:.0f} %" if "diversity" in row else ""
        cost = row.get("network_ms", row["call_ms"])
        lines.append(
            f"| {name} | {100 * row['pdms']:.1f} | {100 * row['low']:.1f} to {100 * row['high']:.1f} | {subs} "
            f"| {row['l2_3s']:.2f} | {spread} | {cost:.1f} |"
        )
    lines += ["", "| pair | difference | 95 % | p |", "|---|---|---|---|"]
    for name, pair in document["pairs"].items():
        gap = pair["difference"]
        lines.append(
            f"| {name} | {100 * gap['mean']:+.1f} | {100 * gap['low']:+.1f} to {100 * gap['high']:+.1f} "
            f"| {pair['p_permutation']:.2g} |"
        )
    return "\n".join(lines)
