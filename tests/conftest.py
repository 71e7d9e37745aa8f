"""Fixtures that every test folder shares."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# No limit on the time of an example: the first one may compile a kernel, and machines are busy.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings beside the checkout; tests that need it skip where it is absent."""
    folder = REPO.parent / "shared" / "data"
    if not (folder / "README.md").is_file():
        pytest.skip(f"real recordings are not here ({folder.name}/ beside the checkout is absent)")
    return folder
