"""What ``drive score`` found about a folder of drives, as the page shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drive.errors import UserError
from drive.rollouts.run_folder import RunFolder

SCORES = "scores.json"
SUB_SCORES = {
    "nc": "NC", "dac": "DAC", "ddc": "DDC", "tlc": "TLC", "ep": "EP", "ttc": "TTC", "lk": "LK", "comfort": "C",
}  # fmt: skip


@dataclass(frozen=True)
class RunScores:
    """Scores of planners and of their drives.

    Attributes:
        label: what ranks: version, parity, windows, reference.
        drive: (planner, scene) -> score in 0..1.
        columns: of the table of planners. cells: (planner, column) -> what stands there.
        pairs: rows of the table of paired differences; pairs_head its head, pairs_rule how they were computed.
    """

    label: str
    drive: dict[tuple[str, str], float]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], str]
    pairs: tuple[tuple[str, ...], ...] = ()
    pairs_head: tuple[str, ...] = field(default=())
    pairs_rule: str = ""

    def of_drive(self, planner: str, scene: str) -> float | None:
        """A drive's score; None where it was not scored."""
        return self.drive.get((planner, scene))

    def of_planner(self, planner: str, column: str) -> str:
        """A cell of the table of planners."""
        return self.cells.get((planner, column), "–")


def read_run_scores(run: RunFolder) -> tuple[RunScores | None, str]:
    """The folder's scores.json, and "" or why it is not shown: none there, or of other drives than the folder has now.

    Raises:
        UserError: the file is damaged.
    """
    path = run.path / SCORES
    if not path.is_file():
        return None, "No scores yet: run drive score on this folder, then drive view."
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        # Of several folders this one comes first: its drives are each planner's first seed.
        scored = {(d["planner"], d["scene"]): d for d in document["drives"] if d["seed"] == 0}
        stale = [
            f"{drive.planner} in {drive.scene}"
            for drives in run.drives.values()
            for drive in drives
            if (own := scored.get((drive.planner, drive.scene))) is not None
            and (own["end"], own["failure"]) != (drive.end, drive.failure)
        ]
        if stale:
            return None, f"The scores are older than the drives ({stale[0]} differs): run drive score again."
        return _scores(document, scored), ""
    except (OSError, ValueError) as error:
        raise UserError(path, f"cannot be read ({error})", "run drive score again") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(path, f"is not what drive score writes ({error})", "run drive score again") from error


def _scores(document: Mapping[str, Any], scored: Mapping[tuple[str, str], Mapping[str, Any]]) -> RunScores:
    by, *others = document["versions"]
    left_out = set(document["left_out"])
    cells: dict[tuple[str, str], str] = {}
    columns: dict[str, None] = {}

    def put(planner: str, column: str, value: str) -> None:
        columns[column], cells[planner, column] = None, value

    for name, own in document["planners"].items():
        for score in (by, *others, "nuplan"):
            shown = own[score]
            head = "nuPlan" if score == "nuplan" else score.upper()
            put(name, head, f"{shown['mean']:.3f} [{shown['low']:.3f}, {shown['high']:.3f}]")
            if score == by:
                for sub, title in SUB_SCORES.items():
                    if sub in shown["sub_scores"]:
                        put(name, title, f"{shown['sub_scores'][sub]:.3f}")
    pairs = tuple(
        (
            f"{p['a']} – {p['b']}", p["score"], f"{p['difference']:+.3f} [{p['low']:+.3f}, {p['high']:+.3f}]",
            f"{p['better']}/{p['worse']}/{p['equal']}",
            *(f"{p[n]:.4f}" for n in ("p_permutation", "p_wilcoxon", "p_holm")),
        )
        for p in document["pairs"]
    )  # fmt: skip
    test = document["significance"]
    rule = f"95 % intervals and tests over {test['units']} {test['unit']}s; {document['scenes']} scenes."
    if left_out:
        rule += f" Too short to be scored: {', '.join(sorted(left_out))}."
    return RunScores(
        label=document["versions"][by],
        drive={key: float(d[by]) for key, d in scored.items() if key[1] not in left_out},
        columns=tuple(columns),
        cells=cells,
        pairs=pairs,
        pairs_head=("pair", "score", "difference", "better/worse/equal", "p permutation", "p Wilcoxon", "p Holm"),
        pairs_rule=rule,
    )
