"""Files of a raw data set that become one log each, under the names that the logs will have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from drive.errors import UserError
from drive.logs.schema import NAME_PATTERN


def files_by_name(raw: Path, suffix: str, mend: str) -> list[Path]:
    """Every file below ``raw`` that ends in ``suffix``, sorted by its stem, the name of the log.

    Raises:
        UserError: there is none (``mend`` says what to give), a stem cannot be a log's name or stands in two folders.
    """
    found: dict[str, Path] = {}
    for path in sorted(Path(raw).rglob(f"*{suffix}")):
        if not NAME_PATTERN.fullmatch(path.stem):
            raise UserError(path, "odd file name", "rename it: letters, digits and . _ + - = only")
        if path.stem in found:
            raise UserError(path, f"the log is also at {found[path.stem]}", "convert one of them at a time")
        found[path.stem] = path
    if not found:
        raise UserError(raw, f"holds no {suffix} file", mend)
    return [found[name] for name in sorted(found)]


def check_folders(folders: Mapping[str, str]) -> None:
    """UserError where an option, {flag: folder}, names what is no folder; the empty name is "not given"."""
    for flag, folder in folders.items():
        if folder and not Path(folder).is_dir():
            raise UserError(flag, f"{folder} is no folder", "give the folder or leave the option out")
