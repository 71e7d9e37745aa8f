"""Two CPU processes (gloo) are one process with twice the batch, also when both are killed on the way."""

from __future__ import annotations

import os
import socket
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


def start(folder: Path, rank: int, port: int) -> subprocess.Popen[str]:
    """A process with the environment that torchrun gives it (torchrun's own start would double the time)."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    single = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment = {**os.environ, **single, **meeting, **{name: str(value) for name, value in places.items()}}
    return subprocess.Popen(
        [sys.executable, SCRIPT, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_equal_one_with_twice_the_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start(tmp_path / "two", rank, port) for rank in range(2)]
    one = train(experiment(1), tmp_path / "one", dataset=ToyFrames(frames=8))
    for process in processes:
        said, _ = process.communicate(timeout=180)
        assert process.returncode == 0, said[-3000:]
        assert "went on from 3 to 7" in said
    a, b = read_weights(tmp_path / "two" / "weights.safetensors"), read_weights(one.weights)
    assert a.keys() == b.keys()
    for name in b:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=2e-6)
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 + 7  # a header a part, and one writer only
