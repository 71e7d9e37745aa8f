"""Whose a folder of logs is, with which options it was begun, and which of its logs are finished."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from drive.errors import UserError
from drive.logs.choice import Choice
from drive.logs.partial import owner, sweep_partials
from drive.logs.schema import SCHEMA_VERSION
from drive.logs.store import Log
from drive.logs.tables import disk_full

# What makes a folder ours: written into OUT before the first log, with the options that shape the logs' content.
MARKER = "logs.json"


def claim(out: Path, dataset: str, options: Any, choice: Choice) -> bool:
    """Make `out` ours, or refuse a folder that somebody else filled or that other options shaped. Whether it is new."""
    check(out, dataset, options, choice)
    marker = out / MARKER
    new = not marker.exists()
    if new:
        try:
            out.mkdir(parents=True, exist_ok=True)
            partial = out / f".{MARKER}.{owner()}"
            partial.write_text(json.dumps(_wanted(dataset, options, choice), indent=1) + "\n")
            os.replace(partial, marker)
        except OSError as error:
            mend = "give a folder that you may write to"
            raise disk_full(out, error) or UserError(out, f"cannot write here ({error.strerror})", mend) from error
    sweep_partials(out)
    return new


def release(out: Path) -> None:
    """Undo `claim` where nothing came of it: a second try may be with other options, or of another data set."""
    if [path.name for path in out.iterdir()] == [MARKER]:
        (out / MARKER).unlink(missing_ok=True)


def check(out: Path, dataset: str, options: Any, choice: Choice) -> None:
    """UserError where `claim` would refuse; nothing is written."""
    marker, wanted = out / MARKER, _wanted(dataset, options, choice)
    if out.exists() and not out.is_dir():
        raise UserError(out, "is a file", "give a folder for the logs")
    if marker.exists():
        try:
            found = json.loads(marker.read_bytes())
        except ValueError as error:
            raise UserError(marker, f"not readable ({error})", "give an empty folder") from error
        if found != wanted:
            what = f"this folder was begun with {json.dumps(found)}, now asked: {json.dumps(wanted)}"
            mend = "give another folder, or convert with the same options"
            if isinstance(found, dict) and found.get("schema_version") != SCHEMA_VERSION:
                mend = f"bring its logs up to date first: drive convert --migrate {out}"
            raise UserError(out, what, mend)
    elif out.exists() and any(not p.name.startswith(".") for p in out.iterdir()):
        raise UserError(out, "is not empty and not a folder that drive convert wrote", "give an empty or new folder")


def _wanted(dataset: str, options: Any, choice: Choice) -> dict[str, Any]:
    content = {name: getattr(options, name) for name in getattr(options, "content", ())}
    marker = {"schema_version": SCHEMA_VERSION, "dataset": dataset, "options": content}
    if choice.as_dict():
        marker["choice"] = choice.as_dict()
    return json.loads(json.dumps(marker))


def is_finished(path: Path) -> bool:
    """Whether a log is there and whole. One that is damaged is an error: we delete nothing that we finished."""
    if not path.exists():
        return False
    try:
        Log.open(path)
    except UserError as error:
        raise UserError(error.place, error.what, f"remove {path} and start again") from error
    return True
