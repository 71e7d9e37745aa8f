"""The wheel holds our four packages with their kernels, is pure Python, and a checkout imports ours."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import configs
import data_tools
import drive
import ops

REPO = Path(__file__).resolve().parent.parent


def test_wheel_contents(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(REPO)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-1500:] + result.stderr[-1500:]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"drive", "ops", "configs", "data_tools"}
    in_tree = {
        str(path.relative_to(REPO))
        for package in top
        for path in (REPO / package).rglob("*")
        if path.suffix in (".py", ".cu", ".c", ".h")
    }
    assert in_tree <= set(names), sorted(in_tree - set(names))


def test_the_four_packages_are_ours() -> None:
    for package in (drive, ops, configs, data_tools):
        assert Path(package.__file__ or "").resolve().is_relative_to(REPO)


def test_lock_names_no_index() -> None:
    lock = (REPO / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--" not in lock
    assert all("==" in line for line in lock.splitlines() if line.strip())
