"""Splits of logs that nobody has to store: a log's name decides its side, for ever and on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from drive.errors import UserError


def share_of(name: str, seed: int = 0) -> float:
    """A number in [0, 1) that depends on the log's name and the seed only (first 8 bytes of SHA-256)."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") / 2**64


def hashed_split(names: Iterable[str], shares: Mapping[str, float], seed: int = 0) -> dict[str, list[str]]:
    """Divide logs by name, e.g. ``{"train": 0.8, "val": 0.2}``; adding logs later never moves an old one.

    Returns sorted names per split. The shares must be positive and sum to 1 (ValueError otherwise).
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares must be positive and sum to 1, not {dict(shares)}")
    split: dict[str, list[str]] = {key: [] for key in shares}
    keys = list(shares)
    for name in sorted(set(names)):
        share, edge = share_of(name, seed), 0.0
        for key in keys:
            edge += shares[key]
            if share < edge or key == keys[-1]:
                split[key].append(name)
                break
    return split


def check_no_leak(split: Mapping[str, Sequence[str]]) -> None:
    """Raise UserError if a log stands in two splits, or twice in one."""
    seen: dict[str, str] = {}
    for key, names in split.items():
        for name in names:
            if name in seen:
                raise UserError(
                    f"split {key}", f"log {name} stands in {seen[name]} as well", "take it out of one of the two"
                )
            seen[name] = key
