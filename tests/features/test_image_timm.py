"""timm with a torchvision that is broken or absent: the models are built all the same, and it is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("timm")
HOME = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys, warnings
sys.path.insert(0, sys.argv[1])
import torch
from drive import doctor
from drive.features.images import ImageNetConfig
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    net = ImageNetConfig("resnet10t", channels=4).build().eval()
    again = ImageNetConfig("mobilenetv3_small_050", channels=4, frozen_norm=True).build().eval()
print(*[str(w.message) for w in said if "torchvision" in str(w.message)], sep=" AND ")
for tower in (net, again):
    assert tower(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))[0].shape == (1, 4, 8, 12)
for folder in sys.argv[1:]:
    sys.path[0] = folder
    sys.path_importer_cache.clear()
    print(*doctor.backbone_rows())
    try:
        import torchvision
    except Exception as error:
        print("still", error)
"""
BROKEN = 'raise RuntimeError("operator torchvision::nms does not exist")'
ABSENT = """raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")"""


def test_models_without_torchvision(tmp_path: Path) -> None:
    """One process for a broken and an absent one: the imports take longer than the test."""
    folders = []
    for kind, source in (("broken", BROKEN), ("absent", ABSENT)):
        folders.append(str(tmp_path / kind))
        (tmp_path / kind / "torchvision").mkdir(parents=True)
        (tmp_path / kind / "torchvision" / "__init__.py").write_text(source)
    words = [sys.executable, "-W", "error", "-c", PROGRAM, *folders]
    run = subprocess.run(words, capture_output=True, text=True, cwd=HOME, check=False)
    assert run.returncode == 0, run.stderr
    said, *lines = run.stdout.splitlines()
    assert "nms does not exist" in said
    assert "timm's models alone" in said
    assert " AND " not in said
    for row, still, reason in zip(lines[::2], lines[1::2], ("nms does not exist", "No module named"), strict=True):
        assert reason in row
        assert "models only" in row
        assert "belongs to this torch" in row
        assert reason in still
