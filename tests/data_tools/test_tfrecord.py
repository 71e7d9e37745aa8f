from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from fuzzing import check_reader
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.tfrecord import (
    FOOTER,
    HEADER,
    TFRecordFile,
    crc32c,
    crc32c_software,
    frame_record,
    masked_crc32c,
)
from drive.errors import UserError


def write(path: Path, records: list[bytes]) -> Path:
    path.write_bytes(b"".join(frame_record(record) for record in records))
    return path


def test_published_vectors() -> None:
    """RFC 3720 appendix B.4 and the check value of CRC-32C; masks as TensorFlow writes them."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0
    assert masked_crc32c(b"123456789") == 0xC78AB0E5
    assert masked_crc32c((9).to_bytes(8, "little")) == 0x3971F937
    assert frame_record(b"123456789").hex() == "0900000000000000" + "37f97139" + b"123456789".hex() + "e5b08ac7"


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 20_000), st.integers(0, 2**32))
def test_instruction_and_tables_agree(size: int, seed: int) -> None:
    data = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    assert crc32c(data) == crc32c_software(data)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    with TFRecordFile(write(tmp_path_factory.mktemp("records") / "a.tfrecord", records)) as file:
        assert list(file) == records
        assert file.lengths.tolist() == [len(record) for record in records]
        assert file.offsets.dtype == np.int64


def test_small_records_beside_large_ones(tmp_path: Path) -> None:
    """Headers inside the window that was read, beyond it, and across its border."""
    records = [bytes([i % 256]) * size for i, size in enumerate([0, 70_000, 300_000, 1, 2**18 - 40, 7] + [1000] * 700)]
    with TFRecordFile(write(tmp_path / "a.tfrecord", records)) as file:
        assert len(file) == len(records)
        assert [file.read(i) for i in (705, 2, 0, 5)] == [records[i] for i in (705, 2, 0, 5)]
        assert list(file) == records
        again = pickle.loads(pickle.dumps(file))
        assert again.read(3) == records[3]
        again.close()
        with pytest.raises(IndexError, match="records 0 to 705"):
            file.read(706)


def test_damage_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tfrecord", [b"abc", b"defg"])
    good = path.read_bytes()
    second = HEADER + 3 + FOOTER
    for at, what in ((second + 1, "checksum of its header"), (second + 9, "checksum of its header")):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(UserError, match=what) as caught:
            TFRecordFile(path)
        assert caught.value.place == f"{path}: record 1 at byte {second}"
    path.write_bytes(good[: second + HEADER] + b"x" + good[second + HEADER + 1 :])
    with TFRecordFile(path) as file:
        assert file.read(0) == b"abc"
        assert file.read(1, verify=False) == b"xefg"
        with pytest.raises(UserError, match="record 1 at byte 19.*checksum of its data"):
            file.read(1)
        records = iter(file)
        assert next(records) == b"abc"
        with pytest.raises(UserError, match="record 1 at byte 19.*checksum of its data"):
            next(records)
    path.write_bytes(good[:-1])
    with pytest.raises(UserError, match="beyond the end"):
        TFRecordFile(path)
    path.write_bytes(good[: second + 5])
    with pytest.raises(UserError, match="5 bytes are left"):
        TFRecordFile(path)
    path.write_bytes(b"\x1f\x8b\x08 this is gzip")
    with pytest.raises(UserError, match="not compressed"):
        TFRecordFile(path)
    with pytest.raises(UserError, match="cannot be opened"):
        TFRecordFile(tmp_path / "nothing")
    path.write_bytes(b"")
    with TFRecordFile(path) as file:
        assert len(file) == 0


def test_file_that_shrinks_while_open(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tfrecord", [b"abc", b"defg"])
    with TFRecordFile(path) as file:
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(UserError, match="shorter"):
            file.read(1)


def test_fuzz(tmp_path: Path) -> None:
    records = [bytes(range(i)) for i in (0, 5, 200, 40)]
    path = write(tmp_path / "a.tfrecord", records)

    def read(damaged: Path) -> None:
        with TFRecordFile(damaged) as file:
            found = list(file)
        # What is accepted was written: every mutation that gets through kept whole records.
        assert all(record in records for record in found)

    assert check_reader(read, path) > 100


def test_real_files(real_data: Path) -> None:
    for name, size in (
        ("perception_v1/pvps_data_one_frame.tfrecord", 2_168_758),
        ("motion/scenario/motion_data_one_scenario.tfrecord", None),
        ("motion/tf_example/motion_data_one_example.tfrecord", None),
    ):
        path = real_data / "waymo" / name
        with TFRecordFile(path) as file:
            assert len(file) == 1
            assert len(file.read(0)) == path.stat().st_size - HEADER - FOOTER == (size or file.lengths[0])
