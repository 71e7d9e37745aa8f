"""KITTI AP against an independent, literal walk through the benchmark's rules with shapely's polygons."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.geometry.box import corners_bev
from drive.scores.kitti import EASY, HARD, MODERATE, PLAIN, Difficulty, KittiBoxes, average_precision

CAR, PEDESTRIAN = 0, 1


def make(n: int, **columns: np.ndarray) -> KittiBoxes:
    zeros = np.zeros(n, np.int64)
    default = {
        "frame": zeros, "boxes": np.tile([10.0, 0, 0, 4, 2, 1.5, 0, 0, 0], (n, 1)), "label": zeros,
        "neighbour": zeros - 1, "image_box": np.tile([100.0, 100, 200, 200], (n, 1)), "score": np.zeros(n),
        "truncation": np.zeros(n),
        "occlusion": zeros, "num_points": zeros + 100,
    }  # fmt: skip
    return KittiBoxes(**(default | columns))


def iou(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    p, q = (shapely.Polygon(corners_bev(x[None])[0]) for x in (a, b))
    shared, area = p.intersection(q).area, p.area + q.area
    if metric == "bev":
        return shared / (area - shared)
    shared *= max(0.0, min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2))
    return shared / (p.area * a[5] + q.area * b[5] - shared)


def image_shared(a: np.ndarray, b: np.ndarray) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def image_area(a: np.ndarray) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def literal(
    truth: KittiBoxes, dets: KittiBoxes, frames: int, label: int, rule: Difficulty, metric: str, min_overlap: float,
    recall_points: int, care_frame: np.ndarray, care: np.ndarray,
) -> float:  # fmt: skip
    """One object, one detection, one threshold at a time."""

    @functools.cache
    def overlap(g: int, d: int) -> float:
        if metric == "image":
            a, b = truth.image_box[g], dets.image_box[d]
            return image_shared(a, b) / (image_area(a) + image_area(b) - image_shared(a, b))
        return iou(truth.boxes[g], dets.boxes[d], metric)

    def truth_state(g: int) -> str:
        if truth.label[g] != label and truth.neighbour[g] != label:
            return "other"
        height = truth.image_box[g][3] - truth.image_box[g][1]
        hard = truth.occlusion[g] > rule.max_occlusion or truth.truncation[g] > rule.max_truncation
        hard = hard or (rule.min_height_px is not None and height <= rule.min_height_px)
        hard = hard or truth.num_points[g] < rule.min_points
        return "wanted" if truth.label[g] == label and not hard else "ignored"

    def det_state(d: int) -> str:
        height = int(abs(dets.image_box[d][3] - dets.image_box[d][1]))
        if rule.min_height_px is not None and height < rule.min_height_px:
            return "ignored"
        return "wanted" if dets.label[d] == label else "other"

    total = sum(truth_state(g) == "wanted" for g in range(len(truth)))

    def run(threshold: float | None) -> tuple[int, int, list[float]]:
        tp, fp, scores = 0, 0, []
        for f in range(frames):
            objects = [g for g in range(len(truth)) if truth.frame[g] == f and truth_state(g) != "other"]
            mine = [d for d in range(len(dets)) if dets.frame[d] == f and det_state(d) != "other"]
            free = [d for d in mine if threshold is None or dets.score[d] >= threshold]
            for g in objects:
                fits = [d for d in free if overlap(g, d) > min_overlap]
                if not fits:
                    continue
                if threshold is None:
                    choice = max(fits, key=lambda d: dets.score[d])
                else:
                    good = [d for d in fits if det_state(d) == "wanted"]
                    choice = max(good, key=lambda d: overlap(g, d)) if good else fits[0]
                free.remove(choice)
                if truth_state(g) == "wanted" and det_state(choice) == "wanted":
                    tp += 1
                    scores.append(dets.score[choice])
            for d in free:
                if det_state(d) != "wanted":
                    continue
                regions = [care[r] for r in range(len(care)) if care_frame[r] == f] if metric == "image" else []
                box = dets.image_box[d]
                if not any(image_shared(box, region) / image_area(box) > min_overlap for region in regions):
                    fp += 1
        return tp, fp, scores

    hits = sorted(run(None)[2], reverse=True)
    thresholds, recall = [], 0.0
    for i, score in enumerate(hits):
        left, right = (i + 1) / total, (i + 2) / total if i < len(hits) - 1 else (i + 1) / total
        if (right - recall) < (recall - left) and i < len(hits) - 1:
            continue
        thresholds.append(score)
        recall += 1 / 40
    curve = [0.0] * 41
    for i, threshold in enumerate(thresholds):
        tp, fp, _ = run(threshold)
        curve[i] = tp / (tp + fp) if tp + fp else 0.0
    curve = [max(curve[i:]) for i in range(41)]
    return sum(curve[1:]) / 40 if recall_points == 40 else sum(curve[::4]) / 11


def scene(rng: np.random.Generator, frames: int, objects: int, detections: int) -> tuple[KittiBoxes, KittiBoxes]:
    n = frames * objects
    boxes = np.column_stack(
        [
            rng.uniform(0, 20, (n, 2)), rng.normal(0, 0.2, n), rng.uniform(3, 5, n), rng.uniform(1.5, 2.5, n),
            rng.uniform(1.4, 2, n), rng.uniform(-np.pi, np.pi, n), np.zeros((n, 2)),
        ]
    )  # fmt: skip

    def rectangles(n: int) -> np.ndarray:
        corner, size = rng.uniform(0, 200, (n, 2)), rng.uniform(15, 80, (n, 2))
        return np.concatenate([corner, corner + size], axis=1)

    kind = rng.choice(4, n, p=[0.6, 0.15, 0.15, 0.1])  # car, pedestrian, van, something else
    truth = make(
        n, frame=np.repeat(np.arange(frames), objects), boxes=boxes, label=np.where(kind < 2, kind, -1),
        neighbour=np.where(kind == 2, CAR, -1), image_box=rectangles(n), truncation=rng.choice([0, 0.2, 0.4, 0.9], n),
        occlusion=rng.integers(0, 4, n), num_points=rng.integers(0, 12, n),
    )  # fmt: skip
    m = frames * detections
    frame = np.repeat(np.arange(frames), detections)
    source = frame * objects + rng.integers(0, objects, m)
    near = boxes[source] + rng.normal(0, 0.12, (m, 9)) * [1, 1, 1, 0.3, 0.3, 0.3, 0.3, 0, 0]
    image = truth.image_box[source] + rng.normal(0, 2, (m, 4))
    return truth, make(
        m, frame=frame, boxes=near, image_box=image, label=rng.choice([CAR, PEDESTRIAN], m, p=[0.8, 0.2]),
        score=rng.choice([rng.random(), 0.3, 0.5, 0.8], m) if rng.random() < 0.3 else rng.random(m),
    )  # fmt: skip


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(["3d", "bev", "image"]),
    rule=st.sampled_from([EASY, MODERATE, HARD, PLAIN]),
    points=st.sampled_from([40, 11]),
    label=st.sampled_from([CAR, PEDESTRIAN]),
)
def test_against_literal_rules(seed: int, metric: str, rule: Difficulty, points: int, label: int) -> None:
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(1, 5))
    truth, dets = scene(rng, frames, int(rng.integers(1, 5)), int(rng.integers(1, 7)))
    care_frame = rng.integers(0, frames, 2)
    care = np.array([[0.0, 0, 120, 120], [100, 100, 250, 250]])
    ours = average_precision(
        truth, dets, frames, label, rule, metric=metric, min_overlap=0.5, recall_points=points,
        dont_care_frame=care_frame, dont_care=care,
    )  # fmt: skip
    assert ours.ap == pytest.approx(
        literal(truth, dets, frames, label, rule, metric, 0.5, points, care_frame, care), abs=1e-12
    )


def column(*values: float) -> np.ndarray:
    return np.array(values)


def test_by_hand() -> None:
    """40 cars in 40 frames, 20 found, one false box with a score of 0.2."""
    truth = make(40, frame=np.arange(40))
    dets = make(21, frame=np.concatenate([np.arange(20), [20]]), score=np.concatenate([np.linspace(1, 0.1, 20), [0.2]]))
    dets.boxes[20, 0] = 90.0
    found = average_precision(truth, dets, 40, CAR, MODERATE, min_overlap=0.7)
    # Twenty thresholds. Precision is 1 at the 17 above 0.2, then 18 of 19, 19 of 20, 20 of 21, lifted to the last.
    assert len(found.thresholds) == 20
    assert found.ap == pytest.approx((16 + 3 * 20 / 21) / 40)


def test_few_objects_official_and_exact() -> None:
    """The official sampling cannot reach 1 with 20 objects; the definition's does."""
    truth = make(20, frame=np.arange(20))
    dets = make(20, frame=np.arange(20), score=np.linspace(0.9, 0.1, 20))
    assert average_precision(truth, dets, 20, CAR, PLAIN, min_overlap=0.5).ap == pytest.approx(19 / 40)
    assert average_precision(truth, dets, 20, CAR, PLAIN, min_overlap=0.5, sampling="exact").ap == 1.0
    half = dets.take(np.arange(20) < 10)
    assert average_precision(truth, half, 20, CAR, PLAIN, min_overlap=0.5, sampling="exact").ap == 0.5


def test_exact_agrees_with_official_on_many_objects() -> None:
    rng = np.random.default_rng(2)
    truth, dets = scene(rng, 400, 4, 5)
    official, exact = (
        average_precision(truth, dets, 400, CAR, PLAIN, min_overlap=0.5, sampling=s).ap for s in ("official", "exact")
    )
    assert official == pytest.approx(exact, abs=0.02)
    assert 0.2 < exact < 0.95


def test_points_rule_ignores_instead_of_wanting() -> None:
    truth = make(2, num_points=np.array([5, 4]), frame=np.array([0, 1]))
    dets = make(2, frame=np.array([0, 1]), score=column(0.4, 0.9))
    found = average_precision(truth, dets, 2, CAR, PLAIN, min_overlap=0.5, sampling="exact")
    assert (found.num_truth, found.ap) == (1, 1.0)


def test_van_neither_helps_nor_harms() -> None:
    truth = make(2, label=np.array([CAR, -1]), neighbour=np.array([-1, CAR]), frame=np.array([0, 1]))
    dets = make(2, frame=np.array([0, 1]), score=column(0.4, 0.9))
    assert average_precision(truth, dets, 2, CAR, HARD, min_overlap=0.7, sampling="exact").ap == 1.0
    other = make(2, label=np.array([CAR, -1]), frame=np.array([0, 1]))
    assert average_precision(other, dets, 2, CAR, HARD, min_overlap=0.7, sampling="exact").ap == 0.5


def test_empty() -> None:
    empty = make(0)
    for truth, dets in ((empty, empty), (make(1), empty), (empty, make(1))):
        for metric in ("3d", "bev", "image"):
            for sampling in ("official", "exact"):
                found = average_precision(truth, dets, 3, CAR, EASY, metric=metric, min_overlap=0.7, sampling=sampling)
                assert found.ap == 0.0


def test_unknown_metric() -> None:
    with pytest.raises(ValueError, match="unknown metric"):
        average_precision(make(1), make(1), 1, CAR, EASY, metric="4d", min_overlap=0.5)


def test_first_of_equal_scores_takes_the_object() -> None:
    """Two detections of one score on one object; the first, which overlaps less, sets the threshold either way."""
    truth = make(2, frame=np.array([0, 0]))
    truth.boxes[1, 0] = 14.5
    dets = make(2, score=column(0.5, 0.5))
    dets.boxes[:, 0] = [12.0, 10.0]  # the first overlaps both objects by a third or less, the second only the first
    found = average_precision(truth, dets, 1, CAR, PLAIN, min_overlap=0.1, sampling="exact")
    # First pass: the first detection goes to the first object, the second then has no object: one threshold.
    assert found.thresholds.tolist() == [0.5]
    assert found.ap == 1.0
    official = average_precision(truth, dets, 1, CAR, PLAIN, min_overlap=0.1)
    assert len(official.thresholds) == 1


def test_low_detection_gives_way_to_a_wanted_one() -> None:
    """A detection below the minimum height overlaps more, but the object is counted as found by the other."""
    truth = make(1)
    dets = make(2, score=column(0.9, 0.8), image_box=np.array([[100.0, 100, 200, 110], [100, 100, 200, 200]]))
    dets.boxes[1, 0] = 10.3
    found = average_precision(truth, dets, 1, CAR, MODERATE, min_overlap=0.7, sampling="exact")
    assert found.num_detections == 1
    # The first pass gives the object to the low one, so there is no threshold at all: the official order of things.
    assert found.ap == 0.0
    dets = make(2, score=column(0.7, 0.8), image_box=dets.image_box)
    dets.boxes[1, 0] = 10.3
    assert average_precision(truth, dets, 1, CAR, MODERATE, min_overlap=0.7, sampling="exact").ap == 1.0


def test_heights_at_the_limit() -> None:
    """25 px are too low for an object and high enough for a detection."""
    low, high = [100.0, 100, 200, 125], [100.0, 100, 200, 126]
    truth = make(2, frame=np.array([0, 1]), image_box=np.array([low, high]))
    dets = make(2, frame=np.array([0, 1]), score=column(0.9, 0.8), image_box=np.array([low, low]))
    found = average_precision(truth, dets, 2, CAR, MODERATE, min_overlap=0.7, sampling="exact")
    assert (found.num_truth, found.num_detections, found.ap) == (1, 2, 1.0)


def test_false_box_in_a_dont_care_region() -> None:
    """Pardoned in the image metric if more than half of it lies inside; not in 3D."""
    truth = make(1)
    dets = make(2, score=column(0.5, 0.9), image_box=np.array([[100.0, 100, 200, 200], [300, 100, 400, 200]]))
    dets.boxes[1, 0] = 40.0

    def ap(metric: str, left: float) -> float:
        return average_precision(
            truth, dets, 1, CAR, EASY, metric=metric, min_overlap=0.5, sampling="exact",
            dont_care_frame=np.array([0]), dont_care=np.array([[left, 0, 900, 900]]),
        ).ap  # fmt: skip

    assert ap("image", 340.0) == 1.0
    assert ap("image", 360.0) == 0.5
    assert ap("3d", 340.0) == 0.5
