"""Every operator against its peers: outputs compared first, then both timed in turns in this process."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ops import kernels
from ops.pair import Pair


@dataclass(frozen=True)
class Row:
    """One comparison; times in milliseconds. `ratio` is of the medians, `best` of the least."""

    op: str
    name: str
    peer: str
    ours_ms: float
    ours_least_ms: float
    peer_ms: float
    peer_least_ms: float
    ratio: float
    best: float
    goal: float
    first_call_s: float  # ours: reading the compiled kernel from its cache, or compiling it


def all_pairs(wanted: Sequence[str] = ()) -> Iterator[tuple[str, Pair]]:
    """(operator, comparison) of every operator, or of the wanted ones."""
    for op in kernels.OPERATORS:
        if (wanted and op not in wanted) or importlib.util.find_spec(f"ops.{op}.bench") is None:
            continue
        yield from ((op, pair) for pair in importlib.import_module(f"ops.{op}.bench").pairs())


def measure(threads: int, rounds: int = 7, wanted: Sequence[str] = ()) -> list[Row]:
    """Time every pair with `threads` torch threads, the sides in turns. AssertionError where their outputs differ.

    Args:
        threads: torch threads; the kernels take as many.
        rounds: Turns; at most 20 seconds of a pair, at least 3 turns.
        wanted: Operators, empty = all.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rows = []
    try:
        for op, pair in all_pairs(wanted):
            start = time.perf_counter()
            pair.ours()
            first = time.perf_counter() - start
            pair.check()
            ours, theirs = _in_turns(pair, rounds)
            middle, least = (statistics.median(ours), min(ours)), (statistics.median(theirs), min(theirs))
            rows.append(
                Row(
                    op, pair.name, pair.peer, *middle, *least, least[0] / middle[0], least[1] / middle[1],
                    pair.goal, first,
                )
            )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    return rows


def _in_turns(pair: Pair, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of every call of ours and of the peer's (NaN where there is no peer)."""
    ours: list[float] = []
    theirs: list[float] = []
    begin = time.perf_counter()
    for turn in range(rounds):
        if turn >= 3 and time.perf_counter() - begin > 20:
            break
        for call, times in ((pair.ours, ours), (pair.theirs, theirs)):
            start = time.perf_counter()
            if call is not None:
                call()
            times.append((time.perf_counter() - start) * 1e3 if call is not None else math.nan)
    return ours, theirs


def table(rows: list[Row], threads: int) -> str:
    """The rows as text, with the machine's load."""
    lines = [f"{threads} thread(s), load average {os.getloadavg()[0]:.1f}, torch {torch.__version__}"]
    lines.append(f"{'':58s}{'ours ms':>9s}{'peer ms':>9s}{'ratio':>7s}{'asked':>7s}{'first s':>9s}  peer")
    for r in rows:
        asked = f"{r.goal:7.1f}" if r.goal else f"{'':7s}"
        peer = r.peer if math.isfinite(r.ratio) else f"{r.peer} (not installed)"
        lines.append(f"{r.name:58s}{r.ours_ms:9.2f}{r.peer_ms:9.2f}{r.ratio:7.1f}{asked}{r.first_call_s:9.2f}  {peer}")
    return "\n".join(lines)
