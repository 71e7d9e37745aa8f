"""Peaks, candidates and suppression by hand; the foreground cap; diffusion."""

import pytest
import torch

from drive.boxes.coder import BIN_LOGITS, IOU, LOG_SIZE, OFFSET, REGRESSION_CHANNELS
from drive.boxes.decode import DecodeConfig, GroupOutput, decode_groups, find_peaks
from drive.boxes.foreground import ForegroundConfig, VoxelDiffusion, keep_voxels, shape_cues
from drive.boxes.head import HeadGroup, class_indices
from drive.voxels.grid import GridSpec
from ops.dilate import dilate

GRID = GridSpec((0.0, 0.0, 0.0, 10.0, 10.0, 4.0), (1.0, 1.0, 4.0))
CARS = HeadGroup(("car", "truck"), 3, (1.0, 1.0), (4.0, 2.0, 1.5), 1.0, nms_iou=0.2)


def cells(*places: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor([[b, 0, y, x] for b, y, x in sorted(places)], dtype=torch.int64).view(-1, 4)


def answer(coords: torch.Tensor, score: list[list[float]], group: HeadGroup = CARS) -> GroupOutput:
    rows = torch.zeros(len(coords), REGRESSION_CHANNELS)
    rows[:, LOG_SIZE] = torch.tensor([4.0, 2.0, 1.5]).log()
    rows[:, BIN_LOGITS.start] = 1
    return GroupOutput(
        group, (0, 1), GRID, coords, torch.logit(torch.tensor(score).view(-1, 2)), rows, GRID.centres(coords)
    )


def test_a_peak_is_the_maximum_of_its_active_neighbours() -> None:
    coords = cells((0, 2, 2), (0, 2, 3), (0, 2, 5), (1, 2, 2))
    score = torch.tensor([[0.5], [0.6], [0.4], [0.1]])
    # (2, 5) has no active neighbour, and frame 1 does not see frame 0.
    assert find_peaks(score, coords, GRID, 2)[:, 0].tolist() == [False, True, True, True]
    assert find_peaks(score, coords, GRID, 2, kernel=5)[:, 0].tolist() == [False, True, False, True]


def test_candidates_by_hand() -> None:
    output = answer(cells((0, 2, 2), (1, 7, 7)), [[0.9, 0.01], [0.02, 0.6]])
    first, second = decode_groups([output], 2, DecodeConfig())
    assert first.labels.tolist() == [0]
    torch.testing.assert_close(first.boxes, torch.tensor([[2.5, 2.5, 2.0, 4.0, 2.0, 1.5, 0.0, 0.0, 0.0]]))
    assert first.scores.tolist() == [pytest.approx(0.9)]
    assert second.labels.tolist() == [1]
    assert second.boxes[0, :2].tolist() == [7.5, 7.5]


def test_suppression_is_within_a_class_and_a_frame() -> None:
    # Two cells two metres apart that predict the same car; the truck in the same place stays.
    output = answer(cells((0, 2, 2), (0, 2, 4), (1, 2, 2)), [[0.9, 0.01], [0.8, 0.7], [0.5, 0.01]])
    output.regression[1, OFFSET.start] = -2.0
    first, second = decode_groups([output], 2, DecodeConfig())
    assert sorted(zip(first.labels.tolist(), first.scores.tolist(), strict=True)) == [
        (0, pytest.approx(0.9)),
        (1, pytest.approx(0.7)),
    ]
    assert len(second) == 1


def test_scores_fall_and_the_best_are_kept() -> None:
    coords = cells(*((0, y, x) for y in (0, 3, 6, 9) for x in (0, 5)))
    score = [[s, 0.01] for s in (0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.5, 0.9)]
    (found,) = decode_groups([answer(coords, score)], 1, DecodeConfig(max_detections=3))
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.8, 0.7]))


def test_iou_branch_rescores() -> None:
    group = HeadGroup(("car", "truck"), 3, (1.0, 1.0), (4.0, 2.0, 1.5), 1.0, nms_iou=0.2, iou_power=0.5)
    output = answer(cells((0, 2, 2)), [[0.64, 0.01]], group)
    output.regression[:, IOU] = 0.28  # IoU 0.64
    (found,) = decode_groups([output], 1, DecodeConfig())
    assert float(found.scores[0]) == pytest.approx(0.64, rel=1e-5)


def test_nothing_to_decode() -> None:
    found = decode_groups([answer(cells(), [])], 2, DecodeConfig())
    assert [len(f) for f in found] == [0, 0]
    assert found[0].boxes.shape == (0, 9)


def test_the_cap_keeps_the_best_of_each_frame_and_counts_the_rest() -> None:
    coords = cells((0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 0))
    score = torch.tensor([0.3, 0.2, 0.4, 0.1])
    keep, dropped = keep_voxels(score, coords, 2, ForegroundConfig(max_kept=2), None)
    assert keep.tolist() == [True, False, True, True]
    assert int(dropped) == 1
    truth = torch.tensor([False, True, False, False])
    assert keep_voxels(score, coords, 2, ForegroundConfig(max_kept=2), truth)[0].all()
    assert keep_voxels(score, coords, 2, ForegroundConfig(threshold=0.25), None)[0].tolist() == [
        True, False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("cue", [0, 7])
def test_diffusion_gives_every_cell_in_reach_a_token(cue: int) -> None:
    torch.manual_seed(0)
    diffusion = VoxelDiffusion(4, 3, ForegroundConfig(shape_cue=cue > 0))
    coords = cells((0, 0, 0), (0, 5, 5), (0, 5, 6))
    x, score = torch.randn(3, 4), torch.tensor([0.9, 0.5, 0.01])
    keep = torch.tensor([True, True, False])
    places = GRID.centres(coords)
    tokens, cues, spread, anchors = diffusion(x, score, keep, places, coords, GRID, 1)
    # The corner cell reaches 4 cells, the other 9; the cell that is not kept spreads nothing.
    assert len(spread) == 13
    assert tokens.shape == (13, 4)
    own = torch.cat((x[2], torch.tensor([0.5])))  # (5, 6) keeps its own feature and takes its neighbour's score
    row = [c.tolist() for c in spread].index([0, 0, 5, 6])
    assert cues.shape == (13, cue)
    assert anchors[row].tolist() == pytest.approx([5.5 if cue else 6.5, 5.5, 2.0])
    if cue:  # the one kept neighbour is a cell to the left: 1 m in units of 1.5 m
        torch.testing.assert_close(cues[row], torch.tensor([-2 / 3, 0, 0, 0, 0, 0, 0.5**0.5 / 3]), atol=1e-6, rtol=0)
    torch.testing.assert_close(tokens[row], diffusion.token(torch.cat((own, cues[row]))))


def test_diffusion_of_nothing() -> None:
    diffusion = VoxelDiffusion(4, 3, ForegroundConfig())
    none = torch.zeros(0, dtype=torch.bool)
    tokens, _, spread, _ = diffusion(torch.zeros(0, 4), torch.zeros(0), none, torch.zeros(0, 3), cells(), GRID, 1)
    assert tokens.shape == (0, 4)
    assert spread.shape == (0, 4)


def test_every_class_is_in_exactly_one_group() -> None:
    assert class_indices(("truck", "car"), (CARS,)) == ((1, 0),)
    with pytest.raises(ValueError, match="each must be in one group"):
        class_indices(("car", "truck", "bus"), (CARS,))
    with pytest.raises(ValueError, match="each must be in one group"):
        class_indices(("car", "truck"), (CARS, CARS))


def test_shape_cues_are_weighted_moments() -> None:
    # Around (5.5, 5.5): kept voxels at (4.5, 5.5) with score 0.75 and (6.5, 6.5) with score 0.25, in reach 1.5 m.
    coords = cells((0, 5, 4), (0, 6, 6))
    spread = dilate(coords, torch.tensor([True, True]), 3, (10, 10), 1)
    cues = shape_cues(torch.tensor([0.75, 0.25]), GRID.centres(coords), spread, GRID, 3)
    row = [c.tolist() for c in spread.coords].index([0, 0, 5, 5])
    x, y = torch.tensor([-1.0, 1.0]) / 1.5, torch.tensor([0.0, 1.0]) / 1.5
    w = torch.tensor([0.75, 0.25])
    mx, my = (x * w).sum(), (y * w).sum()
    moments = [(x * x * w).sum() - mx * mx, (y * y * w).sum() - my * my, (x * y * w).sum() - mx * my]
    expected = torch.stack([mx, my, torch.tensor(0.0), *moments, torch.tensor(1 / 3)])
    torch.testing.assert_close(cues[row], expected, atol=1e-6, rtol=1e-5)
