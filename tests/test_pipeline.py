"""The whole chain on a tiny town, by its verbs: raw -> logs -> run -> scores -> boxes in loose scans -> pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_tools.town import make_tiny_town
from drive.boxes.box_features import FEATURES
from drive.boxes.detections import read_detections
from drive.cli import main
from drive.detect import load
from drive.detect_logs import detect_logs
from drive.samples.frame_dataset import find_logs
from drive.tracks.sequence import read_tracks

SMALL = ["--model.backbone.channels", "16", "--model.backbone.heads", "2", "--model.backbone.mlp-channels", "16"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """raw/, logs/ and a run that took two steps."""
    folder = tmp_path_factory.mktemp("pipeline")
    make_tiny_town(folder / "raw")
    raw, logs = str(folder / "raw"), str(folder / "logs")
    assert main(["convert", "nuscenes", raw, logs, "--version", "v1.0-town", "--workers", "1"]) == 0
    data = ["--data.train-logs", logs, "--data.val-logs", logs]
    short = ["--train.steps", "2", "--train.max-seconds", "0", "--model.head-channels", "16", *SMALL]
    assert main(["train", "configs.town_swformer", "--out", str(folder / "run"), *data, *short]) == 0
    yield folder
    shutil.rmtree(folder)


def test_a_run_is_scored(place: Path) -> None:
    assert main(["score", str(place / "run")]) == 0
    scores = json.loads((place / "run" / "scores.json").read_text())
    assert 0 <= scores["ap.car"] <= 1
    assert scores["counts.frames"] > 0
    assert scores["missing_frames"] == []
    # The submission that it wrote gives the same score as a file.
    out = place / "from_file.json"
    words = [str(place / "run" / "submission.json"), "--logs", str(place / "logs"), "--split", "town_val"]
    assert main(["score", *words, "--out", str(out)]) == 0
    assert json.loads(out.read_text())["mAP"] == pytest.approx(scores["mAP"], abs=1e-9)


def test_loose_scans_and_pictures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = place / "scans"
    scans.mkdir()
    source = sorted((place / "raw" / "samples" / "LIDAR_TOP").iterdir())[0]
    shutil.copy(source, scans / "good.bin")
    (scans / "broken.bin").write_bytes(b"123")
    words = ["--format", "nuscenes", "--out", str(place / "boxes")]
    assert main(["detect", str(place / "run"), str(scans), *words]) == 1  # one scan failed, and is named
    assert "broken.bin" in capsys.readouterr().out
    boxes = json.loads((place / "boxes" / "boxes.json").read_text())
    assert list(boxes["scans"]) == ["good.bin"]
    assert (place / "boxes" / "good.bin.png").stat().st_size > 1000
    found = load(place / "run")(scans / "good.bin", "nuscenes")
    assert len(found) == len(boxes["scans"]["good.bin"])


def test_logs_are_detected_and_tracked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--logs", str(place / "logs"), "--split", "town_val"]
    assert main(["detect", str(place / "run"), *words, "--features", "--out", str(place / "seen")]) == 0
    found = read_detections(place / "seen" / "detections.arrow")
    assert found.features.shape == (len(found.scores), FEATURES)
    assert len(found.scores) == 0 or found.features.any()
    assert found.velocity_valid.all()
    plain = detect_logs(place / "run", find_logs([place / "logs"], "town_val"))
    assert plain.boxes.tobytes() == found.boxes.tobytes()
    assert plain.features.shape == (len(found.scores), 0)
    # The run's own detections, and those with features, give the same tracks: AB3DMOT does not look at them.
    out = [str(place / "tracks"), str(place / "tracks_seen")]
    assert main(["score", str(place / "run")]) == 0
    assert main(["track", "configs.town_ab3dmot", *words, "--run", str(place / "run"), "--out", out[0]]) == 0
    file = str(place / "seen" / "detections.arrow")
    assert main(["track", "configs.town_ab3dmot", *words, "--detections", file, "--out", out[1]]) == 0
    one, other = (read_tracks(Path(folder) / "tracks.arrow") for folder in out)
    assert one.boxes.tobytes() == other.boxes.tobytes()
    assert (place / "tracks" / "report.html").is_file()
    assert (place / "tracks" / "submission.json").is_file()
    capsys.readouterr()
    assert main(["detect", str(place / "run")]) == 2
    assert main(["detect", str(place / "run"), str(place), *words]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors == ["error: drive detect: it looks at scans or at logs; name one of both: SCANS, or --logs LOGS"] * 2


def test_views(place: Path) -> None:
    log = sorted((place / "logs").glob("scene-95*"))[0]
    out = place / "view"
    assert main(["view", str(log), "--frame", "1", "--out", str(out)]) == 0
    assert len(list(out.glob("*.png"))) == 2
    assert main(["score", str(place / "run")]) == 0
    assert main(["view", str(place / "run"), "--out", str(place / "page.html")]) == 0
    assert "<html" in (place / "page.html").read_text()[:200]


def test_what_cannot_be_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(place / "absent")]) == 2
    assert main(["view", str(place / "absent")]) == 2
    assert main(["detect", str(place / "absent"), str(place)]) == 2
    assert main(["view", str(sorted((place / "logs").glob("scene-95*"))[0]), "--frame", "99"]) == 2
    other = ["--data.train-logs", str(place / "logs"), "--train.steps", "3"]
    assert main(["train", "configs.town_swformer", "--out", str(place / "run"), *other]) == 2
    assert main(["train", "configs.town_swformer", "--out", str(place / "new"), "--data.train-logs", str(place)]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 6
    assert all(line.startswith("error: ") for line in errors), errors
