"""Extra tables with a meaning that several data sets share."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from drive.logs.standard import STANDARD_TABLES, check_standard
from drive.logs.store import Log
from drive.logs.writer import LogWriter


def _lights(state: str) -> pa.Table:
    row = {"frame": 0, "feature_id": "7", "state": state, "stop_point": [1.0, 2.0, 0.0], "source_state": "GO"}
    return pa.Table.from_pylist([row], schema=STANDARD_TABLES["lights"])


def test_a_log_keeps_a_standard_table_with_columns_of_its_own(tmp_path: Path) -> None:
    table = _lights("green").append_column("kind", pa.array(["bulb"]))
    with LogWriter(tmp_path, "a", dataset="d", source_version="1", licence="l") as writer:
        writer.add_table("lights", table)
    assert Log.open(tmp_path / "a").table("lights").equals(table)


@pytest.mark.parametrize("name", STANDARD_TABLES)
def test_every_standard_table_may_be_empty_and_another_name_is_free(name: str) -> None:
    check_standard(name, STANDARD_TABLES[name].empty_table())
    check_standard("can_bus", pa.table({"a": [1]}))


def test_wrong_columns_and_unknown_states_are_refused() -> None:
    with pytest.raises(ValueError, match="must begin with"):
        check_standard("ego", pa.table({"timestamp_ns": [1]}))
    with pytest.raises(ValueError, match="'blue' is not one of"):
        check_standard("lights", _lights("blue"))
