"""``drive track``: files, resume, failed logs, and every mistake of a user in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from drive import track
from drive.boxes.detections import DetectionSet, read_detections, write_detections
from drive.cli import main
from drive.experiment import TrackExperiment
from drive.logs.store import Log
from drive.scores.submission_tracking import read_tracking_submission
from drive.tracks.sequence import read_tracks
from tests.view.track_logs import STEP_M, tracked, tracks_of, write_log

FRAMES = 6


def detections(logs: list[Path], score: float = 0.9) -> DetectionSet:
    """Both cars of every frame, and a cone that no tracker knows."""
    boxes, labels, ids, names, indices = [], [], [], [], []
    for path in logs:
        log = Log.open(path)
        for k in range(log.num_frames):
            for label, x, y in ((0, 10.0, 0.0), (0, -STEP_M * k, -8.0), (1, 5.0, 5.0)):
                boxes.append([x, y, 0, 4, 2, 1.5, 0, 0, 0])
                labels.append(label)
            ids.append(f"{log.name}/{k}")
            names.append(log.name)
            indices.append(k)
    offsets = np.arange(len(ids) + 1) * 3
    scores = np.full(len(boxes), score, np.float32)
    return DetectionSet(
        ("car", "traffic_cone"), ids, names, indices, offsets, np.array(boxes, np.float32), scores,
        np.array(labels), np.zeros(len(boxes), bool),
    )  # fmt: skip


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write_log(tmp_path / "logs", "avenue", FRAMES)
    write_log(tmp_path / "logs", "street", FRAMES)
    found = detections([tmp_path / "logs/avenue", tmp_path / "logs/street"])
    write_detections(tmp_path / "detections.arrow", found)
    return tmp_path / "logs"


def run(logs: Path, *words: object, recipe: str = "configs.town_ab3dmot") -> int:
    base = ["track", recipe, "--logs", logs, "--out", logs.parent / "out"]
    if "--run" not in words and "--detections" not in words:
        base += ["--detections", logs.parent / "detections.arrow"]
    return main([str(word) for word in [*base, *words]])


def test_a_whole_run(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(logs) == 0
    out = logs.parent / "out"
    assert f"4 objects in 12 frames of 2 logs -> {out}/tracks.arrow" in capsys.readouterr().out.replace("\n", "")
    tracks = read_tracks(out / "tracks.arrow")
    assert tracks.frames_of("street") == list(range(FRAMES, 2 * FRAMES))
    # Car a stays 10 m ahead of an ego that drives 2 m along y every half second.
    ahead = tracks.boxes[tracks.boxes[:, 0] < 4]
    np.testing.assert_allclose(ahead[:FRAMES, 1], 10 + STEP_M * np.arange(FRAMES), atol=0.3)
    scores = json.loads((out / "scores.json").read_text())
    assert scores["nuscenes.car.amota"] == 1.0
    assert scores["ab3dmot.car.iou025.mota"] == 1.0
    assert scores["config_hash"] == TrackExperiment.read(out / "config.json").hash()
    tokens = [f"{name}-{k}" for name in ("avenue", "street") for k in range(FRAMES)]
    sent, names = read_tracking_submission(
        out / "submission.json", tokens, np.repeat([0, 1], FRAMES), ("bicycle", "bus", "car")
    )
    assert (len(sent), len(names)) == (24, 4)
    page = (out / "report.html").read_text()
    assert "sAMOTA, IoU 0.25" in page
    assert "<h2>avenue" in page


def test_the_same_command_goes_on(logs: Path) -> None:
    assert run(logs, "--no-report") == 0
    out = logs.parent / "out"
    assert not (out / "report.html").exists()
    whole = (out / "tracks.arrow").read_bytes()
    kept, lost = out / "parts/avenue.arrow", out / "parts/street.arrow"
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    (out / "tracks.arrow").unlink()
    assert run(logs) == 0
    assert kept.stat().st_mtime_ns == stamp
    assert (out / "tracks.arrow").read_bytes() == whole


def test_a_log_that_fails_is_listed_and_the_others_are_done(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(logs, "unseen", FRAMES)
    assert run(logs) == 1
    text = capsys.readouterr().out
    assert f"failed: {logs}/unseen: the detections hold no frame of this log" in text
    assert set(read_tracks(logs.parent / "out/tracks.arrow").logs) == {"avenue", "street"}
    assert run(logs) == 1


def test_a_folder_is_of_one_configuration_and_of_one_file(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(logs, "--no-report") == 0
    assert run(logs, "--min-score", 0.5) == 2
    assert "this folder holds tracks of another configuration" in capsys.readouterr().err
    write_detections(logs.parent / "other.arrow", detections([logs / "avenue"], 0.5))
    assert run(logs, "--detections", logs.parent / "other.arrow") == 2
    assert "inputs.json: this folder holds tracks of other detections" in capsys.readouterr().err
    assert run(logs, "--detections", logs.parent / "other.arrow", "--again", "--no-report") == 1  # it lacks the street
    assert set(read_tracks(logs.parent / "out/tracks.arrow").logs) == {"avenue"}
    (logs.parent / "strange").mkdir()
    (logs.parent / "strange/a.txt").write_text("")
    assert run(logs, "--out", logs.parent / "strange") == 2
    assert "is not the folder of a tracking run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["track", "configs.absent"], "recipe configs.absent: there is no such module"),
        (["track", "configs.town_pillars"], "returned Experiment; use it with `drive train`"),
        (["track", "configs.town_ab3dmot"], "--logs: the logs to track in are not named"),
        (["track", "configs.town_ab3dmot", "--logs", "LOGS"], "it needs the detections of one detector"),
        (["track", "configs.town_ab3dmot", "--logs", "LOGS", "--run", "a", "--detections", "b"], "of one detector"),
        (["track", "configs.town_ab3dmot", "--logs", "LOGS", "--detections", "none.arrow"], "none.arrow: no such file"),
        (["track", "configs.town_ab3dmot", "--logs", "LOGS", "--run", "none"], "none/config.json: cannot be read"),
        (["track", "configs.town_ab3dmot", "--logs", "nowhere", "--detections", "b"], "nowhere: no such folder"),
        (["track", "configs.town_ab3dmot", "--logs"], "--logs"),
        (["track", "configs.town_ab3dmot", "--min-scroe", "1"], "--min-scroe: the recipe has no such field; did you"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(logs.parent)
    assert main([str(logs) if word == "LOGS" else word for word in words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_logs_without_labels_get_no_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_log(tmp_path / "logs", "bare", FRAMES, dataset="other", labels=False)
    write_detections(tmp_path / "detections.arrow", detections([path]))
    assert run(tmp_path / "logs") == 0
    assert "no scores: the logs have no labels" in capsys.readouterr().out
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "inputs.json", "parts", "tracks.arrow", "report.html"}


def test_nothing_detected_at_all(logs: Path) -> None:
    nothing = DetectionSet(
        ("car",), ["avenue/0", "street/0"], ["avenue", "street"], [0, 0], np.zeros(3, np.int64), np.zeros((0, 9)),
        np.zeros(0), np.zeros(0, np.int64),
    )  # fmt: skip
    write_detections(logs.parent / "detections.arrow", nothing)
    assert run(logs) == 0
    assert len(read_tracks(logs.parent / "out/tracks.arrow").ids) == 0
    assert json.loads((logs.parent / "out/scores.json").read_text())["nuscenes.car.amota"] == 0.0


def test_a_detectors_run(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own detections where they hold all logs; else its weights are run, and the run's file stays as it is."""
    calls = []

    def detect_logs(run: Path, paths: list[Path], device: str) -> DetectionSet:
        calls.append((run, [path.name for path in paths], device))
        return detections(paths)

    monkeypatch.setattr(track, "detect_logs", detect_logs)
    folder = logs.parent / "detector"
    folder.mkdir()
    write_detections(folder / "detections.arrow", detections([logs / "avenue"]))
    assert run(logs / "avenue", "--run", folder, "--out", logs.parent / "one", "--no-report") == 0
    assert calls == []
    before = (folder / "detections.arrow").read_bytes()
    for _ in range(2):  # the second time they are there
        assert run(logs, "--run", folder, "--no-report") == 0
    assert calls == [(folder, ["avenue", "street"], "cpu")]
    later = (folder / "detections.arrow").stat().st_mtime + 60
    (folder / "weights.safetensors").write_bytes(b"")
    os.utime(folder / "weights.safetensors", (later, later))  # trained on: its old boxes are not its boxes
    assert run(logs / "avenue", "--run", folder, "--out", logs.parent / "one", "--no-report") == 0
    assert calls[1:] == [(folder, ["avenue"], "cpu")]
    assert (folder / "detections.arrow").read_bytes() == before
    assert set(read_detections(logs.parent / "out/detections.arrow").logs) == {"avenue", "street"}


def test_real_kitti_sequences(real_data: Path, tmp_path: Path) -> None:
    """PointRCNN's boxes of two sequences through the three commands; the figures are AB3DMOT's metric's."""
    raw, logs, found = real_data / "kitti/tracking", tmp_path / "logs", tmp_path / "pointrcnn.arrow"
    convert = ["convert", "kitti_tracking", raw, logs, "--workers", 1, "--logs", "*0012", "*0014"]
    assert main([str(word) for word in convert]) == 0
    assert (
        main([str(word) for word in ["convert", "ab3dmot_detections", raw / "detection", found, "--logs", logs]]) == 0
    )
    command = ["track", "configs.kitti_ab3dmot", "--logs", logs, "--detections", found, "--out", tmp_path / "out"]
    assert main([str(word) for word in command]) == 0
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["counts.frames"] == 78 + 106
    assert scores["ab3dmot.car.iou025.samota"] > 0.8
    assert not any(key.startswith("state.") for key in scores)  # no poses, no speeds
    page = (tmp_path / "out/report.html").read_text()
    assert "<h2>kitti_tracking_0014" in page
    assert len(page) < 400_000


def test_a_submission_keeps_the_best_boxes_of_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_log(tmp_path, "street", 2)
    places = [[(0.0, 10.0), (5.0, 0.0), (8.0, 0.0)], [(0.0, 12.0), (8.0, 0.0)]]
    frames = [tracked(0, [4, 5, 6], places[0], [0.7, 0.9, 0.8]), tracked(1, [4, 6], places[1], [0.2, 0.3])]
    monkeypatch.setattr(track, "MAX_BOXES_PER_FRAME", 2)
    track.write_nuscenes(track.Tracked(tracks_of(path, frames), (path,), ()), tmp_path / "s.json")
    results = json.loads((tmp_path / "s.json").read_text())["results"]
    assert [[box["tracking_score"] for box in results[f"street-{k}"]] for k in (0, 1)] == [[0.9, 0.8], [0.2, 0.3]]
    assert "1 boxes beyond 2 a frame are left out" in capsys.readouterr().out
