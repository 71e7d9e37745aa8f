"""An endless, deterministic stream of training batches whose position is two numbers.

Which frames batch b of epoch e holds, and how each is augmented, is a function of (seed, e, b) alone; threads and
processes only decide who computes it. So a run that continues from a stored position sees the same batches.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from drive.errors import UserError
from drive.samples.balance import balanced_order, occurrence
from drive.samples.batch import collate
from drive.samples.workers import Item, TrainingSet, make, start


@dataclass(frozen=True)
class Position:
    """The next batch: its number within its epoch, counted on each process."""

    epoch: int = 0
    batch: int = 0


class TrainLoader:
    """Iterates over batches for ever; `position` is that of the next batch to come out, whatever is made ahead.

    Args:
        dataset: Map-style data set.
        batch_size: Frames a batch, on each process.
        seed: Of the order.
        workers: Spawned processes; 0 = a thread of this process (numpy and numba release the interpreter lock).
        prefetch: Batches made ahead; 0 = none, each is made when it is asked for.
        rank: This process's place among `world_size`: batch b of all ranks together is the batch b of one process
            with world_size times the batch size.
        balance: Class-balanced order.
        paste_until: Number of batches of the whole training after which nothing is pasted; None = always paste.
        join: Makes a batch of the samples of `dataset`.
    """

    def __init__(
        self,
        dataset: TrainingSet,
        batch_size: int,
        *,
        seed: int = 0,
        workers: int = 0,
        prefetch: int = 2,
        rank: int = 0,
        world_size: int = 1,
        balance: bool = False,
        paste_until: int | None = None,
        join: Callable[[list[Any]], Any] = collate,
    ) -> None:
        if len(dataset) < batch_size * world_size:
            raise UserError(
                "data.batch_size",
                f"{len(dataset)} training frames cannot fill a batch of {batch_size} on {world_size} processes",
                "lower it, or convert more logs",
            )
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.workers, self.prefetch = workers, prefetch
        self.rank, self.world_size = rank, world_size
        self.paste_until, self.join = paste_until, join
        self.position = Position()
        self.batches_per_epoch = len(dataset) // (batch_size * world_size)
        self._presence = dataset.presence() if balance else None
        self._order = lru_cache(maxsize=4)(self._epoch_order)

    def items(self, position: Position) -> list[Item]:
        """What the batch at a position is made of."""
        order, repeats = self._order(position.epoch)
        start = (position.batch * self.world_size + self.rank) * self.batch_size
        made = position.epoch * self.batches_per_epoch + position.batch
        paste = self.paste_until is None or made < self.paste_until
        rows = slice(start, start + self.batch_size)
        return [(int(i), position.epoch, int(r), paste) for i, r in zip(order[rows], repeats[rows], strict=True)]

    def after(self, position: Position) -> Position:
        """The position that follows; the frames that do not fill an epoch's last batch are left out of that epoch."""
        if position.batch + 1 < self.batches_per_epoch:
            return Position(position.epoch, position.batch + 1)
        return Position(position.epoch + 1, 0)

    def __iter__(self) -> Generator[Any, None, None]:
        """Batches from `position` on. Close the iterator (or leave its loop's scope) to stop the workers."""
        if self.prefetch == 0 and self.workers == 0:
            while True:
                samples = [self.dataset.item(*item) for item in self.items(self.position)]
                self.position = self.after(self.position)
                yield self.join(samples)
        with self._executor() as executor:
            ahead = self.position
            pending: deque[list[Future[Any]]] = deque()
            try:
                while True:
                    while len(pending) < max(self.prefetch, 1):
                        pending.append(self._submit(executor, ahead))
                        ahead = self.after(ahead)
                    samples = [future.result() for future in pending.popleft()]
                    self.position = self.after(self.position)
                    yield self.join(samples)
            except BrokenProcessPool as error:
                what = "a loader process died"
                raise UserError("data.workers", what, "it ran out of memory or was killed: use fewer") from error
            finally:
                executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self, executor: Executor, position: Position) -> list[Future[Any]]:
        if self.workers:
            return [executor.submit(make, item) for item in self.items(position)]
        return [executor.submit(self.dataset.item, *item) for item in self.items(position)]

    def _executor(self) -> Executor:
        if self.workers == 0:
            return ThreadPoolExecutor(max_workers=1, thread_name_prefix="samples")
        # Spawned, never forked: numba's threads do not survive a fork.
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=spawn, initializer=start, initargs=(self.dataset,))

    def _epoch_order(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        rng = np.random.default_rng([self.seed, epoch])
        if self._presence is None:
            order = rng.permutation(len(self.dataset))
            return order, np.zeros(len(order), np.int64)
        order = balanced_order(self._presence, rng)
        return order, occurrence(order)
