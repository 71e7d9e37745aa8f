"""The doctor finds what is wrong and says how to mend it."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from drive import doctor


def test_this_checkout_is_described() -> None:
    rows = doctor.doctor()
    topics = {row.topic for row in rows}
    assert {"python", "base", "disk", "memory", "write access", "import names", "numba threads", "torch"} <= topics
    assert any(row.topic.startswith("kernel ") and "cpu" in row.finding for row in rows)
    for row in rows:
        assert row.ok or row.mend, row


def test_intruder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "configs", raising=False)
    wrong = [row for row in doctor.shadow_rows() if not row.ok]
    assert [row.topic for row in wrong] == ["import configs"]
    assert str(tmp_path / "configs") in wrong[0].finding
    assert "rename that folder" in wrong[0].mend


def test_intruder_from_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    saved = {name: module for name, module in sys.modules.items() if name == "ops" or name.startswith("ops.")}
    for name in saved:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"ops": ["ops", "drivewright"]})
    wrong = [row for row in doctor.shadow_rows() if not row.ok]
    assert [(row.topic, row.mend) for row in wrong] == [("import ops", "pip uninstall ops")]


def test_lost_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "configs", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert any(row.finding == "not found" and not row.ok for row in doctor.shadow_rows())


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = doctor.package_rows(("numpy", "no-such-package-of-ours"))
    wrong = [row for row in rows if not row.ok]
    assert [row.finding for row in wrong] == ["no-such-package-of-ours is missing"]
    monkeypatch.setattr(doctor, "installed_version", lambda name: None)
    assert doctor.torch_rows()[0].finding == "not installed"
    assert doctor.kernel_rows() == []
    assert all("without" in row.finding for row in doctor.package_rows(()) if row.topic.startswith("extra"))


def test_broken_import_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> ModuleType:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", broken)
    rows = [row for row in doctor.doctor() if row.topic == "torch"]
    assert not rows[0].ok
    assert "libcudart" in rows[0].finding


@pytest.mark.parametrize(("have", "ok"), [("2.9.0+cpu", True), ("2.9.1", False)])
def test_torchvision_pair(monkeypatch: pytest.MonkeyPatch, have: str, ok: bool) -> None:
    versions = {"torchvision": "0.24.0", "torch": have}
    monkeypatch.setattr(doctor, "installed_version", versions.get)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy", "torch==2.9.0", "pillow>=5.3"])
    (row,) = doctor.torchvision_rows()
    assert row.ok == ok
    assert ok or "built for torch 2.9.0" in row.finding


def test_driver_without_cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = SimpleNamespace(
        __version__="2.9.0+cpu",
        version=SimpleNamespace(cuda=None),
        get_num_threads=lambda: 2,
        cuda=SimpleNamespace(device_count=lambda: 0),
    )
    monkeypatch.setattr(importlib, "import_module", lambda name: torch)
    monkeypatch.setattr(doctor, "installed_version", lambda name: "2.9.0" if name == "torch" else None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    device = [row for row in doctor.torch_rows() if row.topic == "device"]
    assert not device[0].ok
    assert "CUDA build" in device[0].mend


def test_disk_and_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1e9))
    monkeypatch.setattr(doctor, "MIN_MEMORY_GB", 1e6)
    for row in (doctor.disk_row(tmp_path), doctor.memory_row()):
        assert not row.ok
        assert row.mend


@pytest.mark.skipif(os.name != "posix", reason="folder rights are POSIX")
def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    row = doctor.write_row(tmp_path / "absent")
    assert not row.ok
    assert row.mend


def test_exit_status_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    doctor.print_rows(
        [doctor.Row("a", "fine"), doctor.Row("b", "bad", False, "do this")], Console(file=stream, width=80)
    )
    text = stream.getvalue()
    assert "WRONG" in text
    assert "mend: b: do this" in text
    assert "wrong: 1" in text
    monkeypatch.setattr(doctor, "doctor", lambda: [doctor.Row("a", "fine")])
    assert doctor.main([]) == 0
    monkeypatch.setattr(doctor, "doctor", lambda: [doctor.Row("a", "bad", False, "x")])
    assert doctor.main([]) == 1
