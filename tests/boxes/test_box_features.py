"""What was seen at a box: by hand on a sparse grid, and kept with the box that it belongs to."""

from __future__ import annotations

import math

import pytest
import torch

from drive.boxes.box_features import FEATURES, PLACES, WIDTH, box_features
from drive.boxes.coder import BIN_LOGITS, LOG_SIZE, REGRESSION_CHANNELS
from drive.boxes.decode import DecodeConfig, GroupOutput, decode_groups
from drive.boxes.head import HeadGroup
from drive.voxels.grid import GridSpec

GRID = GridSpec((0.0, 0.0, 0.0, 10.0, 10.0, 4.0), (1.0, 1.0, 4.0))
CARS = HeadGroup(("car",), 3, (1.0,), (4.0, 2.0, 1.5), 1.0, nms_iou=0.2)


def output(places: list[tuple[int, int, int]], features: torch.Tensor, labels: tuple[int, ...] = (0,)) -> GroupOutput:
    """An answer at cells (frame, y, x): a car of 4 x 2 m in each, all equally sure."""
    coords = torch.tensor([[b, 0, y, x] for b, y, x in places], dtype=torch.int64).view(-1, 4)
    rows = torch.zeros(len(coords), REGRESSION_CHANNELS)
    rows[:, LOG_SIZE] = torch.tensor([4.0, 2.0, 1.5]).log()
    rows[:, BIN_LOGITS.start] = 1
    heat = torch.full((len(coords), 1), 2.0)
    return GroupOutput(CARS, labels, GRID, coords, heat, rows, GRID.centres(coords), features)


def box(x: float, y: float, yaw: float = 0.0) -> torch.Tensor:
    return torch.tensor([[x, y, 1.0, 4.0, 2.0, 1.5, yaw, 0.0, 0.0]])


def test_centre_and_sides_by_hand() -> None:
    # A car at (5.5, 5.5) that looks along y: front (5.5, 7.5), left (4.5, 5.5), back (5.5, 3.5), right (6.5, 5.5).
    cells = [(0, 3, 5), (0, 5, 4), (0, 5, 5), (0, 5, 6), (0, 7, 5)]
    tokens = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    seen = box_features(output(cells, tokens), box(5.5, 5.5, math.pi / 2), torch.zeros(1, dtype=torch.int64))
    alone = [
        box_features(output([(0, 5, 5)], token[None]), box(5.5, 5.5), torch.zeros(1, dtype=torch.int64))
        for token in tokens
    ]
    expected = torch.cat([alone[i][0, :WIDTH] for i in (2, 4, 1, 0, 3)])
    torch.testing.assert_close(seen[0], expected)
    assert seen.shape == (1, FEATURES)
    assert len(PLACES) * WIDTH == FEATURES


def test_distances_between_tokens_stay() -> None:
    tokens = torch.randn(100, 64, generator=torch.Generator().manual_seed(1))
    cells = [(0, y, x) for y in range(10) for x in range(10)]
    centres = GRID.centres(torch.tensor([[b, 0, y, x] for b, y, x in cells]))
    boxes = torch.cat([centres, box(0, 0)[:, 3:].expand(100, -1)], dim=1)
    seen = box_features(output(cells, tokens), boxes, torch.zeros(100, dtype=torch.int64))[:, :WIDTH]
    ratio = torch.pdist(seen) / torch.pdist(tokens)
    assert 0.95 < ratio.mean() < 1.05


def test_nothing_there_is_zero() -> None:
    tokens = torch.ones(2, 8)
    answer = output([(0, 5, 5), (1, 2, 2)], tokens)
    frame = torch.tensor([1, 0, 0])
    boxes = torch.cat([box(5.5, 5.5), box(-3.0, 5.5), box(50.0, 5.5)])
    assert not box_features(answer, boxes, frame).any()  # of the other frame; outside the grid
    assert box_features(answer, box(0, 0)[:0], frame[:0]).shape == (0, FEATURES)
    empty = output([], torch.zeros(0, 8))
    assert not box_features(empty, boxes, frame).any()


def test_decoding_keeps_each_box_with_its_own() -> None:
    tokens = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
    cells = [(0, 2, 2), (0, 7, 7), (1, 2, 2)]
    answer = output(cells, tokens)
    answer.heat_logits[1] = 3.0  # the second is the surer one of frame 0
    first, second = decode_groups([answer], 2, DecodeConfig(), features=True)
    assert first.features is not None
    assert second.features is not None
    torch.testing.assert_close(first.features, box_features(answer, first.boxes, torch.zeros(2, dtype=torch.int64)))
    assert first.boxes[0, :2].tolist() == [7.5, 7.5]
    torch.testing.assert_close(second.features, box_features(answer, second.boxes, torch.ones(1, dtype=torch.int64)))
    assert not torch.allclose(first.features[1], second.features[0])
    assert decode_groups([answer], 2, DecodeConfig())[0].features is None
    with pytest.raises(ValueError, match="no features"):
        decode_groups([GroupOutput(*list(vars(answer).values())[:-1])], 2, DecodeConfig(), features=True)
