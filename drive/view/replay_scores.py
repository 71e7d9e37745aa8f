"""What ``drive score`` found about a folder of drives, as the page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunScores:
    """Scores of planners and of their drives.

    Attributes:
        label: what was computed, with versions.
        drive: (planner, scene) -> score in 0..1.
        columns: of the table of planners. cells: (planner, column) -> what stands there.
        pairs: head and rows of the table of paired differences, or (). pairs_rule: how they were computed.
    """

    label: str
    drive: dict[tuple[str, str], float]
    columns: list[str]
    cells: dict[tuple[str, str], str]
    pairs: tuple[Sequence[str], Sequence[Sequence[str]]] | tuple[()] = ()
    pairs_rule: str = field(default="")

    def of_drive(self, planner: str, scene: str) -> float | None:
        """A drive's score; None where it was not scored."""
        return self.drive.get((planner, scene))

    def of_planner(self, planner: str, column: str) -> str:
        """A cell of the table of planners."""
        return self.cells.get((planner, column), "–")
