"""What a program writes between the values of a table's records, learnt from the first record."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass


class NotFlatError(Exception):
    """The pass does not understand this file."""


@dataclass(frozen=True)
class Layout:
    """What stands before the first value, between two values and between two records: bytes, one piece a field.

    pieces: K + 1 of them, the last closes the record; between: from there to the next record's first value.
    """

    head: bytes
    fields: tuple[str, ...]
    pieces: tuple[bytes, ...]
    between: bytes


_VALUE = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def learn_layout(data: bytes) -> Layout | None:
    """Layout of the first record in the first bytes of a file; None for an empty list. NotFlatError otherwise."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise NotFlatError from error

    def skip(at: int, sign: str) -> int:
        at = _after_space(text, at)
        if not text.startswith(sign, at):
            raise NotFlatError
        return at + len(sign)

    at = skip(0, "[")
    if text[_after_space(text, at) :].strip() == "]":
        return None
    fields: list[str] = []
    cuts: list[tuple[int, int]] = []  # first byte and end of each value
    at = skip(at, "{")
    try:
        while True:
            at = _after_space(text, at)
            name, at = _VALUE.raw_decode(text, at)
            at = skip(at, ":")
            start = _after_space(text, at)
            _, at = _VALUE.raw_decode(text, start)
            fields.append(name)
            cuts.append((start, at))
            behind = _after_space(text, at)
            if text.startswith("}", behind):
                break
            at = skip(at, ",")
    except (ValueError, IndexError) as error:
        raise NotFlatError from error
    if not all(isinstance(name, str) for name in fields) or len(set(fields)) != len(fields):
        raise NotFlatError
    end = behind + 1
    pieces = [text[a:b].encode() for (_, a), (b, _) in itertools.pairwise(cuts)]
    pieces.append(text[cuts[-1][1] : end].encode())
    lead = text[text.index("{") : cuts[0][0]]
    comma = _after_space(text, end)
    between = text[end : _after_space(text, comma + 1)] if text.startswith(",", comma) else ","
    return Layout(text[: cuts[0][0]].encode(), tuple(fields), tuple(pieces), (between + lead).encode())
