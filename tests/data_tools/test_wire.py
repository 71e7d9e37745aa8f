from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from fuzzing import mutations
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.wire import (
    BOOL,
    BYTES,
    DOUBLE,
    ENUM,
    FIXED_INT32,
    FIXED_INT64,
    FLOAT,
    INT32,
    INT64,
    SINT32,
    SINT64,
    STRING,
    UINT32,
    UINT64,
    Kind,
    WireError,
    decode,
    encode,
    message,
    packed,
    repeated,
    table,
    varint,
)

POINT = {1: ("x", DOUBLE), 2: ("y", DOUBLE), 3: ("kind", ENUM), 4: ("seen", BOOL), 5: ("weight", FLOAT)}
ALL = {
    1: ("text", STRING),
    2: ("number", INT32),
    3: ("zigzag", SINT64),
    4: ("packed", packed(INT32)),
    5: ("unpacked", repeated(DOUBLE)),
    6: ("point", message(POINT)),
    7: ("points", repeated(message(POINT))),
    8: ("columns", table(POINT)),
    9: ("floats", packed(FLOAT)),
    10: ("deltas", packed(SINT64)),
    11: ("raw", BYTES),
    12: ("names", repeated(STRING)),
    13: ("masks", repeated(UINT32)),
    2000: ("late", UINT64),
}


def test_protobuf_examples() -> None:
    """The byte strings of the encoding guide (protobuf.dev)."""
    assert decode(bytes.fromhex("089601"), {1: ("a", INT32)}) == {"a": 150}
    assert decode(bytes.fromhex("120774657374696e67"), {2: ("b", STRING)}) == {"b": "testing"}
    assert decode(bytes.fromhex("1a03089601"), {3: ("c", message({1: ("a", INT32)}))}) == {"c": {"a": 150}}
    found = decode(bytes.fromhex("3206038e029ea705"), {6: ("f", packed(INT32))})
    assert found["f"].tolist() == [3, 270, 86942]
    minus_two = bytes.fromhex("08feffffffffffffffff01")
    assert decode(minus_two, {1: ("a", INT64)}) == {"a": -2}
    assert encode({"a": -2}, {1: ("a", INT64)}) == minus_two
    for value, coded in ((0, 0), (-1, 1), (1, 2), (-2, 3), (0x7FFFFFFF, 0xFFFFFFFE), (-0x80000000, 0xFFFFFFFF)):
        assert encode({"z": value}, {1: ("z", SINT32)}) == b"\x08" + varint(coded)
        assert decode(b"\x08" + varint(coded), {1: ("z", SINT32)}) == {"z": value}


EXAMPLE: dict[str, Any] = {
    "text": "höhe",
    "number": -5,
    "zigzag": -77,
    "packed": np.array([1, -1, 300, 2**31 - 1], np.int32),
    "unpacked": np.array([1.5, -2.0]),
    "point": {"x": 1.0, "seen": True},
    "points": [{}, {"kind": -3, "weight": 0.5}],
    "columns": {"x": np.array([1.0, 2.0]), "kind": np.array([7, -8])},
    "floats": np.array([1.0, 2.5], np.float32),
    "deltas": np.array([-1, 2, -(2**62)]),
    "raw": b"\x00\xff",
    "names": ["a", ""],
    "masks": np.array([0, 2**32 - 1], np.uint32),
    "late": 2**64 - 1,
}


def test_every_kind_there_and_back() -> None:
    found = decode(encode(EXAMPLE, ALL), ALL)
    columns = found.pop("columns")
    assert len(columns) == 2
    assert columns["x"].tolist() == [1.0, 2.0]
    assert columns["kind"].tolist() == [7, -8]
    assert columns["weight"].tolist() == [0, 0]
    assert {name: seen.tolist() for name, seen in columns.present.items()} == {
        "x": [True, True], "y": [False, False], "kind": [True, True], "seen": [False, False], "weight": [False, False],
    }  # fmt: skip
    for name, value in found.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, EXAMPLE[name])
            assert value.dtype == EXAMPLE[name].dtype
        else:
            assert value == EXAMPLE[name]
    again = encode({**found, "columns": columns.values | {}}, ALL)
    assert decode(again, ALL)["columns"]["x"].tolist() == [1.0, 2.0]


def test_absent_is_not_zero() -> None:
    found = decode(b"", ALL)
    assert "number" not in found
    assert "point" not in found
    assert found["points"] == []
    assert found["packed"].dtype == np.int32
    assert len(found["packed"]) == len(found["unpacked"]) == len(found["columns"]) == 0


def test_unknown_fields_and_groups_are_skipped() -> None:
    group = bytes([15 << 3 | 3]) + b"\x08\x05" + bytes([14 << 3 | 3, 14 << 3 | 4]) + bytes([15 << 3 | 4])
    data = group + encode({"x": 1.0, "y": 2.0}, POINT) + group
    assert decode(data, {2: ("y", DOUBLE)}) == {"y": 2.0}


def test_packed_or_not_and_mixed_are_the_same() -> None:
    values = [3, 270, 86942]
    one_by_one = encode({"f": values}, {6: ("f", repeated(INT32))})
    together = encode({"f": values}, {6: ("f", packed(INT32))})
    assert one_by_one != together
    for data in (one_by_one, together):
        for kind in (repeated(INT32), packed(INT32)):
            assert decode(data, {6: ("f", kind)})["f"].tolist() == values
    assert decode(together + one_by_one, {6: ("f", packed(INT32))})["f"].tolist() == values * 2
    doubles = encode({"d": [1.0]}, {1: ("d", repeated(DOUBLE))}) + encode({"d": [2.0, 3.0]}, {1: ("d", packed(DOUBLE))})
    assert decode(doubles, {1: ("d", repeated(DOUBLE))})["d"].tolist() == [1.0, 2.0, 3.0]


def test_last_value_wins_and_messages_merge() -> None:
    data = b"".join(encode({"point": part}, ALL) for part in ({"x": 1.0, "y": 1.0}, {"x": 2.0}))
    assert decode(data, ALL)["point"] == {"x": 2.0, "y": 1.0}
    assert decode(b"\x10\x01\x10\x02", ALL)["number"] == 2


@pytest.mark.parametrize(
    ("data", "what", "offset"),
    [
        (b"\x10", "a varint without an end", 1),
        (b"\x10" + b"\x80" * 11, "a varint without an end", 1),
        (b"\x80", "a varint without an end", 0),
        (b"\x02\x00", "field number", 0),
        (b"\x2e", "wire type that does not exist", 0),
        (b"\x29\x00\x00", "beyond the end", 1),
        (b"\x0a\x05abc", "beyond the end", 1),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "beyond the end", 1),
        (b"\x7b\x08\x01", "group without an end", 3),
        (b"\x7c", "group without an end or a beginning", 0),
        (b"\x7b" * 70, "group", 64),
        (b"\x08\x01", "text has wire type 0", 1),
        (b"\x0a\x01\xff", "not UTF-8", 2),
        (b"\x22\x03\x01\x80\x80", "a varint without an end", 3),
        (b"\x4a\x03abc", "packed float", 2),
        (b"\x2a\x03abc\x29" + bytes(8), "do not fill their length", 2),
        (b"\x42\x02\x08\x01", "another wire type", 3),
        (b"\x42\x02\x09\x01", "beyond the end", 3),
    ],
)
def test_broken_bytes_are_named(data: bytes, what: str, offset: int) -> None:
    with pytest.raises(WireError, match=what) as caught:
        decode(data, ALL)
    assert caught.value.offset == offset


def test_limits() -> None:
    nested: dict[int, tuple[str, Kind]] = {}
    nested[1] = ("inner", message(nested))
    data = b""
    for _ in range(40):
        data = encode({"raw": data}, {1: ("raw", BYTES)})
    with pytest.raises(WireError, match="deeper than 32"):
        decode(data, nested)
    with pytest.raises(WireError, match="more than"):
        decode(memoryview(np.zeros((1 << 27) + 1, np.uint8)), ALL)
    with pytest.raises(ValueError, match="cannot be packed"):
        packed(STRING)
    with pytest.raises(ValueError, match="a table holds single numbers"):
        table({1: ("name", STRING)})
    with pytest.raises(ValueError, match="'numbr'"):
        encode({"numbr": 1}, ALL)


NUMBERS = {
    INT32: st.integers(-(2**31), 2**31 - 1),
    SINT32: st.integers(-(2**31), 2**31 - 1),
    INT64: st.integers(-(2**63), 2**63 - 1),
    SINT64: st.integers(-(2**63), 2**63 - 1),
    UINT32: st.integers(0, 2**32 - 1),
    UINT64: st.integers(0, 2**64 - 1),
    BOOL: st.booleans(),
    DOUBLE: st.floats(allow_nan=False),
    FLOAT: st.floats(allow_nan=False, width=32),
    FIXED_INT32: st.integers(0, 2**32 - 1),
    FIXED_INT64: st.integers(0, 2**64 - 1),
}


@settings(deadline=None)  # the first call compiles
@given(st.data())
def test_numbers_there_and_back(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(NUMBERS)))
    values = data.draw(st.lists(NUMBERS[kind], max_size=20))
    wanted = np.array(values, kind.dtype)
    for many in (repeated(kind), packed(kind)):
        found = decode(encode({"v": wanted}, {3: ("v", many)}), {3: ("v", many)})["v"]
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    one = {3: ("v", kind)}
    for value in values:
        assert decode(encode({"v": value}, one), one) == {"v": value}
        columns = decode(encode({"t": [{"v": value}]}, {1: ("t", repeated(message(one)))}), {1: ("t", table(one))})["t"]
        assert columns["v"].tolist() == [value]


def test_fuzz() -> None:
    """A mutated message gives values or a WireError that points into it."""
    data = encode(EXAMPLE, ALL)
    rng = random.Random(2)
    random_bytes = [rng.randbytes(rng.randrange(60)) for _ in range(300)]
    offsets = []
    for damaged in [*mutations(data, 300, seed=1), *random_bytes]:
        try:
            decode(damaged, ALL)
        except WireError as error:
            offsets.append((error.offset, len(damaged)))
    assert len(offsets) > 200
    assert all(0 <= offset <= size for offset, size in offsets)
