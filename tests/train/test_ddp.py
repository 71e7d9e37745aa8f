"""Two CPU processes (gloo) are one process with twice the batch, also when both are killed on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from ddp_run import experiment
from toy_training import ToyFrames

from drive.train.loop import train
from drive.train.weights import read_weights

REPO = Path(__file__).resolve().parents[2]
SCRIPT = str(Path(__file__).with_name("ddp_run.py"))


def run(folder: Path, samples: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, SCRIPT, str(folder), str(samples)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)


def test_two_processes_equal_one_with_twice_the_batch(tmp_path: Path) -> None:
    one = train(experiment(1), tmp_path / "one", dataset=ToyFrames(frames=8))
    assert run(tmp_path / "two", 9).returncode != 0  # two samples a step and process: dies in step 5
    assert [p.name for p in (tmp_path / "two" / "checkpoints").glob("step-*")] == ["step-00000003"]
    again = run(tmp_path / "two", 999)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "going on from step 3" in again.stdout
    a, b = read_weights(tmp_path / "two" / "weights.safetensors"), read_weights(one.weights)
    assert a.keys() == b.keys()
    for name in b:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=2e-6)
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 + 7  # a header a part, and one writer only
