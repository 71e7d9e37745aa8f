"""The size of the epoch whose memory is watched, and how it is watched."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

WORKERS = 8
"""Processes of the tests (each takes a second or two to load its libraries); `tests/soak.py --workers` sets others."""


def private_mb() -> float:
    """Private (not mapped from files) memory of all worker processes, MB."""
    total = 0
    for child in multiprocessing.active_children():
        for line in Path(f"/proc/{child.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1])
    return total / 1024
