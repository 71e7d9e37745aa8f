"""The one exception that a user sees as a single line."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """Input that we cannot use: where it is, what is wrong, and how to mend it.

    The command line prints it as ``error: <place>: <what>; <mend>`` and exits with status 2.
    """

    def __init__(self, place: str | Path, what: str, mend: str) -> None:
        self.place, self.what, self.mend = str(place), what, mend
        super().__init__(f"{self.place}: {what}; {mend}")

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        # Exceptions cross process borders in the converters' pool: rebuild from the three parts.
        return UserError, (self.place, self.what, self.mend)
