"""The command that checks every kernel, as a user runs it."""

from __future__ import annotations

import pytest
import torch

from ops.__main__ import main
from ops.check import compare


def test_every_cpu_kernel_is_right() -> None:
    rows = list(compare("cpu"))
    assert len(rows) >= 20
    assert [row for row in rows if not row[2] <= row[3]] == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_every_cuda_kernel_is_right() -> None:
    assert main(["check", "--cuda"]) == 0


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table"]) == 0
    shown = capsys.readouterr().out
    assert "voxelize          cpu   numba" in shown
    assert "window_attention  cpu   " in shown
    assert main(["polish"]) == 2
    assert main(["check", "--tpu"]) == 2
    assert "usage" in capsys.readouterr().err
