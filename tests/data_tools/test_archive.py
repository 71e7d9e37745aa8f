"""Raw data in archives: the same logs as from the folder, bounded, and nothing is written outside."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
import toy_recording
from fuzzing import check_reader

from data_tools import convert as module
from data_tools.archive import list_members, unpacked
from data_tools.convert import Choice, convert, plan
from drive.errors import UserError


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(module.DATASETS, "toy", "toy_recording")
    return toy_recording.make_raw(tmp_path / "raw")


def pack(folder: Path, file: Path) -> Path:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                archive.write(path, path.relative_to(folder).as_posix())
    else:
        with tarfile.open(file, "w:gz" if file.name.endswith(("gz", "tgz")) else "w") as tape:
            for path in paths:
                tape.add(path, path.relative_to(folder).as_posix())
    return file


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", ["raw.tar", "raw.tar.gz", "raw.tgz", "raw.zip"])
def test_the_same_logs_as_from_the_folder(toy: Path, tmp_path: Path, name: str) -> None:
    convert("toy", toy, tmp_path / "plain")
    archive = pack(toy, tmp_path / name)
    assert convert("toy", archive, tmp_path / "packed").failed == ()
    assert files(tmp_path / "packed") == files(tmp_path / "plain")
    some = convert("toy", archive, tmp_path / "some", members=("log-a/*",))
    assert some.converted == ("log-a",)


def test_an_interrupted_run_goes_on_with_what_is_unpacked(toy: Path, tmp_path: Path) -> None:
    archive = pack(toy, tmp_path / "raw.tgz")
    stamps = []

    def interrupted() -> None:
        with unpacked(archive, tmp_path / "out") as folder:
            stamps.append((folder / "log-a" / "deed").stat().st_ino)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with unpacked(archive, tmp_path / "out") as again:
        assert [(again / "log-a" / "deed").stat().st_ino] == stamps
    assert not again.exists()


def test_bounds(toy: Path, tmp_path: Path) -> None:
    archive = pack(toy, tmp_path / "raw.zip")
    with pytest.raises(UserError, match=r"raw\.zip: the chosen members are 0\.0 GB, --scratch-gb allows 0\.0; choose"):
        convert("toy", archive, tmp_path / "out", scratch_bytes=100)
    with pytest.raises(UserError, match="has no member video"):
        convert("toy", archive, tmp_path / "out", members=("video*",))
    assert not any((tmp_path / "out").glob(".raw*"))


def test_names_that_begin_with_a_dot(toy: Path, tmp_path: Path) -> None:
    """As ``tar cf raw.tar -C raw .`` writes them."""
    with tarfile.open(tmp_path / "raw.tar", "w") as tape:
        tape.add(toy, ".")
    assert {member.name for member in list_members(tmp_path / "raw.tar")} == set(files(toy))
    assert convert("toy", tmp_path / "raw.tar", tmp_path / "out", members=("log-b/*",)).converted == ("log-b",)
    planned = plan("toy", tmp_path / "raw.tar", tmp_path / "out")
    assert (planned.there, planned.log_count) == (1, 2.0)


def test_images_in_archives_cannot_be_referred_to(toy: Path, tmp_path: Path) -> None:
    archive = pack(toy, tmp_path / "raw.zip")
    with pytest.raises(UserError, match=r"raw\.zip are unpacked for as long as the conversion takes; copy them"):
        convert("toy", archive, tmp_path / "out", choice=Choice(reference_images=True))


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    for name in ("../evil", "/tmp/evil", "a/../../evil"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(name, "x")
        with pytest.raises(UserError, match="would be written outside the folder"):
            list_members(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("n", "x")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.find(b"PK\x01\x02") + 28] = 0  # length of the name; its byte belongs to the extra field then
    data[data.find(b"PK\x01\x02") + 30] = 1
    (tmp_path / "nameless.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"nameless\.zip: member '\.' would be written outside the folder"):
        list_members(tmp_path / "nameless.zip")
    with tarfile.open(tmp_path / "a.tar", "w") as tape:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tape.addfile(link)
    with pytest.raises(UserError, match="'link' is a link or device"):
        list_members(tmp_path / "a.tar")


@pytest.mark.parametrize("name", ["raw.tar", "raw.tgz", "raw.zip"])
def test_damaged_archives(toy: Path, tmp_path: Path, name: str) -> None:
    archive = pack(toy, tmp_path / name)

    def read(path: Path) -> None:
        with unpacked(path, path.parent / "out") as folder:
            assert all(p.is_relative_to(folder) for p in folder.rglob("*"))

    assert check_reader(read, archive, cases=100) > 10


def test_a_bomb(tmp_path: Path) -> None:
    """A member that says 10 bytes and holds a million."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1_000_000))
    data = bytearray(buffer.getvalue())
    for at in (data.find(b"PK\x03\x04") + 22, data.find(b"PK\x01\x02") + 24):  # both records of its size
        data[at : at + 4] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.zip"), unpacked(tmp_path / "a.zip", tmp_path / "out"):
        pass
    left = sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert left == 0
    assert os.path.getsize(tmp_path / "a.zip") < 10_000
