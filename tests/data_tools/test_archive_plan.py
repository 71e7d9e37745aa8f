"""A dry run of an archive: what it will be, without unpacking all of it, and nothing is left behind."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import toy_recording
from fuzzing import check_reader
from test_archive import files, pack

from data_tools import archive
from data_tools import convert as module
from data_tools.archive import Member
from data_tools.convert import convert, main, plan
from drive.errors import UserError


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three logs, 5 kB of raw data in log-a and log-b, 20 kB in log-c, and a file that belongs to none."""
    monkeypatch.setitem(module.DATASETS, "toy", "toy_recording")
    raw = toy_recording.make_raw(tmp_path / "raw", images=0)
    for name, size in (("a", 5_000), ("b", 5_000), ("c", 20_000)):
        (raw / f"log-{name}" / "0.jpg").write_bytes(bytes(size))
    (raw / "map.json").write_bytes(b"0123456789")
    return raw


@pytest.mark.parametrize("name", ["raw.tar", "raw.tgz", "raw.zip"])
def test_one_log_is_unpacked_and_weighed(toy: Path, tmp_path: Path, name: str) -> None:
    raw, out = pack(toy, tmp_path / name), tmp_path / "out"
    before = files(tmp_path)
    planned = plan("toy", raw, out)
    assert files(tmp_path) == before
    assert not out.exists()
    assert (planned.names, planned.there, planned.measured) == (("log-a", "log-b", "log-c"), 0, "log-b")
    assert planned.unpacked_bytes == 30_010
    # log-b and the file of none are unpacked; log-c has four times its files.
    assert planned.notes[0] == "0.0 MB of 0.0 MB were unpacked to weigh one log"
    assert planned.log_count == 6.0
    assert planned.log_bytes == plan("toy", toy, out).log_bytes
    assert planned.fits
    convert("toy", raw, out, logs=("log-b",))
    assert planned.log_bytes == sum(p.stat().st_size for p in (out / "log-b").iterdir())
    again = plan("toy", raw, out, logs=("log-b", "log-c"))
    assert (again.names, again.there, again.measured, again.log_count) == (("log-c",), 1, "log-c", 1.0)
    nothing = plan("toy", raw, out, logs=("log-b",))
    assert (nothing.names, nothing.expected_bytes, nothing.unpacked_bytes) == ((), 0, 0)


def test_what_is_unpacked(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    extract = archive.extract
    monkeypatch.setattr(archive, "extract", lambda raw, names, to: (seen.append(set(names)), extract(raw, names, to)))
    monkeypatch.setattr(toy_recording.Options, "listing", ("*/deed",), raising=False)
    plan("toy", pack(toy, tmp_path / "raw.zip"), tmp_path / "out")
    assert seen == [{f"log-{name}/deed" for name in "abc"}, {"log-b/0.jpg", "map.json"}]


def test_more_than_may_be_unpacked(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = pack(toy, tmp_path / "raw.zip")
    planned = plan("toy", raw, tmp_path / "out", scratch_bytes=5_000)
    assert (planned.measured, planned.expected_bytes, planned.fits) == ("", 30_010, False)
    assert planned.notes == ("log-b needs more than may be unpacked: estimated as large as the files in the archive",)
    assert main(["toy", str(raw), str(tmp_path / "out"), "--dry-run", "--scratch-gb", "0.000005"]) == 1
    text = capsys.readouterr().out
    assert "unpacked beside the logs until they are done: 0.0 MB: MORE THAN --scratch-gb ALLOWS" in text
    monkeypatch.setattr(toy_recording.Options, "listing", ("*/deed", "*/0.jpg"), raising=False)
    with pytest.raises(UserError, match=r"raw\.zip: what must be read to list its logs is more than --scratch-gb"):
        plan("toy", raw, tmp_path / "out", scratch_bytes=5_000)


def test_the_command_line(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = pack(toy, tmp_path / "raw.tar")
    assert main(["toy", str(raw), str(tmp_path / "out"), "--dry-run", "--members", "log-a/*", "log-b/*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 logs to convert (log-a, log-b), 0 are there already"
    assert lines[1:3] == [
        "0.0 MB of 0.0 MB were unpacked to weigh one log",
        "the others are estimated by the sizes of their files in the archive",
    ]
    assert lines[4].startswith("expected: ")
    assert "free on this disk" in lines[-1]


def test_bad_archives_and_logs(toy: Path, tmp_path: Path) -> None:
    (toy / "log-b" / "deed").write_text("user error")
    raw = pack(toy, tmp_path / "raw.tgz")
    with pytest.raises(UserError, match=r"raw\.tgz, dry run: file\.bin: is bad"):
        plan("toy", raw, tmp_path / "out")
    raw.write_bytes(raw.read_bytes()[:300])
    with pytest.raises(UserError, match=r"raw\.tgz: not a readable archive"):
        plan("toy", raw, tmp_path / "out")
    assert not list(tmp_path.glob(".dry-run*"))


@pytest.mark.parametrize("name", ["raw.tar", "raw.zip"])
def test_damaged_archives(toy: Path, tmp_path: Path, name: str) -> None:
    raw = pack(toy, tmp_path / name)
    assert check_reader(lambda path: plan("toy", path, path.parent / "out"), raw, cases=60) > 5
    assert not list(tmp_path.rglob(".dry-run*"))


def test_names_and_sizes_that_no_folder_can_hold(toy: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("log-a", "a file")
        file.writestr("log-a/deed", "in a folder of the same name")
    with pytest.raises(UserError, match=r"a\.zip: cannot be unpacked"):
        plan("toy", tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(UserError, match=r"a\.zip: cannot be unpacked"):
        archive.outline(tmp_path / "a.zip", [Member("huge", 1 << 63)], tmp_path / "outline")


def test_tiny_town(tiny_town: Path, tmp_path: Path) -> None:
    """nuScenes' shape: the tables say which files are whose, and the estimate is that of the folder within a tenth."""
    raw, out = pack(tiny_town, tmp_path / "town.tar"), tmp_path / "out"
    planned = plan("nuscenes", raw, out)
    assert planned.names == plan("nuscenes", tiny_town, out).names
    assert planned.unpacked_bytes == sum(p.stat().st_size for p in tiny_town.rglob("*") if p.is_file())
    unpacked = float(planned.notes[0].split()[0]) * 1e6
    assert unpacked < 0.6 * planned.unpacked_bytes
    convert("nuscenes", tiny_town, out)
    size = sum(p.stat().st_size for name in planned.names for p in (out / name).rglob("*") if p.is_file())
    assert planned.expected_bytes == pytest.approx(size, rel=0.1)


# What holds no logs of its own, or other data than the name says, is left out.
REAL = {
    "kitti": "kitti/object", "kitti_tracking": "kitti/tracking", "view_of_delft": "view_of_delft/example_set",
    "dgp": "tri_dgp", "lyft": "lyft_l5_prediction", "av2_motion": "av2/motion-forecasting", "av2": "av2/sensor",
    "waymo": "waymo/perception_v2", "waymo_motion": "waymo/motion/scenario", "scenarionet": "waymo/motion/scenarionet",
}  # fmt: skip


@pytest.mark.parametrize("dataset", REAL)
def test_real_recordings(real_data: Path, tmp_path: Path, dataset: str) -> None:
    """The same logs as from the folder, the same one weighed, to the byte."""
    folder, out = real_data / REAL[dataset], tmp_path / "out"
    packed, plain = plan(dataset, pack(folder, tmp_path / "raw.tar"), out), plan(dataset, folder, out)
    assert (packed.names, packed.measured, packed.log_bytes) == (plain.names, plain.measured, plain.log_bytes)
    assert packed.log_count > 0
    if len(packed.names) == 1:
        assert packed.expected_bytes == plain.expected_bytes
