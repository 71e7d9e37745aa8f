"""Logs at an address: the same numbers as from the folder, nothing more fetched than needed, a bounded cache."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs import remote
from drive.logs.remote import Cache, RemoteLog, is_url, list_remote_logs
from drive.logs.store import Log
from drive.samples.frame_dataset import find_logs

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")


@pytest.fixture
def bucket(small_log: Log) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    files.put(str(small_log.path), "/bucket/logs/small", recursive=True)
    files.pipe("/bucket/logs/logs.json", b"{}")
    files.pipe("/bucket/logs/.b.partial-h-1/log.json", b"{}")
    yield "memory://bucket/logs"
    files.rm("/bucket", recursive=True)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def names(cache: Cache) -> list[str]:
    return sorted(path.name for path in payload(cache))


def payload(cache: Cache) -> list[Path]:
    return [p for p in cache.root().rglob("*") if p.is_file() and p.name not in ("log.json", "address.json")]


def test_the_same_as_the_folder(small_log: Log, bucket: str, cache: Cache) -> None:
    (url,) = list_remote_logs(bucket)
    assert url == "memory://bucket/logs/small"
    assert is_url(url)
    assert not is_url(small_log.path)
    log = RemoteLog.open_url(url, cache)
    assert names(cache) == []
    assert log.num_frames == 4
    assert log.boxes(2).track_token == small_log.boxes(2).track_token
    assert "lidar_LIDAR.arrow" not in names(cache)  # labels alone need no payload
    for row in range(4):
        np.testing.assert_array_equal(log.sweep("LIDAR", row).points, small_log.sweep("LIDAR", row).points)
        np.testing.assert_array_equal(log.points("LIDAR", row), small_log.points("LIDAR", row))
    assert log.image("CAM", 0).data == small_log.image("CAM", 0).data
    assert log.file_path("scene.bin").read_bytes() == bytes(range(256))
    assert "radar_RADAR.arrow" not in names(cache)
    log.verify_checksums()
    again = pickle.loads(pickle.dumps(log))
    np.testing.assert_array_equal(again.points("LIDAR", 3), small_log.points("LIDAR", 3))
    assert (again.cache, again.path) == (cache, log.path)
    assert isinstance(Log.open(log.path), RemoteLog)
    assert log.path.name == "small"


def test_file_urls(small_log: Log, cache: Cache) -> None:
    log = RemoteLog.open_url(f"file://{small_log.path}", cache)
    np.testing.assert_array_equal(log.points("LIDAR", 2), small_log.points("LIDAR", 2))


def test_the_cache_is_bounded(bucket: str, tmp_path: Path, small_log: Log) -> None:
    sizes = [entry["bytes"] for entry in small_log.manifest["files"].values()]
    cache = Cache(tmp_path / "cache", max_bytes=max(sizes) + min(sizes))
    log = RemoteLog.open_url(f"{bucket}/small", cache)
    points = log.points("LIDAR", 3)
    copy = points.copy()
    for _ in range(2):
        log.verify_checksums()
        assert sum(p.stat().st_size for p in payload(cache)) <= cache.max_bytes
    np.testing.assert_array_equal(points, copy)  # what was removed stays mapped
    small = RemoteLog.open_url(f"{bucket}/small", Cache(tmp_path / "tiny", max_bytes=10))
    with pytest.raises(UserError, match=r"bytes, the cache holds 10; give a larger cache"):
        _ = small.sensors


def test_what_is_wrong_is_said(bucket: str, cache: Cache, small_log: Log) -> None:
    with pytest.raises(UserError, match=r"memory://bucket/logs/none/log\.json: is not there; check the address"):
        RemoteLog.open_url(f"{bucket}/none", cache)
    with pytest.raises(UserError, match=r"moon://a: cannot be opened"):
        list_remote_logs("moon://a")
    files = fsspec.filesystem("memory")
    data = bytearray((small_log.path / "boxes.arrow").read_bytes())
    data[len(data) // 2] ^= 1
    log = RemoteLog.open_url(f"{bucket}/small", cache)
    for damaged in (bytes(data), bytes(data[:-5]), bytes(data) * 3):
        files.pipe("/bucket/logs/small/boxes.arrow", damaged)
        with pytest.raises(UserError, match=r"small/boxes\.arrow: is not what the manifest says"):
            log.boxes(1)
        assert "boxes.arrow" not in names(cache)
    files.pipe("/bucket/logs/small/log.json", b"{")
    with pytest.raises(UserError, match=r"log\.json: not readable"):
        RemoteLog.open_url(f"{bucket}/small", cache)
    assert not [p for p in cache.root().rglob(".*") if p.is_file()]


def test_training_finds_them(bucket: str, cache: Cache, monkeypatch: pytest.MonkeyPatch, small_log: Log) -> None:
    monkeypatch.setattr(remote, "DEFAULT_CACHE", cache)
    paths = find_logs([bucket])
    assert [path.name for path in paths] == ["small"]
    assert find_logs([f"{bucket}/small"], "val") == paths
    result = verify_log(paths[0])
    # The made-up image is none; nothing else is wrong.
    assert ["is not a JPEG or PNG image" in line for line in result.problems] == [True]
    assert result.counts["boxes"] == 4
    with pytest.raises(UserError, match="no log of split 'test'"):
        find_logs([bucket], "test")
