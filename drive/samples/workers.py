"""What runs inside a loader's process: samples, made and sent."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import threading
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Item = tuple[int, int, int, bool]
"""Arguments of `TrainingSet.item`: index, epoch, repeat, paste."""


class TrainingSet(Protocol):
    """What the loader needs of a data set (`FrameDataset` is one)."""

    def __len__(self) -> int: ...

    def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True) -> Any:
        """One sample (a `FrameSample` of frames), the same for the same arguments."""
        ...

    def presence(self) -> npt.NDArray[np.bool_]:
        """bool [F, K], which classes each frame shows."""
        ...


_DATASET: TrainingSet | None = None  # of this worker process, set once by its initialiser


def start(dataset: TrainingSet) -> None:
    """Initialiser of a worker process."""
    global _DATASET
    _DATASET = dataset
    end_with_parent()


def make(item: Item) -> Any:
    """One sample, in the worker."""
    assert _DATASET is not None
    return _DATASET.item(*item)


def end_with_parent() -> None:
    """A killed parent must not leave its workers behind: they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
