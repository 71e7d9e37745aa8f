"""Which labels a picture calls followed, where identities changed, and the page: what is in it and how small it is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drive.logs.store import Log
from drive.logs.writer import LogWriter
from drive.samples.classes import ClassMap
from drive.scores.ground_truth import load_ground_truth
from drive.scores.nuscenes_tracking_boxes import load_tracking_truth
from drive.tracks.sequence import TrackSet, join_sets
from drive.view import track_report
from drive.view.track_match import best_scores, match, read_truth
from drive.view.track_report import write_track_report
from tests.view.track_logs import tracked, tracks_of, with_a_switch, write_log

CARS = ClassMap(("car",), {"vehicle.car": "car"})
ALL = np.array([-np.inf])


def data_of(page: str) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    data: list[dict[str, Any]] = json.loads(found[1].replace("<\\/", "</"))
    return data


def test_pairs_switches_and_what_is_neutral(tmp_path: Path) -> None:
    path = write_log(tmp_path)
    tracks = with_a_switch(path)
    truth = read_truth(Log.open(path), tracks.frame_indices, CARS)
    assert truth.offsets.tolist() == [0, 2, 4, 6, 8]  # the van and the ego itself are no cars to be found
    found = match(tracks, truth, ALL)
    assert found.found.tolist() == [True, True, True, False, True, True, True, True]
    assert found.false.tolist() == [False, False, False, True, False, False, False, False, False]
    assert found.pair.tolist() == [0, 1, -1, -1, 2, 4, 5, 6, 7]
    (switch,) = found.switches  # b's gap is none
    assert (switch.frame, switch.before, switch.after, switch.x, switch.y) == (
        2,
        1,
        7,
        pytest.approx(0),
        pytest.approx(14),
    )
    high = match(tracks, truth, np.array([0.65]))
    assert high.shown.tolist() == [True, True, True, False, True, False, True, False, True]
    assert high.switches == ()
    assert high.false.sum() == 0


def test_a_pair_stays_although_another_is_nearer(tmp_path: Path) -> None:
    path = write_log(tmp_path, frames=2)
    frames = [tracked(0, [1], [(0, 10)], [1.0]), tracked(1, [1, 2], [(0, 13.5), (0, 12)], [1.0, 1.0])]
    tracks = tracks_of(path, frames)
    found = match(tracks, read_truth(Log.open(path), [0, 1], CARS), ALL)
    assert found.pair.tolist() == [0, 2, -1]
    assert found.switches == ()


def test_the_score_where_right_boxes_outnumber_wrong_ones_most() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.7, 0.5, 0.4])
    right = np.array([True, True, True, False, True, False])
    assert best_scores(scores, np.zeros(6, np.int64), right, 2).tolist() == [0.5, np.inf]
    assert best_scores(scores, np.zeros(6, np.int64), ~right, 1).tolist() == [np.inf]
    assert best_scores(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool), 1).tolist() == [np.inf]


def test_the_page(tmp_path: Path) -> None:
    path, good = write_log(tmp_path, "street"), write_log(tmp_path, "avenue")
    places = [[(0.0, 10.0 + 2 * k), (8.0, 0.0)] for k in range(4)]
    perfect = tracks_of(good, [tracked(k, [5, 6], places[k], [0.9, 0.9]) for k in range(4)])
    tracks = join_sets([perfect, with_a_switch(path)])
    head = (("class", "AMOTA"), ("car", "0.5"))
    write_track_report(tmp_path / "r.html", tracks, [good, path], CARS, "a <tracker>", head, "of nothing")
    page = (tmp_path / "r.html").read_text()
    assert "<h1>a &lt;tracker&gt;</h1>" in page
    assert "<td>car</td><td>0.5</td>" in page
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)
    worst, best = data_of(page)  # the log with the errors comes first
    assert page.index("<h2>street") < page.index("<h2>avenue")
    assert (worst["anchor"], best["anchor"]) == ("log0", "log1")
    assert best["switches"] == []
    # Frame 2: car a at (0, 14) changes from 1 to 7. The origin is the ego's first place.
    assert [s[:1] + s[1:4] + s[5:] for s in worst["switches"]] == [[2, 0, 1400, 0, 1, 7]]
    assert worst["first"] == 2
    assert worst["times"] == [0, 0.5, 1, 1.5]
    assert worst["ego"][3] == [0, 600, 1571]
    one = next(rows for head, rows in worst["tracks"] if head[0] == 2)
    # Frame, x and y (cm) as differences; yaw in hundredths, velocity in decimetres a second, state.
    assert one == [0, 850, 0, 157, 0, 40, 1, 2, -50, 0, 157, 0, 40, 1, 1, 0, 0, 157, 0, 40, 1]
    assert [head[0] for head, _ in worst["tracks"]] == [1, 2, 3, 7]  # id 4 lies below the score that is shown
    assert [rows[4::5] for _, rows in worst["truth"]] == [[1, 1, 1, 1], [1, 0, 1, 1]]
    assert "car 0.60" in page
    assert "No poses" not in page


def test_a_log_without_poses_says_so(tmp_path: Path) -> None:
    path = write_log(tmp_path, frames=1)  # the first pose turns by a quarter: that is one
    tracks = tracks_of(path, [tracked(0, [1], [(0, 10)], [1.0])])
    write_track_report(tmp_path / "r.html", tracks, [path], CARS, "turned")
    assert "No poses" not in (tmp_path / "r.html").read_text()
    with LogWriter(tmp_path, "bare", dataset="x", source_version="1", licence="CC0-1.0", split="val") as log:
        still = {"pose_translation": [0, 0, 0], "pose_rotation": [1, 0, 0, 0]}
        log.add_frame(0, rows={}, source_timestamp=0, source_token="a", **still)
    bare = tmp_path / "bare"
    write_track_report(tmp_path / "r.html", tracks_of(bare, [tracked(0, [1], [(9, 0)], [1.0])]), [bare], CARS, "still")
    page = (tmp_path / "r.html").read_text()
    assert "No poses: all is seen from the ego" in page
    assert data_of(page)[0]["ahead"]


def test_logs_without_labels_and_without_tracks(tmp_path: Path) -> None:
    path = write_log(tmp_path, labels=False)
    write_track_report(tmp_path / "r.html", with_a_switch(path), [path], CARS, "bare")
    page = (tmp_path / "r.html").read_text()
    (log,) = data_of(page)
    assert not log["labelled"]
    assert len(log["tracks"]) == 5  # every box is shown
    assert "no labels of these classes" in page
    nothing = tracks_of(path, [tracked(k, [], [], []) for k in range(4)])
    write_track_report(tmp_path / "r.html", nothing, [path], CARS, "empty")
    assert data_of((tmp_path / "r.html").read_text())[0]["tracks"] == []
    none = TrackSet.join(("car",), [], [], [], [])
    write_track_report(tmp_path / "r.html", none, [path], CARS, "no frame")
    assert data_of((tmp_path / "r.html").read_text())[0]["times"] == []


def test_what_does_not_fit_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, good = write_log(tmp_path, "street"), write_log(tmp_path, "avenue")
    tracks = with_a_switch(path)
    both = join_sets([replace(tracks, logs=["avenue"] * 4), tracks])
    monkeypatch.setattr(track_report, "MAX_BYTES", 1200)
    write_track_report(tmp_path / "r.html", both, [good, path], CARS, "large")
    page = (tmp_path / "r.html").read_text()
    assert len(data_of(page)) == 1
    assert "street: left out, the page would be too large." in page


def test_the_recording_vehicle_is_no_label_in_scores(tmp_path: Path) -> None:
    path = write_log(tmp_path)
    assert len(load_ground_truth([path], CARS).boxes) == 8
    _, truth = load_tracking_truth([path], CARS)
    assert len(np.unique(truth.track)) == 2
