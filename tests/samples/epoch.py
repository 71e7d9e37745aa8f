"""The size of the epoch whose memory is watched, and how it is watched."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

WORKERS = 2
"""Processes of the tests (each takes seconds to load its libraries); tests/soak.py takes 8."""


def private_mb() -> float:
    """Private (not mapped from files) memory of all worker processes, MB."""
    total = 0
    for child in multiprocessing.active_children():
        for line in Path(f"/proc/{child.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1])
    return total / 1024
