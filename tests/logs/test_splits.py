"""Hashed splits: stable, disjoint, complete, about the right size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive.errors import UserError
from drive.logs.splits import check_no_leak, hashed_split, share_of

NAMES = [f"scene-{i:04d}" for i in range(1000)]


def test_shares() -> None:
    split = hashed_split(NAMES, {"train": 0.8, "val": 0.2})
    assert 750 < len(split["train"]) < 850
    check_no_leak(split)
    assert share_of("scene-0001") == share_of("scene-0001") != share_of("scene-0001", seed=1)


@given(st.lists(st.text(max_size=8)), st.text(max_size=8))
def test_a_new_log_moves_no_old_one(names: list[str], new: str) -> None:
    shares = {"train": 0.7, "val": 0.2, "test": 0.1}
    before, after = hashed_split(names, shares), hashed_split([*names, new], shares)
    assert sorted(name for part in before.values() for name in part) == sorted(set(names))
    for key in shares:
        assert set(before[key]) <= set(after[key])


def test_leaks_and_nonsense() -> None:
    with pytest.raises(UserError, match="split val: log a stands in train as well"):
        check_no_leak({"train": ["a", "b"], "val": ["a"]})
    for shares in ({}, {"train": 0.5}, {"train": 1.5, "val": -0.5}):
        with pytest.raises(ValueError, match="shares"):
            hashed_split(NAMES, shares)
