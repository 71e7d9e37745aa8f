"""Lyft scenes to logs: hand-made arrays, Blosc frames, bad input, damaged files, and the real scene."""

from __future__ import annotations

import json
import struct
import zlib
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.lyft import Options, convert_log, list_logs
from data_tools.lyft.convert import _AGENTS, _FACES, _FRAMES, _SCENES
from data_tools.lyft.zarr_arrays import BloscError, ZarrArray, unpack_blosc
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.store import Log
from tests.data_tools.fuzzing import check_reader

LABELS = [f"LABEL_{i}" for i in range(17)]


def pack_blosc(data: bytes, size: int, *, block: int = 1 << 12, method: str = "lz4_raw", shuffle: bool = True) -> bytes:
    """A Blosc 1 frame as c-blosc writes it (LZ4 and a value of at most 16 bytes: split streams)."""
    split, block = method == "lz4_raw" and size <= 16, max(min(block, len(data)), 1)
    flags = (1 if shuffle else 0) | (0 if split else 0x10) | {"lz4_raw": 1, "zlib": 3, "zstd": 4}[method] << 5
    bodies = []
    for at in range(0, len(data), block):
        part = data[at : at + block]
        if shuffle and size > 1:
            whole = len(part) // size * size
            part = np.frombuffer(part[:whole], np.uint8).reshape(-1, size).T.tobytes() + part[whole:]
        parts = size if split and len(part) == block and len(part) // size >= 128 else 1
        step, body = len(part) // parts, b""
        for i in range(parts):
            raw = part[i * step : (i + 1) * step]
            packed = zlib.compress(raw) if method == "zlib" else pa.compress(raw, codec=method, asbytes=True)
            packed = raw if len(packed) >= len(raw) else packed
            body += struct.pack("<i", len(packed)) + packed
        bodies.append(body)
    start, table = 16 + 4 * len(bodies), b""
    for body in bodies:
        table += struct.pack("<I", start)
        start += len(body)
    return struct.pack("<BBBBIII", 2, 1, flags, size, len(data), block, start) + table + b"".join(bodies)


Fields = dict[str, tuple[str, tuple[int, ...]]]


def write_array(
    folder: Path, fields: dict[str, tuple[str, tuple[int, ...]]], values: np.ndarray, chunk: int = 3
) -> None:
    folder.mkdir(parents=True)
    record: dict[str, Any] = {
        "zarr_format": 2, "shape": [len(values)], "chunks": [chunk], "filters": None, "order": "C",
        "compressor": {"id": "blosc", "cname": "lz4", "shuffle": 1},
        "dtype": [[name, kind, list(shape)] if shape else [name, kind] for name, (kind, shape) in fields.items()],
    }  # fmt: skip
    (folder / ".zarray").write_text(json.dumps(record))
    for number in range(-(-len(values) // chunk)):
        part = np.zeros(chunk, values.dtype)
        own = values[number * chunk : (number + 1) * chunk]
        part[: len(own)] = own
        (folder / str(number)).write_bytes(pack_blosc(part.tobytes(), values.dtype.itemsize % 256))


def zeros(fields: Fields, count: int) -> np.ndarray:
    return np.zeros(count, np.dtype([(name, kind, shape) for name, (kind, shape) in fields.items()]))


def make(root: Path) -> Path:
    """Two scenes of two frames: the ego looks north; an agent 5 m north of it drives east at 3 m/s."""
    folder = root / "sample.zarr"
    scenes, frames, agents, faces = zeros(_SCENES, 2), zeros(_FRAMES, 4), zeros(_AGENTS, 4), zeros(_FACES, 2)
    scenes["frame_index_interval"] = [[0, 2], [2, 4]]
    frames["timestamp"] = [10**18, 10**18 + 10**8, 10**18 + 10**10, 10**18 + 10**10 + 10**8]
    frames["agent_index_interval"] = [[0, 1], [1, 3], [3, 4], [4, 4]]
    frames["traffic_light_faces_index_interval"] = [[0, 2], [2, 2], [2, 2], [2, 2]]
    frames["ego_translation"] = [100.0, 200.0, 30.0]
    frames["ego_rotation"] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    agents["centroid"], agents["extent"], agents["velocity"] = [100.0, 205.0], [4.0, 2.0, 1.5], [3.0, 0.0]
    agents["track_id"] = [7, 7, 8, 9]
    agents["label_probabilities"][:, 3] = 0.75
    faces["face_id"], faces["traffic_light_id"] = ["f0", "f1"], "t"
    faces["traffic_light_face_status"] = [[1, 0, 0], [0, 0, 1]]
    for name, fields, values in (
        ("scenes", _SCENES, scenes), ("frames", _FRAMES, frames), ("agents", _AGENTS, agents),
        ("traffic_light_faces", _FACES, faces),
    ):  # fmt: skip
        write_array(folder / name, fields, values)
    (folder / ".zattrs").write_text(json.dumps({"labels": LABELS}))
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Folder with the arrays of make()."""
    return make(tmp_path / "raw").parent


def convert(raw: Path, out: Path) -> list[Log]:
    specs = list_logs(raw, Options())
    for spec in specs:
        convert_log(raw, spec, out, Options())
    return [Log.open(out / spec.name) for spec in specs]


def test_by_hand(raw: Path, tmp_path: Path) -> None:
    first, second = convert(raw, tmp_path / "out")
    assert (first.name, second.name, first.split) == ("lyft_sample_00000", "lyft_sample_00001", "sample")
    assert [first.frame(k).timestamp_ns for k in range(2)] == [10**18, 10**18 + 10**8]
    np.testing.assert_allclose(first.frame(0).global_from_ego[:3, 3], [100, 200, 30])
    boxes = first.boxes(0)
    # North is ahead, east is right: the agent looks (yaw 0 = east) and drives to the right.
    np.testing.assert_allclose(boxes.boxes, [[5, 0, 0, 4, 2, 1.5, -np.pi / 2, 0, -3]], atol=1e-9)
    assert (boxes.category, boxes.track_token, boxes.extra["label_probability"]) == (["LABEL_3"], ["7"], [0.75])
    assert boxes.source_translation.tolist() == [[100.0, 205.0, 30.0]]
    assert [len(first.boxes(1).boxes), len(second.boxes(0).boxes), len(second.boxes(1).boxes)] == [2, 1, 0]
    lights = [(r["frame"], r["feature_id"], r["state"], r["source_state"]) for r in first.table("lights").to_pylist()]
    assert lights == [(0, "f0", "unknown", "active"), (0, "f1", "unknown", "unknown")]
    assert verify_log(first.path).problems == []


@given(
    st.binary(max_size=3000), st.sampled_from([1, 3, 8, 100]), st.sampled_from([512, 1024]),
    st.sampled_from(["lz4_raw", "zlib", "zstd"]), st.booleans(),
)  # fmt: skip
def test_blosc_both_ways(data: bytes, size: int, block: int, method: str, shuffle: bool) -> None:
    data = data * 3  # something to compress
    block = block // size * size
    assert unpack_blosc(pack_blosc(data, size, block=block, method=method, shuffle=shuffle)) == data


def test_blosc_stored_and_damaged() -> None:
    stored = struct.pack("<BBBBIII", 2, 1, 0x2, 4, 8, 8, 24) + b"abcdefgh"
    assert unpack_blosc(stored) == b"abcdefgh"
    whole = pack_blosc(bytes(5000), 8)
    for data, message in (
        (b"", "truncated header"), (whole[:-1], "there are"),
        (stored[:12] + struct.pack("<I", 20) + bytes(4), "stored"),
        (whole[:2] + b"\x05" + whole[3:], "bit shuffle"), (whole[:16] + bytes(4) + whole[20:], "runs beyond"),
        (whole[:2] + bytes([whole[2] & 0x1F]) + whole[3:], "compressor 0"),
    ):  # fmt: skip
        with pytest.raises(BloscError, match=message):
            unpack_blosc(data)


def test_rows_across_chunks(raw: Path) -> None:
    array = ZarrArray(raw / "sample.zarr/agents", _AGENTS)
    assert array.rows(1, 4)["track_id"].tolist() == [7, 8, 9]
    assert len(array.rows(2, 2)) == 0
    with pytest.raises(UserError, match="rows 2 to 9 of 4"):
        array.rows(2, 9)


def break_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("agents/.zarray", {"chunks": [0]}, "a kind of array"),
        ("agents/.zarray", {"chunks": [2**40]}, "chunks of"),
        ("agents/.zarray", {"chunks": [4]}, "chunk of"),
        ("agents/.zarray", {"shape": [2]}, "rows 1 to 3 of 2"),
        ("agents/.zarray", {"dtype": [["centroid", "|O"]]}, "field centroid is"),
        ("agents/.zarray", {"compressor": {"id": "gzip"}}, "a kind of array"),
        ("frames/.zarray", {"dtype": None}, "not a zarr description"),
        (".zattrs", {"labels": ["CAR"]}, "not 17 names"),
    ],
)
def test_bad_description(raw: Path, tmp_path: Path, file: str, values: dict[str, object], message: str) -> None:
    break_json(raw / "sample.zarr" / file, **values)
    with pytest.raises(UserError) as caught:
        convert(raw, tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob(".*"))


def test_bad_numbers(tmp_path: Path) -> None:
    for name, field, value, message in (
        ("agents", "extent", 0, "a size that is not positive"), ("agents", "yaw", np.nan, "not finite"),
        ("frames", "ego_rotation", 2, "not a rigid motion"), ("frames", "timestamp", 5, "time does not increase"),
        ("scenes", "frame_index_interval", 0, "has no frames"),
    ):  # fmt: skip
        folder = make(tmp_path / f"{name}_{field}")
        fields = {"agents": _AGENTS, "frames": _FRAMES, "scenes": _SCENES}[name]
        values = ZarrArray(folder / name, fields).rows(0, 2).copy()
        values[field] = value
        part = np.zeros(3, values.dtype)
        part[:2] = values
        (folder / name / "0").write_bytes(pack_blosc(part.tobytes(), values.dtype.itemsize % 256))
        with pytest.raises(UserError, match=message):
            convert(folder.parent, tmp_path / "out")


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \*\.zarr"):
        list_logs(tmp_path, Options())


def test_damaged_files(raw: Path) -> None:
    folder = raw / "sample.zarr"

    def read(root: Path) -> None:
        for name, fields in (("agents", _AGENTS), ("frames", _FRAMES), ("traffic_light_faces", _FACES)):
            array = ZarrArray(root / name, fields)
            array.rows(0, array.length)

    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent != folder]
    assert check_reader(read, [f for f in files if f.parent.name != "scenes"], root=folder) > 50


def test_damaged_folder(raw: Path, tmp_path: Path) -> None:
    outs = (tmp_path / f"out{i}" for i in count())
    files = [path for path in sorted((raw / "sample.zarr").rglob("*")) if path.is_file()]
    convert(raw, next(outs))  # the first conversion loads and compiles what the cases shall not wait for
    assert check_reader(lambda root: convert(root, next(outs)), files, root=raw, cases=40) > 4


def test_real_scene(real_data: Path, tmp_path: Path) -> None:
    (log,) = convert(real_data / "lyft_l5_prediction", tmp_path)
    assert (log.num_frames, log.tracks.num_rows, log.table("lights").num_rows) == (248, 1_653, 3_216)
    assert sum(log.tracks["num_boxes"].to_pylist()) == 20_802
    places = np.array([log.frame(k).global_from_ego[:2, 3] for k in range(248)])
    assert round(float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())) == 268
    # 10 Hz, and agents move as their velocities say: the median of the differences over all tracks is small.
    first, second = log.boxes(100), log.boxes(101)
    moved = []
    for token, box in zip(first.track_token, first.boxes, strict=True):
        if token in second.track_token and np.hypot(box[7], box[8]) > 3:
            later = second.boxes[second.track_token.index(token)]
            a = log.frame(100).global_from_ego[:3, :3] @ np.append(box[7:9], 0)
            b = (log.frame(101).global_from_ego @ np.append(later[:3], 1))[:2]
            b = b - (log.frame(100).global_from_ego @ np.append(box[:3], 1))[:2]
            moved.append(np.linalg.norm(b - a[:2] * 0.1))
    assert len(moved) > 5
    assert np.median(moved) < 0.2
    assert verify_log(log.path).problems == []
