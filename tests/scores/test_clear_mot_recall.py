"""AB3DMOT's metric: against numbers of its own program, and small worlds that one can check on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from drive.scores.clear_mot_boxes import MotBoxes, overlap_pairs
from drive.scores.clear_mot_kitti import kitti_sides
from drive.scores.clear_mot_recall import COUNTS, evaluate_recall, recall_thresholds
from tests.scores.mot_world import golden_sequences, make_sequence, parse

Row = tuple[int, int, float, float]  # frame, track, x, score


def side(rows: list[Row], frames: int, ignored: list[int] | None = None) -> MotBoxes:
    """Unit boxes at x; sorted by frame."""
    boxes = np.zeros((len(rows), 9))
    boxes[:, 0] = [row[2] for row in rows]
    boxes[:, 3:6] = 1.0
    marks = np.isin(np.arange(len(rows)), ignored or [])
    columns = [np.array([row[i] for row in rows], kind) for i, kind in ((0, np.int64), (1, np.int64), (3, np.float64))]
    return MotBoxes.of(columns[0], frames, boxes, columns[1], columns[2], marks)


@pytest.mark.parametrize("world", [0, 1])
def test_equal_to_the_official_program(world: int) -> None:
    lines, frames, official = golden_sequences(world)
    labels, tracks = parse(lines, frames)
    compared = 0
    for key, by_class in official.items():
        number, min_iou = key.split("_")
        if int(number) != world:
            continue
        for name, wanted in by_class.items():
            found = evaluate_recall(*kitti_sides(labels, tracks, name), float(min_iou))
            assert {k: found.counts[k] for k in wanted["counts"]} == wanted["counts"], (key, name)
            assert {k: found.values[k] for k in wanted["values"]} == pytest.approx(wanted["values"], abs=1e-9)
            assert len(wanted["curve"]) == len(found.curve.threshold)
            for i, row in enumerate(wanted["curve"]):
                counts = dict(zip(COUNTS, found.curve.counts[i].tolist(), strict=True))
                known = {k for k in counts if k in row}
                assert {k: counts[k] for k in known} == {k: row[k] for k in known}, (key, name, i)
                assert found.curve.smota[i] == pytest.approx(row["smota"], abs=1e-12)
                assert found.curve.threshold[i] == pytest.approx(row["score"], abs=1e-12)
            compared += 1
    assert compared == 9  # three classes, three thresholds


def test_perfect_tracks() -> None:
    truth = side([(f, o, 10.0 * o, 0.0) for f in range(40) for o in range(3)], 40)
    found = side([(f, 7 + o, 10.0 * o, 0.75 - 0.25 * o) for f in range(40) for o in range(3)], 40)
    result = evaluate_recall(truth, found, 0.5)
    assert (result.values["mota"], result.values["motp"], result.values["mt"]) == (1.0, 1.0, 1.0)
    counts = {"tp": 120, "fn": 0, "fp": 0, "ids": 0, "frag": 0, "mt_count": 3, "objects": 120, "tracks": 120}
    assert {name: result.counts[name] for name in counts} == counts
    assert len(result.curve.threshold) == 40
    assert result.values["samota"] == 1.0


def test_a_mean_score_that_moves_in_its_last_bit() -> None:
    # As officially, means of means: 0.7 added 40 times and divided by 40 is below 0.7. The track misses its threshold.
    truth = side([(f, 0, 0.0, 0.0) for f in range(40)], 40)
    found = side([(f, 0, 0.0, 0.7) for f in range(40)], 40)
    result = evaluate_recall(truth, found, 0.5)
    assert sum([0.7] * 40) / 40 < 0.7
    assert result.values["samota"] < 1e-9
    assert result.curve.counts[0, COUNTS.index("tp")] == 0


def test_switch_gap_ghost_by_hand() -> None:
    truth = side([(f, 0, 0.0, 0.0) for f in range(10)], 10)
    rows = [(f, 1, 0.0, 0.8) for f in (0, 1, 2)] + [(f, 2, 0.0, 0.7) for f in (3, 4, 6, 7, 8, 9)] + [(6, 3, 50.0, 0.75)]
    result = evaluate_recall(truth, side(sorted(rows), 10), 0.25)
    # One switch (2 -> 3), one hole of one frame (5), one ghost that is scored between the two tracks.
    counts = {"tp": 9, "fn": 1, "fp": 1, "ids": 1, "frag": 2, "mt_count": 1, "objects": 10}
    assert {name: result.counts[name] for name in counts} == counts
    assert result.values["mota"] == pytest.approx(0.7)
    assert result.values["threshold"] == pytest.approx(0.7)
    assert (result.values["recall"], result.values["precision"]) == (0.9, 0.9)


def test_ignored_objects_are_neither_wanted_nor_punished() -> None:
    truth = side([(f, o, 10.0 * o, 0.0) for f in range(4) for o in range(2)], 4, ignored=[1, 3, 5, 7])
    alone = side([(f, 0, 0.0, 0.9) for f in range(4)], 4)
    result = evaluate_recall(truth, alone, 0.5)
    assert (result.values["mota"], result.counts["fn"], result.counts["ifn"]) == (1.0, 0, 4)
    both = side([(f, o, 10.0 * o, 0.9) for f in range(4) for o in range(2)], 4)
    result = evaluate_recall(truth, both, 0.5)
    assert (result.values["mota"], result.counts["fp"], result.counts["itp"], result.counts["tp"]) == (1.0, 0, 4, 8)
    beside = side([(f, o, 10.0 * o + 30.0 * o, 0.9) for f in range(4) for o in range(2)], 4)
    assert evaluate_recall(truth, beside, 0.5).counts["fp"] == 4
    pardoned = MotBoxes(beside.start, beside.boxes, beside.track, beside.score, beside.track == 1)
    result = evaluate_recall(truth, pardoned, 0.5)
    assert (result.counts["fp"], result.counts["itr"]) == (0, 4)


def test_as_many_pairs_as_possible_then_the_best() -> None:
    # The nearest pair (object 0, track 1) would leave object 1 alone: two pairs are better than one.
    truth = side([(0, 0, 0.0, 0.0), (0, 1, 0.5, 0.0)], 1)
    found = side([(0, 0, -0.4, 0.9), (0, 1, 0.05, 0.9)], 1)
    result = evaluate_recall(truth, found, 0.25)
    assert result.counts["tp"] == 2
    assert result.values["motp"] == pytest.approx((0.6 / 1.4 + 0.55 / 1.45) / 2)


def test_nothing_at_all() -> None:
    nothing = side([], 5)
    truth = side([(f, 0, 0.0, 0.0) for f in range(5)], 5)
    empty = evaluate_recall(nothing, nothing, 0.5)
    assert all(math.isnan(v) for v in empty.values.values())
    assert set(empty.flat().values()) == {None, 0, 5}
    lost = evaluate_recall(truth, nothing, 0.5)
    assert (lost.values["mota"], lost.values["samota"], lost.values["recall"], lost.counts["fn"]) == (0.0, 0.0, 0.0, 5)
    assert lost.counts["ml_count"] == 1
    ghosts = evaluate_recall(nothing, side([(0, 0, 0.0, 0.5)], 5), 0.5)
    assert (ghosts.counts["fp"], ghosts.flat()["mota"]) == (1, None)
    no_frames = evaluate_recall(side([], 0), side([], 0), 0.5)
    assert no_frames.counts["frames"] == 0


def test_one_frame() -> None:
    truth = side([(0, 0, 0.0, 0.0), (0, 1, 5.0, 0.0)], 1)
    result = evaluate_recall(truth, side([(0, 4, 0.1, 0.6)], 1), 0.5)
    assert (result.counts["tp"], result.counts["fn"], result.counts["ids"], result.counts["frag"]) == (1, 1, 0, 0)
    assert result.values["motp"] == pytest.approx(0.9 / 1.1)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="track 3 has two boxes in frame 1"):
        side([(0, 3, 0.0, 0.5), (1, 3, 0.0, 0.5), (1, 3, 9.0, 0.5)], 2)
    good = side([(0, 0, 0.0, 0.5)], 1)
    with pytest.raises(ValueError, match="frames of truth"):
        overlap_pairs(good, side([], 2), 0.5)
    with pytest.raises(ValueError, match="least IoU"):
        evaluate_recall(good, good, 0.0)
    with pytest.raises(ValueError, match="not finite"):
        side([(0, 0, np.nan, 0.5)], 1)
    with pytest.raises(ValueError, match="below 0"):
        side([(0, -1, 0.0, 0.5)], 1)
    with pytest.raises(ValueError, match="frames must rise"):
        side([(2, 0, 0.0, 0.5)], 2)
    boxes = good.boxes.copy()
    boxes[0, 4] = 0.0
    with pytest.raises(ValueError, match="side that is not positive"):
        MotBoxes(good.start, boxes, good.track, good.score, good.ignored)
    labels, tracks = parse([make_sequence(0, 10)], [10])
    with pytest.raises(ValueError, match="no class 'tram'"):
        kitti_sides(labels, tracks, "tram")


def test_thresholds_step_by_a_fortieth_of_recall() -> None:
    thresholds, recalls = recall_thresholds(np.linspace(0, 1, 400), 400)
    assert len(thresholds) == 40
    np.testing.assert_allclose(recalls, np.arange(1, 41) / 40)
    assert len(recall_thresholds(np.linspace(0, 1, 200), 400)[0]) == 20
    assert len(recall_thresholds(np.zeros(0), 0)[0]) == 0


def test_input_is_left_alone_and_the_result_repeats() -> None:
    labels, tracks = parse([make_sequence(5, 40)], [40])
    truth, found = kitti_sides(labels, tracks, "car")
    before = found.score.copy()
    first, second = (evaluate_recall(truth, found, 0.25) for _ in range(2))
    np.testing.assert_array_equal(found.score, before)
    assert first.flat() == second.flat()
