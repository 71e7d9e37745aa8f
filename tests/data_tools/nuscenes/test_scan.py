"""The compiled pass over tables: the same values as the standard library, or none."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_tools.nuscenes import scan as scan_module
from data_tools.nuscenes.columns import open_tables
from data_tools.nuscenes.scan import scan
from data_tools.nuscenes.tables import token_keys
from drive.errors import UserError
from drive.logs.json_layout import NotFlatError
from drive.logs.json_literals import real_number, whole_number
from tests.data_tools.fuzzing import mutations

WANTED = {
    "token": "token", "prev": "link", "timestamp": "whole", "translation": "real3", "score": "real", "is_key": "flag",
    "filename": "text",
}  # fmt: skip


def buffer(text: str) -> np.ndarray:
    return np.frombuffer(text.encode() + bytes(64), np.uint8)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False))
@example(0.1)
@example(1e23)
@example(9007199254740993.0)
@example(-1010.1282353736892)
def test_floats_as_python_writes_them(value: float) -> None:
    text = repr(value)
    found, end = real_number(buffer(text), 0)
    if end >= 0:
        assert end == len(text)
        assert struct.pack("d", found) == struct.pack("d", value)
    else:
        assert not 1e-40 < abs(value) < 1e40


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    sign=st.sampled_from(["", "-"]),
    digits=st.integers(0, 10**19 - 1),
    point=st.integers(0, 12),
    power=st.integers(-45, 45),
)
def test_floats_of_up_to_19_digits(sign: str, digits: int, point: int, power: int) -> None:
    text = str(digits)
    if 0 < point < len(text):
        text = f"{text[:-point]}.{text[-point:]}"
    text = f"{sign}{text}e{power}"
    found, end = real_number(buffer(text), 0)
    if end >= 0:
        assert struct.pack("d", found) == struct.pack("d", float(text))


@pytest.mark.parametrize("odd", range(4))
def test_ties_go_to_even(odd: int) -> None:
    for mantissa in (2**52 + odd, 2**53 - 1 - odd):
        text = str(2 * mantissa + 1)  # halfway between two doubles
        assert real_number(buffer(text), 0)[0] == float(text)


@pytest.mark.parametrize("text", ["", "-", "01", "1.", ".5", "1e", "1e+", "nan", "Infinity", "+1", "--1", "0x10"])
def test_what_is_no_number(text: str) -> None:
    assert real_number(buffer(text), 0)[1] != len(text) or not text
    assert whole_number(buffer(text), 0)[1] != len(text) or not text


def record(rng: np.random.Generator, i: int) -> dict[str, Any]:
    token = rng.bytes(16).hex()
    return {
        "token": token,
        "prev": rng.bytes(16).hex() if i % 3 else "",
        "timestamp": int(rng.integers(0, 2**53)) * (-1) ** i,
        "translation": [float(v) for v in rng.normal(0, 10.0 ** rng.integers(-8, 8), 3)],
        "ignored": [["a]b", 1.5e-7], [], None, True][i % 4] if i % 2 else [[1, 2.5], [3, -4]],
        "score": [1, -0.0, 1e-9, 123456.789][i % 4],
        "is_key": bool(i % 2),
        "filename": f"samples/LIDAR_TOP/{token[: i % 20]}.bin",
        "last": i,
    }


def check(path: Path) -> bool:
    """Whether the pass read the file; what it read is then what the standard library reads."""
    data = path.read_bytes()
    try:
        found = scan(path, WANTED)
    except NotFlatError:
        return False
    records = json.loads(data)
    assert len(found.starts) == len(records)
    for name, kind in WANTED.items():
        values, expected = found.values[name], [r[name] for r in records]
        if kind in ("token", "link"):
            keys = [int(token_keys([text.encode()])[0]) if text else 0 for text in expected]
            assert values.tolist() == keys
        elif kind == "text":
            assert [data[a:b].decode() for a, b in values.tolist()] == expected
        else:
            np.testing.assert_array_equal(values, np.array(expected, values.dtype))
    assert [json.loads(data[a:b]) for a, b in zip(found.starts, found.ends, strict=True)] == records
    return True


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_values_of_every_layout(tmp_path: Path, indent: int | None, count: int) -> None:
    path = tmp_path / "table.json"
    rng = np.random.default_rng(count)
    path.write_text(json.dumps([record(rng, i) for i in range(count)], indent=indent))
    assert check(path)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_small_buffers_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    path = tmp_path / "table.json"
    rng = np.random.default_rng(0)
    records = [record(rng, i) for i in range(200)]
    path.write_text(json.dumps(records, indent=0))
    whole = scan(path, WANTED)
    for size in (700, 1024, 5000):
        monkeypatch.setattr(scan_module, "BUFFER_BYTES", size)
        parts = scan(path, WANTED, threads=threads)
        np.testing.assert_array_equal(parts.starts, whole.starts)
        np.testing.assert_array_equal(parts.ends, whole.ends)
        for name in WANTED:
            np.testing.assert_array_equal(parts.values[name], whole.values[name])


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "[{}]", "[1, 2]", '[{"token": "a"}]', '[{"token": {"a": 1}}]', '[{"token": "é"}]',
        '[{"token": 1, "token": 2}]',
    ],
)  # fmt: skip
def test_what_is_left_to_others(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(NotFlatError):
        scan(path, {"token": "token"})


def test_damage_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Whatever the pass accepts of a damaged file, the standard library reads alike."""
    path = tmp_path / "table.json"
    rng = np.random.default_rng(1)
    text = json.dumps([record(rng, i) for i in range(12)], indent=0).encode()
    accepted = 0
    for damaged in mutations(text, 400):
        path.write_bytes(damaged)
        accepted += check(path)
    assert 5 < accepted < 300


def test_open_tables(raw: Any, tmp_path: Path) -> None:
    folder, cache = raw.root / raw.version, tmp_path / "tables.arrow"
    first = open_tables(folder, cache)
    again = open_tables(folder, cache)
    tables = raw.tables
    for opened in (first, again):
        poses = opened.columns["ego_pose"]
        np.testing.assert_array_equal(poses["rotation"], [r["rotation"] for r in tables["ego_pose"]])
        data = opened.columns["sample_data"]
        named = [tables["ego_pose"][row]["token"] for row in data["ego_pose_row"]]
        assert named == [r["ego_pose_token"] for r in tables["sample_data"]]
        boxes = opened.columns["sample_annotation"]
        assert [tables["instance"][row]["token"] for row in boxes["instance_row"]] == [
            r["instance_token"] for r in tables["sample_annotation"]
        ]
        assert opened.records("sample_data", np.array([2])) == [tables["sample_data"][2]]
    assert set(first.columns) == set(again.columns)
    # Tables that changed since are read again.
    tables["ego_pose"][0]["translation"] = [1.0, 2.0, 3.0]
    raw.write()
    assert open_tables(folder, cache).columns["ego_pose"]["translation"][0].tolist() == [1.0, 2.0, 3.0]
    cache.write_bytes(b"ARROW1 not really")
    assert open_tables(folder, cache).columns["ego_pose"]["translation"][0].tolist() == [1.0, 2.0, 3.0]


def test_open_tables_of_another_writer(raw: Any) -> None:
    """Fields in another order in one record, letters outside ASCII: the standard library's values."""
    expected = open_tables(raw.root / raw.version).columns
    for name in ("sample_data", "sample_annotation", "ego_pose", "sample"):
        raw.tables[name][1] = dict(reversed(raw.tables[name][1].items()))
    raw.write()
    found = open_tables(raw.root / raw.version).columns
    for table, fields in expected.items():
        for field, values in fields.items():
            if field not in ("start", "end", "filename"):
                np.testing.assert_array_equal(found[table][field], values, err_msg=f"{table} {field}")


def test_open_tables_that_do_not_fit(raw: Any) -> None:
    raw.tables["ego_pose"].pop(3)
    raw.write()
    with pytest.raises(UserError, match=r"sample_data.json: record 3 refers by ego_pose_token to nothing"):
        open_tables(raw.root / raw.version)
    (raw.root / raw.version / "sample.json").unlink()
    with pytest.raises(UserError, match="sample.json: the table is missing"):
        open_tables(raw.root / raw.version)


def test_real_tables(real_data: Path) -> None:
    folder = real_data / "nuscenes" / "v1.0-mini"
    found = open_tables(folder).columns
    records = json.loads((folder / "sample_annotation.json").read_text())
    np.testing.assert_array_equal(found["sample_annotation"]["rotation"], [r["rotation"] for r in records])
    assert len(found["sample_data"]["token"]) == 7
