"""The page's part on failing sensors: what each run kept of its score under each corruption."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from drive.errors import UserError
from drive.scores.robustness import Robustness

ROBUSTNESS = "robustness.json"

_BAR_PX = 240


def read_robustness(run: Path) -> Robustness | None:
    """What ``drive score RUN --corrupt`` wrote into a run's folder; None where it did not.

    Raises:
        UserError: a file that is something else.
    """
    file = run / ROBUSTNESS
    if not file.is_file():
        return None
    try:
        data: Mapping[str, Any] = json.loads(file.read_text())
        return Robustness.of_dict(data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        mend = "run `drive score RUN --corrupt` again, or remove it"
        raise UserError(file, f"no scores under corruptions ({error})", mend) from error


def robustness_part(names: Sequence[str], found: Sequence[Robustness | None]) -> str:
    """HTML: a row a corruption with a bar and the scores of each run; a line where no run was scored so.

    Args:
        names: Of the runs.
        found: Of each run; None where it was not scored under corruptions.
    """
    scored = [(i, name, r) for i, (name, r) in enumerate(zip(names, found, strict=True)) if r is not None]
    if not scored:
        return "<p>Not scored with failing sensors (<code>drive score RUN --corrupt all</code>).</p>"
    main = scored[0][2].figures[0]
    head = ["", f"share of the clean {escape(main)} that is kept (RA)", f"{escape(main)} at severities 1, 2, 3"]
    rows = []
    for corruption in dict.fromkeys(name for _, _, r in scored for name in r.names):
        bars = "".join(_bar(i, r, corruption, main) for i, _, r in scored)
        marks = "<br>".join(_scores(r, corruption, main) for _, _, r in scored)
        rows.append(f"<tr><td>{escape(corruption.replace('_', ' '))}</td><td>{bars}</td><td>{marks}</td></tr>")
    means = "".join(
        f"<p><b>{escape(name)}</b>: {escape(main)} {_number(r.clean.get(main))} with working sensors, mRA "
        f"{', '.join(f'{escape(f)} {_number(r.mra(f))}' for f in r.figures)}"
        + "".join(f"<br><small>{escape(note)}</small>" for note in r.notes())
        + "</p>"
        for _, name, r in scored
    )
    top = "".join(f"<th>{cell}</th>" for cell in head)
    return f'{means}<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _bar(run: int, found: Robustness, corruption: str, figure: str) -> str:
    kept = found.ra(corruption, figure)
    if kept is None:
        why = "does not touch it" if corruption in found.untouched else "–"
        return f'<div class="bar run{run % 6}"><small>{why}</small></div>'
    width = min(_BAR_PX * max(kept, 0.0), 1.5 * _BAR_PX)
    return f'<div class="bar run{run % 6}"><i style="width:{width:.0f}px"></i><span>{kept:.3f}</span></div>'


def _scores(found: Robustness, corruption: str, figure: str) -> str:
    if corruption in found.untouched:
        return "–"
    severities = sorted(found.cells.get(corruption, {}))
    return " / ".join(_number(found.score(corruption, s, figure)) for s in severities) or "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
