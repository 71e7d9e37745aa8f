"""What the compiled pass over records compares and where it puts what, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from drive.logs.json_layout import Layout, NotFlatError
from drive.logs.json_records import FLAG, LINK, REAL, SKIP, TEXT, TOKEN, WHOLE

PAD = 64  # bytes of zeros behind whatever the pass reads
# "real" is one number, "real3" three in a list.
KINDS = {"token": TOKEN, "link": LINK, "whole": WHOLE, "flag": FLAG, "text": TEXT}


def _kind(name: str) -> tuple[int, int]:
    return (REAL, int(name[4:] or 0)) if name.startswith("real") else (KINDS[name], 0)


class RecordPlan:
    """What to compare and where to put what, as arrays for the compiled pass."""

    def __init__(self, layout: Layout, wanted: Mapping[str, str]) -> None:
        if not set(wanted) <= set(layout.fields):
            raise NotFlatError
        kinds = [_kind(wanted[name]) if name in wanted else (SKIP, 0) for name in layout.fields]
        self.names = [name for name in layout.fields if name in wanted]
        self.kind = np.array([kind for kind, _ in kinds], np.int64)
        self.width = np.array([width for _, width in kinds], np.int64)
        self.column = np.zeros(len(kinds), np.int64)
        self.sizes = [0, 0, 0]  # keys, wholes, reals
        for k, (kind, width) in enumerate(kinds):
            group = {TOKEN: 0, LINK: 0, REAL: 2}.get(kind, 1)
            self.column[k] = self.sizes[group]
            if kind != SKIP:
                self.sizes[group] += max(width, 1) if kind == REAL else 2 if kind == TEXT else 1
        pieces = (*layout.pieces, layout.between)
        self.cut = np.cumsum([0, *map(len, pieces)]).astype(np.int64)
        self.literal = np.frombuffer(b"".join(pieces) + bytes(PAD), np.uint8)
        self.lead = len(layout.between) - layout.between.index(b"{")
        self.shortest = sum(map(len, layout.pieces)) + len(kinds)
        self.fields = layout.fields

    def by_name(self, keys: Sequence[np.ndarray], wholes: np.ndarray, reals: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of N records by name, from keys [N] each, wholes [.., N] and reals [N, ..] as the pass filled them.

        token, link: uint64 keys. whole: int64. real: f64 [N], realK: f64 [N, K]. flag: bool. text: int64 [N, 2] bytes'
        offsets of the content.
        """
        found: dict[str, np.ndarray] = {}
        for k, name in enumerate(self.fields):
            kind, slot, width = int(self.kind[k]), int(self.column[k]), int(self.width[k])
            if kind in (TOKEN, LINK):
                found[name] = keys[slot]
            elif kind == REAL:
                found[name] = reals[:, slot : slot + width] if width else reals[:, slot]
            elif kind == TEXT:
                found[name] = wholes[slot : slot + 2].T
            elif kind != SKIP:
                found[name] = wholes[slot].astype(bool) if kind == FLAG else wholes[slot]
        return found
