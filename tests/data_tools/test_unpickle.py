"""The restricted unpickler: equal to pickle on plain data, and nothing else comes through."""

from __future__ import annotations

import collections
import datetime
import decimal
import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from data_tools import pickle_scan
from data_tools.unpickle import load_pickle, loads_pickle
from drive.errors import UserError
from tests.data_tools.fuzzing import check_reader

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def same(a: Any, b: Any) -> bool:
    """Equality that looks into arrays and takes the sort of dictionary as no difference."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if type(a) is not type(b) or a.dtype != b.dtype or a.shape != b.shape:
            return False
        return all(map(same, a.flat, b.flat)) if a.dtype.hasobject else a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


_keys = st.text(max_size=5) | st.integers() | st.tuples(st.integers(), st.text(max_size=3))
_arrays = numpy_st.arrays(
    st.sampled_from(["f8", "f4", ">f4", "i8", "u1", "?", "U3", "S4", "f2", "c16"]), numpy_st.array_shapes(max_dims=3)
)
_leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers() | _arrays
    | st.sets(st.integers(), max_size=3) | st.frozensets(st.text(max_size=2), max_size=3)
)  # fmt: skip
_plain = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(_plain, st.sampled_from(PROTOCOLS))
def test_plain_data_comes_back_as_it_was(value: Any, protocol: int) -> None:
    assert same(loads_pickle(pickle.dumps(value, protocol), "test"), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_every_kind(protocol: int) -> None:
    shared = np.arange(6.0).reshape(2, 3)
    nested = np.empty(2, object)
    nested[:] = [{"a": shared}, [np.float32(1.5)]]
    value = {
        "fortran": np.asfortranarray(shared),
        "empty": np.zeros((0, 4)),
        "none": np.zeros(0, "U5"),
        "scalars": [np.int16(-3), np.str_("x"), np.bool_(True), np.bytes_(b"ab")],
        "nested": nested,
        "fields": np.array([(1, 2.5)], dtype=[("a", "<i4"), ("b", ">f8")]),
        "zero": np.array(4.0),
        "tuple": (shared, [shared]),
        "dtype": np.dtype("<f4"),
        "ordered": collections.OrderedDict(b=1, a=2),
        "default": collections.defaultdict(list, {"k": [shared]}),
    }
    got = loads_pickle(pickle.dumps(value, protocol), "test")
    assert same(got, value)
    assert got["tuple"][0] is got["tuple"][1][0], "what was shared stays shared"
    assert type(got["default"]) is dict
    assert got["fortran"].flags.f_contiguous
    got["fortran"][0, 0] = 7  # an array of its own, not a view of the file's bytes


def test_old_module_names_of_numpy() -> None:
    new = pickle.dumps([np.arange(3), np.float64(2)], 2)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != new
    assert same(loads_pickle(old, "test"), [np.arange(3), np.float64(2)])


def test_a_list_that_holds_itself() -> None:
    value: list[Any] = [np.arange(2)]
    value.append((value,))
    got = loads_pickle(pickle.dumps(value), "test")
    assert got[1][0] is got
    assert isinstance(got[0], np.ndarray)


class Runs:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("echo this must not run >&2",)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Runs(), "system"),
        (datetime.datetime(2020, 1, 1), "datetime.datetime"),
        (decimal.Decimal(1), "decimal.Decimal"),
        (Path("x"), "pathlib"),
        (np.random.default_rng(0), "numpy.random"),
        (print, "builtins.print"),
        (np.ma.masked_array([1.0]), "numpy.ma"),
        (collections.Counter("ab"), "collections.Counter"),
        (range(3), r"builtins.x?range"),
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_foreign_class_is_refused_by_name(value: Any, name: str, protocol: int) -> None:
    with pytest.raises(UserError, match=name) as caught:
        loads_pickle(pickle.dumps({"deep": [value]}, protocol), "here.pkl")
    assert caught.value.place == "here.pkl"
    assert "\n" not in str(caught.value)


def _array(dtype_state: bytes, shape: bytes, raw: bytes, text: bytes = b"f8") -> bytes:
    """A hand-written pickle of an array: BUILD state of its dtype, its shape and its contents as opcodes."""
    head = b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
    dtype = b"cnumpy\ndtype\n(U" + bytes([len(text)]) + text + b"K\x00K\x01tR" + dtype_state
    return head + dtype + b"\x89" + raw + b"tb."


PLAIN_STATE = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def test_forged_arrays() -> None:
    good = _array(PLAIN_STATE, b"K\x01\x85", b"U\x08" + struct.pack("<d", 2.5))
    assert loads_pickle(good, "test").tolist() == [2.5]
    # The flags of an object dtype cleared: numpy itself would take eight bytes as a pointer.
    with pytest.raises(UserError, match="without a list"):
        loads_pickle(_array(PLAIN_STATE, b"K\x01\x85", b"U\x08" + bytes(8), b"O8"), "test")
    # More objects than the list has: numpy itself would read beyond its end.
    with pytest.raises(UserError, match="objects holds 1"):
        loads_pickle(_array(PLAIN_STATE, b"K\x02\x85", b"]K\x01a", b"O8"), "test")
    for shape in (
        b"J\xff\xff\xff\x7f\x85",
        b"J\xff\xff\xff\xff\x85",
        b"N\x85",
        b"K\x01",
        b"G" + bytes(8),
    ):
        with pytest.raises(UserError, match="numpy array"):
            loads_pickle(_array(PLAIN_STATE, shape.ljust(1), b"U\x08" + bytes(8)), "test")
    with pytest.raises(UserError, match="plain one"):
        loads_pickle(_array(PLAIN_STATE, b"K\x01\x85", b"U\x08" + bytes(8), b"M8[ns]"), "test")
    for text in (b"U0", b"V0", b"S0"):  # nothing an element: any shape fits, numpy would take one byte or four each
        with pytest.raises(UserError, match="more memory"):
            loads_pickle(_array(PLAIN_STATE, b"\x8a\x05\x00\x00\x00\x00\x01\x85", b"U\x00", text), "test")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "byte 0: the file ends"),
        (b"\x80\x04", "byte 2: the file ends"),
        (b"\x80\x04K\x01K\x02.", "byte 6: the end marker comes with 2"),
        (b"\xffabc", "byte 0: byte 0xff"),
        (b"B\xff\xff\xff\x7f.", "byte 0: a length of 2147483647"),
        (b"\x8e" + b"\xff" * 8 + b".", "a length of -1"),
        (b"\x96" + struct.pack("<Q", 10**12) + b".", "a length of 1000000000000"),
        (b"\x80\x04\x95" + struct.pack("<Q", 10**9) + b"N.", "byte 2: a length"),
        (b"Nr\xff\xff\xff\x7f.", "byte 1: memo index 2147483647"),
        (b"Np99999999999\n.", "byte 1: memo index"),
        (b"h\x05.", "byte 0: memo index 5"),
        (b"0.", "byte 0: an object is taken"),
        (b"N(R.", "byte 2: an object is taken"),
        (b"}(K\x01u.", "byte 4: an object is taken"),
        (b"\x82\x01.", "EXT1"),
        (b"Pabc\n.", "PERSID"),
        (b"\x8b\x00\x10\x00\x00" + bytes(4096) + b".", "integer of 4096"),
        (b"})" + b"\x85" * 100_000 + b"Ns.", "a key of more than 64 objects"),
        (b"})" + b"2\x86" * 100 + b"Ns.", "a key of more than 64 objects"),
        (b"}]Ns.", "unhashable"),
        (b"c__builtin__\neval\n.", "builtins.eval"),
        (b"ccollections\nOrderedDict\n.", "a class itself"),
        (b"ccollections\nOrderedDict\n}X\x01\x00\x00\x00aNsb.", "state of collections.OrderedDict"),
        (b"cbuiltins\nlist\n)R.", "builtins.list may be named but not called"),
        (b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.", "bytes made of"),
        (b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.", "numpy.ndarray may be named"),
    ],
)
def test_damaged_and_hostile_bytes(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        loads_pickle(data, "x.pkl")
    assert caught.value.place == "x.pkl"


def test_memory_is_bounded_by_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"X" + struct.pack("<I", 1_000_000) + b"a" * 1_000_000
    many = b"c_codecs\nencode\nq\x000" + text + b"q\x010(" + b"h\x00h\x01\x85R" * 100 + b"l."
    with pytest.raises(UserError, match="more memory than the file"):
        loads_pickle(many, "x.pkl")
    monkeypatch.setattr(pickle_scan, "MAX_MEMORY", 100_000)
    with pytest.raises(UserError, match="objects would take more"):
        loads_pickle(b"(" + b"}" * 10_000 + b"l.", "x.pkl")


def test_every_cut_of_a_file_is_an_error() -> None:
    data = pickle.dumps({"a": np.arange(4), "b": ["text", (1, 2.5)]})
    for end in range(len(data)):
        with pytest.raises(UserError):
            loads_pickle(data[:end], "cut.pkl")


def test_random_damage_is_an_error_or_a_result() -> None:
    rng = np.random.default_rng(0)
    sources = [
        pickle.dumps({"a": np.arange(4), "b": ["t", (1, 2.5), {3, 4}], "o": np.array([{}, 1], object)}, protocol)
        for protocol in PROTOCOLS
    ]
    refused = 0
    for _ in range(3000):
        data = bytearray(sources[rng.integers(len(sources))])
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        try:
            loads_pickle(bytes(data), "x.pkl")
        except UserError:
            refused += 1
    assert 1000 < refused < 3000


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_damaged_files(tmp_path: Path, protocol: int) -> None:
    frames = [
        {"token": "ab" * 8, "pose": np.eye(4), "names": np.array(["car", "bus"]), "boxes": np.ones((2, 7), np.float32),
         "next": {"stamp": i * 10**15, "speed": np.float64(i), "tags": {"a", "b"}, "objects": np.array([{}, None])}}
        for i in range(5)
    ]  # fmt: skip
    path = tmp_path / "log.pkl"
    path.write_bytes(pickle.dumps(frames, protocol))
    assert check_reader(load_pickle, path) > 20


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([1, 2]))
    assert load_pickle(path) == [1, 2]
    with pytest.raises(UserError, match="at most 3 are read"):
        load_pickle(path, max_bytes=3)
    with pytest.raises(UserError, match="cannot be read"):
        load_pickle(tmp_path / "none.pkl")


def test_equal_to_pickle_on_real_files(real_data: Path) -> None:
    paths = sorted(real_data.rglob("*.pkl"))
    assert len(paths) >= 11

    class Names(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            assert module.partition(".")[0] in ("numpy", "collections", "_codecs", "builtins")
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)

    for path in paths:
        assert same(load_pickle(path), Names(io.BytesIO(path.read_bytes())).load()), path.name
