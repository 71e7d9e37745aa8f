"""How much of its score a detector keeps when sensors fail: MultiCorrupt's resistance figures.

With M(c, s) the score under corruption c at severity s: RA_c is the mean over the severities of M(c, s) / M_clean, mRA
the mean of RA_c over corruptions. Against a baseline model RRA_c is sum_s M(c, s) / sum_s M_baseline(c, s) - 1, mRRA
its mean. (Beemelmanns et al., "MultiCorrupt", 2024.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Figures = Mapping[str, float | None]
"""A score's main figures by name; None where one is not defined."""


@dataclass(frozen=True)
class Robustness:
    """The scores of one detector under corruptions.

    Attributes:
        figures: Names of the figures, the main one first.
        clean: Scores of the frames as recorded.
        cells: {corruption: {severity: scores}} of what was scored.
        untouched: {corruption: why} of corruptions that cannot touch what this detector reads.
        not_recorded: {corruption: {severity: why}} of what the logs cannot give.
        published: Which of the corruptions are MultiCorrupt's.
        untouched_as_one: Count RA of what cannot touch the detector as 1, by definition, in RA and mRA; otherwise they
            have no RA and mRA is the mean over the others.
    """

    figures: tuple[str, ...]
    clean: Figures
    cells: Mapping[str, Mapping[int, Figures]]
    untouched: Mapping[str, str] = field(default_factory=dict)
    not_recorded: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    published: frozenset[str] = frozenset()
    untouched_as_one: bool = False

    @property
    def names(self) -> list[str]:
        """Every corruption: those that were scored, those that cannot touch the detector, those not recorded."""
        return list(dict.fromkeys([*self.cells, *self.untouched, *self.not_recorded]))

    def score(self, name: str, severity: int, figure: str) -> float | None:
        """M(c, s): what cannot touch the detector leaves its clean score."""
        if name in self.untouched:
            return self.clean.get(figure)
        return self.cells.get(name, {}).get(severity, {}).get(figure)

    def ra(self, name: str, figure: str) -> float | None:
        """RA_c; None where nothing of it was scored, it is not applicable, or the clean score is 0."""
        clean = self.clean.get(figure)
        if name in self.untouched:
            return 1.0 if self.untouched_as_one else None
        found = [self.score(name, severity, figure) for severity in self.cells.get(name, {})]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) / clean if known and clean else None

    def mra(self, figure: str, names: Iterable[str] | None = None) -> float | None:
        """mRA over the corruptions (of `names`, or all) that have an RA; None where none has."""
        return _mean(self.ra(name, figure) for name in (self.names if names is None else names))

    def rra(self, baseline: Robustness, name: str, figure: str) -> float | None:
        """RRA_c over the severities that both have; None where there are none, or the baseline scores 0 in all."""
        mine, theirs = set(self.cells.get(name, {})), set(baseline.cells.get(name, {}))
        # A model that the corruption cannot touch has its clean score at every severity.
        both = theirs if name in self.untouched else mine if name in baseline.untouched else mine & theirs
        if name in self.untouched and name in baseline.untouched:
            both = {1}
        pairs = [(self.score(name, s, figure), baseline.score(name, s, figure)) for s in sorted(both)]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        below = sum(b for _, b in known)
        return sum(a for a, _ in known) / below - 1 if below else None

    def mrra(self, baseline: Robustness, figure: str, names: Iterable[str] | None = None) -> float | None:
        """mRRA over the corruptions that both have."""
        chosen = [n for n in (self.names if names is None else names) if n in baseline.names]
        return _mean(self.rra(baseline, name, figure) for name in chosen)

    def to_dict(self, baseline: Robustness | None = None) -> dict[str, Any]:
        """Everything as JSON has it: scores, RA, mRA and, with a baseline, RRA and mRRA."""
        groups = {"all": self.names, "multicorrupt": [n for n in self.names if n in self.published]}
        groups["ours"] = [n for n in self.names if n not in self.published]
        out: dict[str, Any] = {
            "figures": list(self.figures),
            "clean": dict(self.clean),
            "cells": {name: {str(s): dict(c) for s, c in of.items()} for name, of in self.cells.items()},
            "untouched": dict(self.untouched),
            "untouched_as_one": self.untouched_as_one,
            "not_recorded": {name: {str(s): why for s, why in of.items()} for name, of in self.not_recorded.items()},
            "RA": {f: {name: self.ra(name, f) for name in self.names} for f in self.figures},
            "mRA": {f: {group: self.mra(f, names) for group, names in groups.items()} for f in self.figures},
        }
        if baseline is not None:
            out["RRA"] = {f: {name: self.rra(baseline, name, f) for name in self.names} for f in self.figures}
            out["mRRA"] = {f: {g: self.mrra(baseline, f, names) for g, names in groups.items()} for f in self.figures}
        return out

    @staticmethod
    def of_dict(data: Mapping[str, Any], published: frozenset[str] = frozenset()) -> Robustness:
        """What `to_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        return Robustness(
            figures=tuple(data["figures"]),
            clean=dict(data["clean"]),
            cells={name: {int(s): dict(c) for s, c in of.items()} for name, of in data["cells"].items()},
            untouched=dict(data["untouched"]),
            not_recorded={n: {int(s): w for s, w in of.items()} for n, of in data["not_recorded"].items()},
            published=published,
            untouched_as_one=bool(data["untouched_as_one"]),
        )

    def print(self, baseline: Robustness | None = None, console: Console | None = None) -> None:
        """A row a corruption: the main figure clean and at each severity, RA of each figure, RRA of the main one."""
        console = console or Console()
        main = self.figures[0]
        table = Table(title=f"{main} at each severity, clean {_text(self.clean.get(main))}", box=SIMPLE_HEAD)
        severities = sorted({s for of in self.cells.values() for s in of})
        heads = ["corruption", *map(str, severities), *(f"RA {f}" for f in self.figures)]
        for head in [*heads, *(["RRA"] if baseline else [])]:
            table.add_column(head, justify="left" if head == "corruption" else "right", no_wrap=True)
        for name in self.names:
            scores = [_text(self.score(name, s, main)) for s in severities]
            if name in self.untouched:
                scores = ["n/a"] * len(severities)
            row = [name, *scores, *(_text(self.ra(name, f)) for f in self.figures)]
            table.add_row(*row, *([_text(self.rra(baseline, name, main), signed=True)] if baseline else []))
        console.print(table)
        line = "   ".join(f"mRA {f} {_text(self.mra(f))}" for f in self.figures)
        ten = [n for n in self.names if n in self.published]
        known = sum(self.ra(name, main) is not None for name in ten)
        share = f"{known} of MultiCorrupt's" if known < len(ten) else "MultiCorrupt's"
        console.print(f"{line}   ({share} {len(ten)}: {_text(self.mra(main, ten))})", highlight=False)
        if baseline is not None:
            console.print(f"mRRA {main} {_text(self.mrra(baseline, main), signed=True)}", highlight=False)
        for line in self.notes():
            console.print(line, highlight=False)

    def notes(self) -> list[str]:
        """What the table does not hold, a line each."""
        lines = []
        if self.untouched:
            counted = "counted as 1 by definition" if self.untouched_as_one else "left out of mRA"
            lines.append(f"not applicable, RA {counted}: {', '.join(self.untouched)}")
        for name, of in self.not_recorded.items():
            for severity, why in of.items():
                lines.append(f"{name}, severity {severity}: {why}")
        return lines


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _text(value: float | None, signed: bool = False) -> str:
    return "-" if value is None else f"{value:+.3f}" if signed else f"{value:.3f}"
