"""One of two processes that train the toy: killed in step 5, then going on from the checkpoint of step 3."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from toy_training import ToyExperiment, ToyFrames, ToyModel

from drive.samples.config import DataConfig
from drive.samples.sample import FrameSample
from drive.train.loop import train


class Killed(BaseException):
    """Stands for a kill of both processes at once."""


class DeadlyFrames(ToyFrames):
    """Ends the training after a number of samples."""

    def __init__(self, deadly: int) -> None:
        super().__init__(frames=8)
        self.left = deadly

    def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True) -> FrameSample:
        self.left -= 1
        if self.left < 0:
            raise Killed
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
    folder = Path(sys.argv[1])
    try:
        train(experiment(2), folder, dataset=DeadlyFrames(9))  # two samples a step and process
    except Killed:
        summary = train(experiment(2), folder, dataset=DeadlyFrames(8))  # enough for the four steps that are left
        print(f"went on from {summary.resumed_from} to {summary.steps}")
