"""A tracker's state as a file, so that a process can stop and another go on with the same result to the bit.

Safetensors: the arrays of the state, and in its head as JSON the class of the state and its numbers. Nothing in such a
file is run when it is read.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from drive.boxes.table_file import whole_file
from drive.errors import UserError

_VERSION = 1
_MEND = "give the state that the same tracker wrote"

State = TypeVar("State")


def write_state(path: Path, state: Any) -> None:
    """Write a state (a dataclass of numbers and numpy arrays): the file appears whole or not at all.

    Raises UserError where it cannot be written; TypeError for a field that is neither a number nor an array.
    """
    if not is_dataclass(state) or isinstance(state, type):
        raise TypeError(f"a tracker's state is a dataclass, got {type(state).__name__}")
    arrays, numbers = {}, {}
    for field in fields(state):
        value = getattr(state, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = np.ascontiguousarray(value)
        elif isinstance(value, bool | int | float):
            numbers[field.name] = value
        else:
            raise TypeError(f"{field.name} is a {type(value).__name__}: a state holds numbers and arrays only")
    head = {"version": _VERSION, "state": _name(state), "numbers": numbers}
    with whole_file(path) as file:
        file.write(save(arrays, metadata={"tracker_state": json.dumps(head)}))


def read_state(path: Path, like: State) -> State:
    """Read what ``write_state`` wrote.

    Args:
        like: A state of the tracker that is to go on, as its ``start()`` gives: the file must hold the same class, with
            arrays of the same types and of the same shapes, but for the number of tracks.

    Raises:
        UserError: no such file, a foreign or broken one, or the state of another tracker.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            head = json.loads((file.metadata() or {})["tracker_state"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        version, name, numbers = head["version"], head["state"], dict(head["numbers"])
    except FileNotFoundError as error:
        raise UserError(path, "no such file", _MEND) from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(path, f"not a tracker's state ({error})", _MEND) from error
    if version != _VERSION or name != _name(like):
        what = f"a state of {name}, version {version}; this tracker reads {_name(like)}, version {_VERSION}"
        raise UserError(path, what, _MEND)
    wanted: Any = like
    values: dict[str, Any] = {}
    tracks: set[int] = set()
    for field in fields(wanted):
        known = getattr(wanted, field.name)
        found = (arrays if isinstance(known, np.ndarray) else numbers).get(field.name)
        if isinstance(known, np.ndarray):
            if found is None or found.dtype != known.dtype or found.shape[1:] != known.shape[1:] or not found.ndim:
                have = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
                what = f"{field.name} is {have}, this tracker needs {known.dtype} [N, {str(known.shape[1:])[1:-1]}]"
                raise UserError(path, what, _MEND)
            tracks.add(len(found))
        elif type(found) is not type(known):
            raise UserError(path, f"{field.name} is {found!r}, this tracker needs a {type(known).__name__}", _MEND)
        values[field.name] = found
    if len(tracks) > 1:
        raise UserError(path, f"its arrays are of different numbers of tracks {sorted(tracks)}", _MEND)
    state: State = type(like)(**values)
    return state


def _name(state: Any) -> str:
    return type(state).__name__
