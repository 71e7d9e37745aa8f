"""Trains the toy on two processes in the given folder; with a number, both die after making that many samples."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from toy_training import ToyExperiment, ToyFrames, ToyModel

from drive.samples.config import DataConfig
from drive.samples.sample import FrameSample
from drive.train.loop import train


class DeadlyFrames(ToyFrames):
    """Ends the process without a word, as SIGKILL does."""

    def __init__(self, deadly: int) -> None:
        super().__init__(frames=8)
        self.left = deadly

    def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True) -> FrameSample:
        self.left -= 1
        if self.left < 0:
            os._exit(9)
        return super().item(index, epoch, repeat, paste)


def experiment(processes: int) -> ToyExperiment:
    """A batch of four in all; the loss is a mean over frames, so it does not matter how they are divided."""
    base = ToyExperiment()
    return replace(
        base,
        model=ToyModel(dropout=0.0, norm=False),
        data=DataConfig(batch_size=4 // processes, prefetch=0),
        train=replace(base.train, steps=7, devices=processes, checkpoint_steps=3, checkpoint_seconds=0.0),
    )


if __name__ == "__main__":
    train(experiment(2), Path(sys.argv[1]), dataset=DeadlyFrames(int(sys.argv[2])))
