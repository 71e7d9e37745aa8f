"""The page of a run: complete, self-contained, with the numbers of the score."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from drive.boxes.detections import DetectionSet
from drive.errors import UserError
from drive.samples.classes import NUSCENES_CLASSES
from drive.scores.ground_truth import load_ground_truth
from drive.scores.report import Provenance, Report, score_detections
from drive.view import report as view_report
from drive.view.charts import line_chart
from drive.view.frames import badness, choose_frames
from drive.view.report import RunSummary, read_history, write_report


class Reader(HTMLParser):
    """Collects what a page asks from outside, its text, and whether its elements close."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outside += [v for k, v in attrs if k in ("src", "href", "action") and v]
        if tag not in ("meta", "input", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def detections(x: float, false_boxes: int) -> DetectionSet:
    """The car of both frames with an error of ``x`` metres, and cars where there is none."""
    frame = np.concatenate([[[21.0 + x, 0, 1, 4, 2, 2, 0, 10, 0]], *[[[10.0, 20, 1, 4, 2, 2, 0, 0, 0]]] * false_boxes])
    n = len(frame)
    return DetectionSet(
        ("car",), ["drive-1/token0", "drive-1/token1"], ["drive-1"] * 2, [0, 1], np.array([0, n, n + 1]),
        np.concatenate([frame, frame[:1]]).astype(np.float32), np.full(n + 1, 0.5, np.float32),
        np.zeros(n + 1, np.int64),
    )  # fmt: skip


def score(log: Path, x: float, false_boxes: int = 0) -> Report:
    truth = load_ground_truth([log], NUSCENES_CLASSES)
    return score_detections(detections(x, false_boxes), truth, Provenance((3,), "0123456789ab", "x"))


def history(steps: int) -> list[dict[str, float]]:
    return [
        {"step": s, "progress": s / steps, "loss": 1 / (s + 1), "lr": 1e-3, "time": float("nan")} for s in range(steps)
    ]


def read(path: Path) -> tuple[Reader, list[dict]]:
    page = path.read_text()
    reader = Reader()
    reader.feed(page)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    return reader, json.loads(data.group(1))


def test_two_runs_side_by_side(camera_log: Path, tmp_path: Path) -> None:
    runs = [
        RunSummary("one", score(camera_log, 0.3), history(50), '{"x": "</script><b>"}', {"seconds": 12.5}),
        RunSummary("<two>", score(camera_log, 3.0, 1), history(20)),
    ]
    out = tmp_path / "report.html"
    write_report(out, runs, [camera_log], title="A & B", text="tried twice", width_px=200)
    reader, frames = read(out)
    assert reader.outside == []
    assert reader.open == []
    assert "http" not in re.sub(r"data:image/webp;base64,[^\"]+", "", out.read_text())
    text = " ".join(reader.text)
    for expected in ("A & B", "tried twice", "one", "<two>", "NDS", "mAAE", "car", "0123456789ab", "12.500"):
        assert expected in text
    assert len(frames) == 2
    assert frames[0]["index"] == 0  # the false box makes it the worst
    assert [frame["false"][1] for frame in frames] == [2, 1]
    assert all(picture.startswith("data:image/webp;base64,") for f in frames for picture in f["above"] + f["ahead"])
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_no_camera_no_history_no_predictions(camera_log: Path, tmp_path: Path) -> None:
    none = dataclasses.replace(
        detections(0, 0), offsets=np.zeros(3, int), boxes=np.zeros((0, 9), np.float32), scores=np.zeros(0, np.float32),
        labels=np.zeros(0, np.int64), velocity_valid=np.zeros(0, bool), features=np.zeros((0, 0), np.float32),
    )  # fmt: skip
    report = score_detections(none, load_ground_truth([camera_log], NUSCENES_CLASSES))
    write_report(
        tmp_path / "r.html", [RunSummary("empty", report)], [camera_log], title="t", camera=False, width_px=100
    )
    reader, frames = read(tmp_path / "r.html")
    assert "No training log." in " ".join(reader.text)
    assert [frame["ahead"] for frame in frames] == [[None], [None]]
    assert [frame["missed"] for frame in frames] == [[1], [1]]


def test_size_is_bounded(camera_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_report, "MAX_BYTES", 400_000)
    write_report(tmp_path / "r.html", [RunSummary("a", score(camera_log, 0))], [camera_log], title="t", width_px=100)
    reader, frames = read(tmp_path / "r.html")
    assert frames == []
    assert "0 of 2 frames" in " ".join(reader.text)


def test_runs_over_different_frames_are_refused(camera_log: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same frames"):
        write_report(tmp_path / "r.html", [], [camera_log], title="t")


def test_run_folder(camera_log: Path, tmp_path: Path) -> None:
    run = tmp_path / "myrun"
    run.mkdir()
    bare = RunSummary.of_folder(run, score(camera_log, 0))
    assert (bare.name, list(bare.history), bare.config) == ("myrun", [], "")
    (run / "config.json").write_text("{}")
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo')
    full = RunSummary.of_folder(run, score(camera_log, 0), "name", {"a": 1})
    assert (full.name, list(full.history), full.config) == ("name", [{"step": 1, "loss": 2}], "{}")
    (run / "metrics.jsonl").write_text('{"step": 1, "lo\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl:1"):
        read_history(run / "metrics.jsonl")


def test_frames_worst_first_and_spread(camera_log: Path) -> None:
    report = score(camera_log, 0)
    bad = np.arange(100) % 7
    fake = dataclasses.replace(
        report, metrics=dataclasses.replace(report.metrics, missed=bad, false=np.zeros(100, int))
    )
    rows = choose_frames([fake], 20)
    assert len(rows) == 20
    assert len(set(rows)) == 20
    assert (np.diff(bad[rows]) <= 0).all()
    assert (bad[rows[:10]] == 6).all()
    assert max(rows) > 80
    assert len(choose_frames([fake], 500)) == 100
    assert badness([fake, fake]).tolist() == (2 * bad).tolist()


def test_charts() -> None:
    chart = line_chart(
        "loss <1>", {"a": [(0, 1.0), (1, 10.0), (2, float("nan"))], "b": []}, logarithmic=True, x_name="step"
    )
    assert chart.startswith("<svg")
    assert "loss &lt;1&gt;" in chart
    assert chart.count("<polyline") == 1
    assert "nan" not in chart
    assert line_chart("x", {"a": []}) == ""
    assert "<polyline" in line_chart("flat", {"a": [(0, 3.0), (5, 3.0)]})
    assert "<polyline" in line_chart("point", {"a": [(0, 0.0)]})
    long = line_chart("long", {"a": [(i, i * i) for i in range(10_000)]})
    assert len(long) < 12_000
