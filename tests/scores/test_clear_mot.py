"""Plain CLEAR MOT against py-motmetrics on the same frames, HOTA against numbers of TrackEval, and both by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from drive.scores.clear_mot import evaluate_clear, without_ignored
from drive.scores.clear_mot_boxes import MotBoxes, centre_pairs, overlap_pairs
from drive.scores.hota import ALPHAS, CURVES, evaluate_hota, similarity_of
from drive.scores.nuscenes_tracking_match import Pairs
from tests.scores.mot_world import hota_cases
from tests.scores.test_clear_mot_recall import side

GOLDEN = Path(__file__).parent.parent / "golden" / "trackeval_hota.json"
CASES = hota_cases()


@pytest.mark.parametrize("case", [name for name in CASES if name.endswith("distance") or "car" in name])
def test_clear_mot_equal_to_motmetrics(case: str) -> None:
    truth, tracks = CASES[case][:2]
    pairs = centre_pairs(truth, tracks, 1.0) if case.endswith("distance") else overlap_pairs(truth, tracks, 0.5)
    found = evaluate_clear(truth, tracks, pairs)
    pytest.importorskip("motmetrics", reason="py-motmetrics is not installed (extra nuscenes)")
    from tests.official.motmetrics_peer import figures

    official = figures(truth, tracks, pairs)
    assert {name: (found.counts | found.values)[name] for name in official} == pytest.approx(official, abs=1e-12)
    assert found.counts["ids"] + found.counts["frag"] > 0  # else the case shows little


@pytest.mark.parametrize("case", CASES)
def test_hota_equal_to_trackeval(case: str) -> None:
    truth, tracks, pairs, similarity, _ = CASES[case]
    found = evaluate_hota(truth, tracks, pairs, similarity)
    official = json.loads(GOLDEN.read_text())[case]
    for name, ours in (("HOTA_TP", found.tp), ("HOTA_FN", found.fn), ("HOTA_FP", found.fp)):
        np.testing.assert_array_equal(ours, official[name])
    titles = {"hota": "HOTA", "deta": "DetA", "assa": "AssA", "detre": "DetRe", "detpr": "DetPr", "assre": "AssRe"}
    titles |= {"asspr": "AssPr", "loca": "LocA", "owta": "OWTA"}
    for name in CURVES:
        np.testing.assert_allclose(found.curves[name], official[titles[name]], rtol=0, atol=1e-12, err_msg=name)
    for name, theirs in (("hota0", "HOTA(0)"), ("loca0", "LocA(0)"), ("hotaloca0", "HOTALocA(0)")):
        assert found.values[name] == pytest.approx(official[theirs], abs=1e-12)


def test_hota_by_hand() -> None:
    # One object of ten frames, followed by two tracks of five frames each, always exactly.
    truth = side([(f, 0, 0.0, 0.0) for f in range(10)], 10)
    tracks = side([(f, int(f >= 5), 0.0, 0.5) for f in range(10)], 10)
    pairs = overlap_pairs(truth, tracks, 1e-9)
    found = evaluate_hota(truth, tracks, pairs, similarity_of(pairs))
    # Each pair: 5 frames together, of 10 of the object and 5 of the track.
    assert found.values["deta"] == 1.0
    assert found.values["assa"] == pytest.approx(0.5)
    assert found.values["hota"] == pytest.approx(math.sqrt(0.5))
    assert (found.values["assre"], found.values["asspr"], found.values["loca"]) == pytest.approx((0.5, 1.0, 1.0))
    assert len(ALPHAS) == 19
    clear = evaluate_clear(truth, tracks, overlap_pairs(truth, tracks, 0.5))
    assert (clear.counts["ids"], clear.values["mota"], clear.values["idf1"]) == (1, 0.9, 0.5)


def test_similarity_by_distance() -> None:
    truth = side([(0, 0, 0.0, 0.0)], 1)
    tracks = side([(0, 0, 0.5, 0.9)], 1)
    pairs = centre_pairs(truth, tracks, 2.0)
    np.testing.assert_allclose(similarity_of(pairs, 2.0), [0.75])
    found = evaluate_hota(truth, tracks, pairs, similarity_of(pairs, 2.0))
    assert found.tp.tolist() == [1] * 15 + [0] * 4  # up to 0.75


def test_ignored_ones_are_taken_out() -> None:
    truth = side([(0, o, 10.0 * o, 0.0) for o in range(3)], 1, ignored=[1])
    tracks = side([(0, 5, 0.1, 0.9), (0, 6, 10.1, 0.9), (0, 7, 50.0, 0.9), (0, 8, 60.0, 0.9)], 1, ignored=[0, 2])
    kept = without_ignored(truth, tracks, overlap_pairs(truth, tracks, 0.5))
    # 5 is marked but matches a wanted object; 6 matches an ignored one; 7 is marked and matches nothing; 8 is false.
    assert kept[0].track.tolist() == [0, 2]
    assert kept[1].track.tolist() == [5, 8]


def test_nothing() -> None:
    nothing, one = side([], 3), side([(0, 0, 0.0, 0.5)], 3)
    for truth, tracks in ((nothing, nothing), (one, nothing), (nothing, one)):
        pairs = overlap_pairs(truth, tracks, 0.5)
        kept = without_ignored(truth, tracks, pairs)
        assert [len(side) for side in kept] == [len(truth), len(tracks)]
        clear, hota = evaluate_clear(truth, tracks, pairs), evaluate_hota(truth, tracks, pairs, similarity_of(pairs))
        assert (clear.counts["fn"], clear.counts["fp"]) == (len(truth), len(tracks))
        assert (hota.fn[0], hota.fp[0]) == (len(truth), len(tracks))
        assert math.isnan(clear.values["mota"]) == (not len(truth))
        assert math.isnan(hota.values["hota"]) == (not len(truth))
    assert evaluate_hota(one, nothing, pairs_of(one, nothing), np.zeros(0)).values["hota"] == 0.0


def pairs_of(truth: MotBoxes, tracks: MotBoxes) -> Pairs:
    return overlap_pairs(truth, tracks, 0.5)
