"""Batches: ragged, in an order that a seed fixes, continued from any position; classes in balance."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from drive.errors import UserError
from drive.samples.augment.config import AugmentConfig
from drive.samples.balance import balanced_order, occurrence
from drive.samples.batch import FrameBatch, collate
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.frame_dataset import FrameDataset
from drive.samples.loader import Position, TrainLoader
from drive.samples.sample import FrameSample, empty_sample


class Numbers:
    """Frame i is one point at x = i; remembers what was asked."""

    def __init__(self, frames: int = 10) -> None:
        self.frames = frames
        self.asked: list[tuple[int, int, int, bool]] = []

    def __len__(self) -> int:
        return self.frames

    def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True) -> FrameSample:
        self.asked.append((index, epoch, repeat, paste))
        blank = empty_sample(f"{index}")
        points = np.array([[index, epoch, repeat, paste, 0, 0]], np.float32)
        return FrameSample(points, blank.boxes, blank.labels, blank.velocity_valid, blank.num_points, blank.frame_id)

    def presence(self) -> np.ndarray:
        return np.stack([np.ones(self.frames), np.arange(self.frames) == 3], axis=1).astype(bool)


def take(loader: TrainLoader, batches: int) -> list[list[tuple[float, ...]]]:
    iterator = iter(loader)
    out = [[tuple(row[:4].tolist()) for row in batch.points] for batch in islice(iterator, batches)]
    iterator.close()
    return out


def test_an_epoch_shows_every_frame_once() -> None:
    loader = TrainLoader(Numbers(), 3, seed=1)
    assert loader.batches_per_epoch == 3
    first, second = take(loader, 3), take(loader, 3)
    for epoch, batches in enumerate((first, second)):
        rows = [row for batch in batches for row in batch]
        assert len({row[0] for row in rows}) == 9
        assert {row[1] for row in rows} == {epoch}
    assert loader.position == Position(2, 0)
    assert [row[0] for batch in first for row in batch] != [row[0] for batch in second for row in batch]


@pytest.mark.parametrize("prefetch", [0, 1, 4])
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_it_goes_on_from_a_position(prefetch: int, stop: int) -> None:
    whole = take(TrainLoader(Numbers(), 3, seed=1, prefetch=0), 8)
    loader = TrainLoader(Numbers(), 3, seed=1, prefetch=prefetch)
    head = take(loader, stop)
    stored = loader.position  # counts what came out, not what was made ahead
    other = TrainLoader(Numbers(), 3, seed=1, prefetch=prefetch)
    other.position = stored
    assert head + take(other, 8 - stop) == whole


def test_two_processes_share_the_batches_of_one() -> None:
    one = take(TrainLoader(Numbers(), 4, seed=2), 4)
    two = [take(TrainLoader(Numbers(), 2, seed=2, rank=rank, world_size=2), 4) for rank in range(2)]
    assert [a + b for a, b in zip(*two, strict=True)] == one


def test_pasting_ends_after_its_batches() -> None:
    loader = TrainLoader(Numbers(), 5, seed=2, paste_until=3)
    assert [batch[0][3] for batch in take(loader, 5)] == [1, 1, 1, 0, 0]


def test_rare_classes_are_repeated_and_told_apart() -> None:
    data = Numbers()
    rows = [row for batch in take(TrainLoader(data, 2, seed=2, balance=True), 5) for row in batch]
    repeats = [row[2] for row in rows if row[0] == 3]
    assert sorted(repeats) == list(range(len(repeats)))
    assert len(repeats) >= 5  # half of the epoch belongs to the class that only frame 3 shows


def test_balance_by_hand() -> None:
    presence = np.zeros((12, 4), np.bool_)  # class 3 is nowhere, frames 10 and 11 are empty
    presence[:9, 0] = True
    presence[[0, 9], 1] = True
    presence[2, 2] = True
    counted = np.zeros(12, int)
    for seed in range(200):
        order = balanced_order(presence, np.random.default_rng(seed))
        assert len(order) == 12
        counted += np.bincount(order, minlength=12)
    assert (counted[10:] == 0).all()
    shares = counted / counted.sum()
    assert shares[2] == pytest.approx(1 / 3 + 1 / 27, abs=0.02)
    assert shares[9] == pytest.approx(1 / 6, abs=0.02)
    assert shares[1] == pytest.approx(1 / 27, abs=0.01)
    assert sorted(balanced_order(np.zeros((4, 2), bool), np.random.default_rng(0)).tolist()) == [0, 1, 2, 3]
    assert occurrence(np.array([5, 2, 5, 5, 2])).tolist() == [0, 0, 1, 2, 1]
    assert occurrence(np.zeros(0, np.int64)).tolist() == []


def test_worker_processes_make_the_same_batches(log_path: Path) -> None:
    dataset = FrameDataset([log_path], NUSCENES_CLASSES, augment=AugmentConfig(), seed=1)
    streams = []
    for workers in (0, 1):
        iterator = iter(TrainLoader(dataset, 2, seed=1, workers=workers, balance=True))
        streams.append(list(islice(iterator, 2)))
        iterator.close()
    for a, b in zip(*streams, strict=True):
        assert a.frame_ids == b.frame_ids
        assert all(torch.equal(x, b.tensors()[name]) for name, x in a.tensors().items())


def test_an_error_while_a_sample_is_made_comes_out() -> None:
    class Broken(Numbers):
        def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True) -> FrameSample:
            raise UserError("log", "damaged", "convert it again")

    with pytest.raises(UserError, match="damaged"):
        take(TrainLoader(Broken(), 2), 1)
    with pytest.raises(UserError, match="10 training frames cannot fill a batch of 6 on 2 processes"):
        TrainLoader(Numbers(), 6, world_size=2)


def test_collate_by_hand() -> None:
    def sample(points: int, boxes: int, name: str) -> FrameSample:
        return FrameSample(
            points=np.full((points, 6), points, np.float32),
            boxes=np.full((boxes, 9), boxes, np.float32),
            labels=np.full(boxes, boxes, np.int64),
            velocity_valid=np.ones(boxes, np.bool_),
            num_points=np.full(boxes, 7, np.int64),
            frame_id=name,
        )

    batch = collate([sample(3, 1, "a"), sample(0, 0, "b"), sample(2, 2, "c")])
    assert batch.batch_size == 3
    assert batch.frame_ids == ["a", "b", "c"]
    assert batch.point_offsets.tolist() == [0, 3, 3, 5]
    assert batch.point_batch.tolist() == [0, 0, 0, 2, 2]
    assert batch.box_offsets.tolist() == [0, 1, 1, 3]
    assert batch.box_batch.tolist() == [0, 2, 2]
    assert batch.points[:, 0].tolist() == [3, 3, 3, 2, 2]
    assert batch.labels.tolist() == [1, 2, 2]
    moved = batch.to("cpu")
    assert all(torch.equal(t, moved.tensors()[n]) for n, t in batch.tensors().items())


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_batches_of_nothing(frames: int) -> None:
    batch: FrameBatch = collate([empty_sample(str(i)) for i in range(frames)])
    assert batch.batch_size == frames
    assert batch.points.shape == (0, 6)
    assert batch.boxes.shape == (0, 9)
    assert batch.point_offsets.tolist() == [0] * (frames + 1)
    assert (batch.points.dtype, batch.labels.dtype, batch.velocity_valid.dtype) == (
        torch.float32, torch.int64, torch.bool,
    )  # fmt: skip
    assert batch.point_batch.dtype == torch.int64
