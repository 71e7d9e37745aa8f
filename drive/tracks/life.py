"""When tracks end, and how a state is cut down to some of its tracks."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

import numpy as np

Clock = Literal["stamps", "frames"]
"""What ages are counted by: "stamps" (time, in periods of the data set, to the nearest whole one) or "frames"."""

State = TypeVar("State")


@dataclass(frozen=True)
class Life:
    """How long K classes' tracks live on without a match.

    A track ends in the frame in which its age reaches ``max_age``; a detection of that very frame still saves it. A gap
    in the recording that is longer ends it unseen (clock "stamps").

    Attributes:
        clock: See ``Clock``.
        period_s: Seconds between frames of the data that ``max_age`` was tuned on.
        max_age: int64 [K], periods or frames.
    """

    clock: Clock
    period_s: float
    max_age: np.ndarray

    def __post_init__(self) -> None:
        if not self.period_s > 0:
            raise ValueError(f"period_s must be positive, got {self.period_s}")

    def can_be_matched(self, labels: np.ndarray, misses: np.ndarray, seen_ns: np.ndarray, now_ns: int) -> np.ndarray:
        """bool [N] of tracks with ``misses`` frames without a match before this one, last matched at ``seen_ns``."""
        return self._ages(misses + 1, seen_ns, now_ns) <= self.max_age[labels]

    def goes_on(self, labels: np.ndarray, misses: np.ndarray, seen_ns: np.ndarray, now_ns: int) -> np.ndarray:
        """bool [N] after this frame's matches: 0 misses, seen now, for a track that was matched in it."""
        return self._ages(misses, seen_ns, now_ns) < self.max_age[labels]

    def _ages(self, misses: np.ndarray, seen_ns: np.ndarray, now_ns: int) -> np.ndarray:
        if self.clock == "frames":
            return misses
        return np.rint((now_ns - seen_ns) * (1e-9 / self.period_s)).astype(np.int64)


def take(state: State, rows: np.ndarray) -> State:
    """A state (a dataclass of numbers and of arrays with a row a track) with the tracks at ``rows`` (mask or indices).

    Where these are all tracks in their order, the state itself: nothing is copied.
    """
    given: Any = state
    names = [f.name for f in fields(given) if isinstance(getattr(given, f.name), np.ndarray)]
    count = len(getattr(given, names[0]))
    if rows.all() if rows.dtype == bool else (len(rows) == count and (rows == np.arange(count)).all()):
        return state
    cut: State = replace(given, **{name: getattr(given, name)[rows] for name in names})
    return cut


def join(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Rows of live tracks and, after them, of new ones; ``old`` itself where there are none."""
    return np.concatenate([old, new]) if len(new) else old
