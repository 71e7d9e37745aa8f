"""``drive doctor``: one page of truth about an installation, with a mend for each thing that is wrong.

Imports nothing heavy before it looks: a broken torch must end as a row, not as a stack trace.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

OURS = ("drive", "ops", "configs", "data_tools")
HOME = Path(__file__).resolve().parent.parent  # of this checkout or installation
DISTRIBUTION = "drivewright"
BASE = ("numpy", "numba", "pyarrow", "pillow", "rich", "tyro")
# Extra: its packages, and what does not work without them.
EXTRAS = {
    "train": (("torch", "lightning-fabric", "safetensors", "tensorboard"), "training, detection"),
    "nuscenes": (("nuscenes-devkit",), "the comparison with the official score"),
    "camera": (("torchvision", "timm"), "camera backbones"),
}
MIN_DISK_GB, MIN_MEMORY_GB = 5.0, 6.0


@dataclass(frozen=True)
class Row:
    """One finding. ``mend`` says what to do where ``ok`` is false (and may advise where it is true)."""

    topic: str
    finding: str
    ok: bool = True
    mend: str = ""


def doctor(folder: Path | None = None) -> list[Row]:
    """All findings; ``folder`` is where runs would be written (default: the current one)."""
    folder = folder or Path.cwd()
    rows = [python_row(), *package_rows()]
    rows += _guarded("torch", torch_rows)
    rows += _guarded("image backbones", backbone_rows)
    rows += _guarded("kernels", kernel_rows)
    rows += _guarded("numba", numba_rows)
    rows += shadow_rows()
    rows += [disk_row(folder), memory_row(), write_row(folder)]
    return rows


def _guarded(topic: str, look: Callable[[], list[Row]]) -> list[Row]:
    """Whatever a broken package raises at import is the finding."""
    try:
        return look()
    except Exception as error:
        return [Row(topic, f"{type(error).__name__}: {error}", False, "install it again: make install")]


def python_row() -> Row:
    """The interpreter's version."""
    ok = sys.version_info >= (3, 11)
    return Row("python", f"{platform.python_version()} in {sys.prefix}", ok, "" if ok else "use Python 3.11 or newer")


def installed_version(package: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def package_rows(base: Sequence[str] = BASE) -> list[Row]:
    """Versions; a missing base package is wrong, a missing extra is said."""
    ours = installed_version(DISTRIBUTION)
    own = Row(DISTRIBUTION, f"{ours} from {HOME}" if ours else f"run from {HOME}, not installed")
    versions = {name: installed_version(name) for name in base}
    missing = [name for name, version in versions.items() if version is None]
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    rows = [own, Row("base", found)] if found else [own]
    rows += [
        Row("base", f"{name} is missing", False, f"pip install {DISTRIBUTION}, or make install") for name in missing
    ]
    for extra, (packages, purpose) in EXTRAS.items():
        have = {name: installed_version(name) for name in packages}
        absent = [name for name, version in have.items() if version is None]
        text = ", ".join(f"{name} {version}" for name, version in have.items() if version is not None)
        if absent:
            text = f"{text + '; ' if text else ''}without {', '.join(absent)} ({purpose} not available)"
        rows.append(Row(f"extra {extra}", text, True, f"pip install '{DISTRIBUTION}[{extra}]'" if absent else ""))
    return rows


def torch_rows() -> list[Row]:
    """Build, devices and the pair torch - torchvision."""
    if installed_version("torch") is None:
        return [Row("torch", "not installed", True, f"pip install '{DISTRIBUTION}[train]' to train and detect")]
    torch = importlib.import_module("torch")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    rows = [Row("torch", f"{torch.__version__}, {build}, {torch.get_num_threads()} threads")]
    count = torch.cuda.device_count()
    for i in range(count):
        properties = torch.cuda.get_device_properties(i)
        rows.append(Row("device", f"cuda:{i} {properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    if not count:
        gpu = shutil.which("nvidia-smi") is not None
        mend = "a GPU driver is here but torch sees no GPU: install the CUDA build of torch" if gpu else ""
        rows.append(Row("device", "cpu" + (", no GPU for torch" if gpu else ""), not gpu, mend))
    return rows + torchvision_rows()


def torchvision_rows() -> list[Row]:
    """torchvision is built for one release of torch and fails at odd places with another."""
    if installed_version("torchvision") is None:
        return []
    wanted = next(
        (
            match.group(1)
            for line in importlib.metadata.requires("torchvision") or []
            if (match := re.match(r"torch\s*\(?==\s*([\w.]+)", line))
        ),
        None,
    )
    have = (installed_version("torch") or "").split("+")[0]
    if wanted is None or wanted == have:
        return [Row("torchvision", f"{installed_version('torchvision')} fits torch {have}")]
    return [
        Row(
            "torchvision",
            f"{installed_version('torchvision')} was built for torch {wanted}, here is {have}",
            False,
            f"pip install torch=={wanted}, or the torchvision of torch {have}",
        )
    ]


def backbone_rows() -> list[Row]:
    """Whether timm's models can be had: its import touches torchvision, which is tried here and not only compared."""
    version = installed_version("timm")
    if version is None or installed_version("torch") is None:
        return []
    fault = importlib.import_module("drive.features.image_timm").torchvision_fault()
    if fault is None:
        return [Row("image backbones", f"timm {version}, torchvision imports")]
    found = f"timm {version}, its models only: torchvision cannot be imported ({fault})"
    absent = installed_version("torchvision") is None
    return [Row("image backbones", found, absent, "install the torchvision that belongs to this torch")]


def kernel_rows() -> list[Row]:
    """Which kernel each operator uses on each device that is here."""
    if installed_version("torch") is None:
        return []
    torch = importlib.import_module("torch")
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    rows = importlib.import_module("ops").kernels_in_use()
    return [
        Row(f"kernel {row.op}", f"{row.device}: {row.kernel}" + (f" ({row.reason})" if row.reason else ""))
        for row in rows
        if row.device in devices
    ]


def numba_rows() -> list[Row]:
    """Threading layer and the place of compiled code."""
    numba = importlib.import_module("numba")
    layers = {"tbb": "tbbpool", "omp": "omppool", "workqueue": "workqueue"}
    here = [name for name, module in layers.items() if _importable(f"numba.np.ufunc.{module}")]
    forced = numba.config.THREADING_LAYER
    rows = [
        Row(
            "numba threads",
            f"{numba.config.NUMBA_NUM_THREADS}, layers {', '.join(here)}"
            + (f", {forced} asked for" if forced not in ("default", "safe", "threadsafe", "forksafe") else ""),
            bool(here),
            "" if here else "install numba again",
        )
    ]
    cache = os.environ.get("NUMBA_CACHE_DIR")
    place = Path(cache) if cache else HOME / "drive" / "scores" / "__pycache__"
    ok = _writable(place if place.exists() else place.parent) or (cache is None and _writable(Path.home()))
    mend = "" if ok else "set NUMBA_CACHE_DIR to a folder that you may write; kernels are compiled anew each time"
    rows.append(Row("numba cache", str(place), ok, mend))
    return rows


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def shadow_rows(home: Path = HOME) -> list[Row]:
    """Whether our four packages are ours: their names are common, and another installation may win the import."""
    rows = []
    for name in OURS:
        module = sys.modules.get(name)
        spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec is not None else []
        if not places:
            rows.append(Row(f"import {name}", "not found", False, f"install {DISTRIBUTION} again: make install"))
        elif Path(places[0]).resolve().parent != home:
            owners = importlib.metadata.packages_distributions().get(name, [])
            others = sorted(set(owners) - {DISTRIBUTION})
            who = f"of the package {', '.join(others)}" if others else "of no installed package"
            mend = f"pip uninstall {others[0]}" if others else f"rename that folder, or leave {Path(places[0]).parent}"
            rows.append(Row(f"import {name}", f"{places[0]} {who} wins over {home / name}", False, mend))
    return rows or [Row("import names", f"{', '.join(OURS)} are ours, in {home}")]


def disk_row(folder: Path) -> Row:
    """Free space where runs are written."""
    free = shutil.disk_usage(folder).free / 1e9
    ok = free >= MIN_DISK_GB
    return Row("disk", f"{free:.1f} GB free in {folder}", ok, "" if ok else f"free {MIN_DISK_GB:g} GB for the demo")


def memory_row() -> Row:
    """Memory of the machine, and what of it is available where the system says so."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else None
    if total is None:
        return Row("memory", "unknown on this system")
    available = total
    info = Path("/proc/meminfo")
    if info.exists() and (match := re.search(r"MemAvailable:\s+(\d+) kB", info.read_text())):
        available = int(match.group(1)) * 1024 / 1e9
    ok = available >= MIN_MEMORY_GB
    mend = "" if ok else f"close other programs: the demo wants {MIN_MEMORY_GB:g} GB"
    return Row("memory", f"{available:.1f} GB available of {total:.1f} GB, {os.cpu_count()} cores", ok, mend)


def write_row(folder: Path) -> Row:
    """Whether files can be made here."""
    ok = _writable(folder)
    return Row("write access", str(folder), ok, "" if ok else "change to a folder that you may write to")


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def print_rows(rows: Sequence[Row], console: Console | None = None) -> None:
    """A line a finding, and under the table what to do about each wrong one."""
    console = console or Console()
    table = Table(box=SIMPLE_HEAD)
    for head in ("", "what", "found"):
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row("ok" if row.ok else "WRONG", row.topic, row.finding, style=None if row.ok else "bold red")
    console.print(table)
    for row in rows:
        if row.mend:
            console.print(f"{'mend' if not row.ok else 'note'}: {row.topic}: {row.mend}", markup=False, highlight=False)
    wrong = sum(not row.ok for row in rows)
    console.print(f"wrong: {wrong}" if wrong else "all is well", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """``drive doctor``: exit status 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="drive doctor", description="What is installed, in use and wrong here.")
    parser.parse_args(argv)
    rows = doctor()
    print_rows(rows)
    return int(any(not row.ok for row in rows))
