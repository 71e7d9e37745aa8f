"""The converter's promises: parallel, resumable, no half log, one line a failure, nobody else's folder."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from data_tools import convert as module
from data_tools.convert import convert, main
from drive.errors import UserError
from drive.logs.store import Log, list_logs

# A data set of five logs; what happens in one of them is written in RAW/<name>.
TOY = '''
import os, time
from dataclasses import dataclass
from typing import ClassVar
from drive.errors import UserError
from drive.logs.writer import LogWriter

@dataclass(frozen=True)
class Options:
    """Toys."""
    content: ClassVar[tuple[str, ...]] = ("shape",)
    shape: str = "round"
    only: tuple[str, ...] = ()

@dataclass(frozen=True)
class Spec:
    name: str

def list_logs(raw, options):
    return [Spec(p.name) for p in sorted(raw.iterdir()) if not options.only or p.name in options.only]

def convert_log(raw, spec, out_root, options):
    with LogWriter(out_root, spec.name, dataset="toy", source_version="", licence="") as log:
        log.add_file("a", b"1" * 1000)
        deed = (raw / spec.name).read_text()
        if deed == "user error": raise UserError("file.bin", "is bad", "mend it")
        if deed == "bug": raise KeyError("oops")
        if deed == "full": raise OSError(28, "No space left on device", "x")
        if deed == "die": os._exit(9)
        if deed == "slow": time.sleep(0.15)
        log.add_file("b", b"2")
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The raw folder of the toy data set."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "toy_set.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setitem(module.DATASETS, "toy", "toy_set")
    sys.modules.pop("toy_set", None)
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in "abcde":
        (raw / name).write_text("fine")
    return raw


def names(out: Path) -> list[str]:
    for path in list_logs(out):
        Log.open(path).verify_checksums()
    return [path.name for path in list_logs(out)]


def test_again_does_only_what_is_left(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (toy / "c").write_text("bug")
    first = convert("toy", toy, out)
    assert (first.converted, first.skipped) == (("a", "b", "d", "e"), ())
    ((name, line),) = first.failed
    assert name == "c"
    assert line.startswith("c: KeyError: 'oops' (toy_set.py:")
    stamp = (out / "a" / "log.json").stat().st_mtime_ns
    (toy / "c").write_text("fine")
    second = convert("toy", toy, out)
    assert (second.converted, second.skipped, second.failed) == (("c",), ("a", "b", "d", "e"), ())
    assert (out / "a" / "log.json").stat().st_mtime_ns == stamp
    assert names(out) == list("abcde")
    assert sorted(p.name for p in out.iterdir()) == [*"abcde", "logs.json"]


def test_a_process_that_dies_takes_only_its_log(toy: Path, tmp_path: Path) -> None:
    (toy / "b").write_text("die")
    (toy / "d").write_text("user error")
    report = convert("toy", toy, tmp_path / "out", workers=2)
    assert report.converted == ("a", "c", "e")
    assert report.failed == (
        ("b", "b: the converting process was killed (out of memory?)"),
        ("d", "file.bin: is bad; mend it"),
    )
    assert names(tmp_path / "out") == ["a", "c", "e"]
    assert not list((tmp_path / "out").glob(".*"))


def test_full_disk_is_one_line(toy: Path, tmp_path: Path) -> None:
    (toy / "a").write_text("full")
    ((_, line),) = convert("toy", toy, tmp_path / "out").failed
    assert "no space left to write this file; free some space and start again, finished logs are kept" in line
    assert errno.ENOSPC == 28


def test_folders_that_are_not_ours(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty and not a folder that drive convert wrote; give an empty"):
        convert("toy", toy, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="is a file"):
        convert("toy", toy, tmp_path / "mine" / "thesis.txt")
    with pytest.raises(UserError, match="no such folder"):
        convert("toy", tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UserError, match="no data set is called 'nuscene'"):
        convert("nuscene", toy, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no log"):
        convert("toy", tmp_path / "empty", tmp_path / "out")


def test_other_options_are_not_mixed_in(toy: Path, tmp_path: Path) -> None:
    import toy_set  # type: ignore[import-not-found]

    convert("toy", toy, tmp_path / "out", toy_set.Options(only=("a",)))
    convert("toy", toy, tmp_path / "out", toy_set.Options(only=("b",)))
    with pytest.raises(UserError, match=r"begun with .*round.*, now asked: .*square.*; give another folder"):
        convert("toy", toy, tmp_path / "out", toy_set.Options(shape="square"))
    assert names(tmp_path / "out") == ["a", "b"]


def test_a_damaged_finished_log_is_not_touched(toy: Path, tmp_path: Path) -> None:
    convert("toy", toy, tmp_path / "out")
    (tmp_path / "out" / "b" / "files" / "a").write_bytes(b"short")
    with pytest.raises(UserError, match=r"a: has 5 bytes, the manifest says 1000; remove .*b and start again"):
        convert("toy", toy, tmp_path / "out")


def test_exit_codes(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    (toy / "b").write_text("user error")
    assert main(["toy", str(toy), out, "--workers", "1"]) == 1
    text = capsys.readouterr()
    assert text.out == f"{out}: 4 logs converted, 0 were there already\n"
    assert "failed: file.bin: is bad; mend it\n" in text.err
    (toy / "b").write_text("fine")
    assert main(["toy", str(toy), out, "--only", "b", "--workers", "1"]) == 0
    assert main(["toy", str(toy), out, "--shape", "square"]) == 2
    assert "error: " in capsys.readouterr().err
    assert main(["moon", str(toy), out]) == 2
    assert main([]) == 2
    assert main(["--help"]) == 0
