"""Logs of an older version become those of the present one; killed at any moment, nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import toy_recording

from data_tools import convert as module
from data_tools import migrate as migration
from data_tools.convert import convert, main
from data_tools.migrate import Tables, migrate
from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.store import Log


def step(manifest: dict[str, Any], table: Tables) -> tuple[dict[str, Any], dict[str, pa.Table | None]]:
    """A made-up version 0: tracks.arrow was named objects.arrow, with no column category; no location was kept."""
    tracks = table("objects.arrow")
    tracks = tracks.add_column(1, "category", pa.array(["car"] * tracks.num_rows))
    return {**manifest, "location": ""}, {"objects.arrow": None, "tracks.arrow": tracks}


STEPS = {0: step}


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of version 0 beside the same of today (``new``)."""
    monkeypatch.setitem(module.DATASETS, "toy", "toy_recording")
    raw = toy_recording.make_raw(tmp_path / "raw", "ab")
    convert("toy", raw, tmp_path / "new")
    root = Path(shutil.copytree(tmp_path / "new", tmp_path / "old"))
    for path in (root / "log-a", root / "log-b"):
        manifest = json.loads((path / "log.json").read_text())
        tracks = pa.ipc.open_file(str(path / "tracks.arrow")).read_all().drop_columns("category")
        with pa.ipc.new_file(str(path / "objects.arrow"), tracks.schema) as file:
            file.write_table(tracks)
        (path / "tracks.arrow").unlink()
        entry = manifest["files"].pop("tracks.arrow")
        manifest["files"]["objects.arrow"] = {**entry, "bytes": (path / "objects.arrow").stat().st_size}
        manifest["schema_version"] = 0
        del manifest["location"]
        (path / "log.json").write_text(json.dumps(manifest))
    marker = json.loads((root / "logs.json").read_text())
    (root / "logs.json").write_text(json.dumps({**marker, "schema_version": 0}))
    return root


def same(old: Path) -> None:
    new = old.parent / "new"
    for name in ("log-a", "log-b"):
        assert verify_log(old / name).problems == []
        assert Log.open(old / name).manifest == Log.open(new / name).manifest  # checksums of all files
    assert json.loads((old / "logs.json").read_text()) == json.loads((new / "logs.json").read_text())
    assert sorted(p.name for p in old.iterdir()) == ["log-a", "log-b", "logs.json"]


def test_a_step(old: Path) -> None:
    with pytest.raises(UserError, match="log format version 0, this program reads 1"):
        Log.open(old / "log-a")
    with pytest.raises(UserError, match="bring its logs up to date first: drive convert --migrate"):
        convert("toy", old.parent / "raw", old)
    assert migrate(old, STEPS) == ["log-a", "log-b"]
    same(old)
    assert migrate(old, STEPS) == []
    assert convert("toy", old.parent / "raw", old).skipped == ("log-a", "log-b")


def test_versions_without_a_step(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    assert main(["--migrate", str(old)]) == 2
    assert "log format version 0, no step leads from it to 1" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == before
    assert main(["--migrate", str(old.parent / "new")]) == 0
    assert "0 logs brought up to date" in capsys.readouterr().out
    assert main(["--migrate"]) == 2
    assert main(["--migrate", str(old / "nowhere")]) == 2


def test_ended_at_every_step(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends (as by a kill, nothing is tidied) at each call that changes the disk, again and again."""
    calls = {"left": 0}

    class Killed(BaseException):
        pass

    def dying(function: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if calls["left"] == 0:
                raise Killed
            calls["left"] -= 1
            return function(*arguments, **keywords)

        return call

    deaths = 0
    for after in range(40):
        calls["left"] = after
        with monkeypatch.context() as patch:
            patch.setattr(migration.os, "rename", dying(os.rename))
            patch.setattr(migration.os, "link", dying(os.link))
            patch.setattr(migration.shutil, "rmtree", dying(shutil.rmtree))
            try:
                migrate(old, STEPS)
            except Killed:
                deaths += 1
                continue
        break
    assert deaths > 3
    migrate(old, STEPS)
    same(old)
