"""Imports go one way: a stage imports only what stands on its left. Parsed, not run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
STAGES = (
    "geometry",
    "dynamics",
    "render",
    "logs",
    "samples",
    "voxels",
    "features",
    "boxes",
    "tracks",
    "plans",
    "rollouts",
    "scores",
)
# May import any stage, imported by none.
TOP = {"train", "view", "cli", "experiment", "doctor", "detect", "plan", "runs", "sensor_run", "simulate"}
OURS = ("drive", "ops", "configs", "data_tools", "tests", "benchmarks")
WITHOUT_TORCH = ("drive/geometry", "drive/dynamics", "drive/render", "drive/logs", "data_tools")


def imports_of(file: Path) -> list[str]:
    """Dotted names of our own modules that a file imports, in functions too."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ImportFrom):
            found.append("<relative>")
    return found


def files(folder: str) -> list[Path]:
    return sorted((REPO / folder).rglob("*.py"))


def test_stages_import_from_their_left_only() -> None:
    wrong = []
    for file in files("drive"):
        parts = file.relative_to(REPO / "drive").with_suffix("").parts
        for name in imports_of(file):
            target = name.split(".")
            if target[0] in ("configs", "data_tools", "tests", "benchmarks") or name == "<relative>":
                wrong.append(f"{file.relative_to(REPO)} imports {name}")
            if target[0] != "drive" or len(target) < 2 or parts[0] not in STAGES:
                continue
            room = target[1]
            # A stage's own *_config of training is shared by experiment only.
            if room in TOP or (room in STAGES and STAGES.index(room) > STAGES.index(parts[0])):
                wrong.append(f"{file.relative_to(REPO)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_ops_import_nothing_of_ours() -> None:
    wrong = [
        f"{file.relative_to(REPO)} imports {name}"
        for file in files("ops")
        for name in imports_of(file)
        if name.split(".")[0] in OURS and name.split(".")[0] != "ops"
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("folder", "other"), [("configs", "data_tools"), ("data_tools", "configs")])
def test_configs_and_data_tools_do_not_know_each_other(folder: str, other: str) -> None:
    wrong = [str(f) for f in files(folder) for name in imports_of(f) if name.split(".")[0] in (other, "tests")]
    assert not wrong


def test_light_rooms_import_without_torch() -> None:
    """A conversion machine has no torch: importing these rooms must not ask for it."""
    modules = [
        ".".join(file.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")
        for folder in WITHOUT_TORCH
        for file in files(folder)
        if file.name != "__main__.py"
    ]
    code = (
        "import sys, importlib\n"
        "sys.modules['torch'] = None\n"  # any import of it now raises ImportError
        f"[importlib.import_module(m) for m in {modules!r}]\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


def test_no_file_is_longer_than_a_room_wants() -> None:
    """About 300 lines a file: what is longer is two ideas."""
    long = {
        str(file.relative_to(REPO)): lines
        for folder in ("drive", "ops", "configs", "data_tools")
        for file in files(folder)
        if (lines := len(file.read_text().splitlines())) > 340
    }
    assert not long, long
