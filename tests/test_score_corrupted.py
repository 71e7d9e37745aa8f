"""drive score --corrupt, and images that are missing, with a fused and a lidar-only detector of a few weights."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from configs import town_camera, town_deepfusion, town_swformer
from drive.boxes.detections import read_detections
from drive.boxes.detector import SWFormerConfig
from drive.cli import main
from drive.errors import UserError
from drive.features.fusion import DeepFusionConfig
from drive.features.images import ImageNetConfig
from drive.features.swformer import BackboneConfig
from drive.samples.corrupt.config import CORRUPTIONS
from drive.samples.images import ImageConfig
from drive.score_corrupted import corruptions_named, sensors_read
from drive.train.weights import save_weights

sys.path.insert(0, str(Path(__file__).parent / "samples" / "corrupt"))

TINY = BackboneConfig(channels=16, heads=2, mlp_channels=16, layers=((1, 0),) * 5)


def untrained(folder: Path, logs: Path, fused: bool) -> Path:
    """A run's folder with weights as they were drawn."""
    recipe = town_deepfusion.experiment() if fused else town_swformer.experiment()
    assert isinstance(recipe.model, SWFormerConfig)
    everything = replace(recipe.model.foreground, threshold=0.0)  # weights that learnt nothing are sure of nothing
    seen = replace(recipe.model.decode, score_threshold=0.0)
    model = replace(recipe.model, backbone=TINY, head_channels=16, foreground=everything, decode=seen)
    data = replace(recipe.data, train_logs=(str(logs),), val_logs=(str(logs),), train_split="", val_split="")
    if fused:
        images = ImageNetConfig(backbone="plain", channels=8, out_strides=(4,))
        model = replace(model, fusion=DeepFusionConfig(images, channels=8))
        data = replace(data, images=ImageConfig(size=(64, 96)))
    experiment = replace(recipe, model=model, data=data)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(experiment.to_json())
    torch.manual_seed(0)
    save_weights(folder / "weights.safetensors", model.build().state_dict(), {})
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """logs/, fused/ and lidar/."""
    from failing_log import write_failing_log

    place = tmp_path_factory.mktemp("corrupted")
    write_failing_log(place / "logs")
    untrained(place / "fused", place / "logs", True)
    untrained(place / "lidar", place / "logs", False)
    return place


def test_a_run_is_scored_with_failing_sensors(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lidar, fused = runs / "lidar", runs / "fused"
    words = ["--corrupt", "fog,dark", "camera_drop", "--severity", "1", "3"]
    assert main(["score", str(lidar), *words]) == 0
    printed = capsys.readouterr().out
    assert "not applicable, RA left out of mRA: dark, camera_drop" in printed
    found = json.loads((lidar / "robustness.json").read_text())
    assert list(found["cells"]) == ["fog"]
    assert list(found["cells"]["fog"]) == ["1", "3"]
    assert set(found["untouched"]) == {"dark", "camera_drop"}
    assert found["RA"]["NDS"]["dark"] is None
    assert main(["score", str(fused), *words, "--baseline", str(lidar)]) == 0
    found = json.loads((fused / "robustness.json").read_text())
    assert set(found["cells"]) == {"fog", "dark", "camera_drop"}
    assert found["baseline"] == "lidar"
    assert set(found["RRA"]["NDS"]) == {"fog", "dark", "camera_drop"}
    # The page shows it.
    assert main(["score", str(fused)]) == 0
    assert main(["view", str(fused), "--out", str(runs / "page.html")]) == 0
    page = (runs / "page.html").read_text()
    assert "With failing sensors" in page
    assert "camera drop" in page


def test_finished_scores_are_kept(runs: Path) -> None:
    words = ["score", str(runs / "lidar"), "--corrupt", "points_reducing", "--every", "2", "--severity"]
    assert main([*words, "1"]) == 0
    (cell,) = (runs / "lidar" / "robustness").glob("*/points_reducing_1.json")
    assert not list(cell.parent.glob("fog*"))  # other frames: another folder
    marked = {"figures": {"NDS": 0.125, "mAP": 0.5}}
    cell.write_text(json.dumps(marked))
    clean = (cell.parent / "clean.json").stat().st_mtime_ns
    assert main([*words, "1", "2"]) == 0
    found = json.loads((runs / "lidar" / "robustness.json").read_text())["cells"]["points_reducing"]
    assert found["1"] == marked["figures"]  # read, not made again
    assert set(found) == {"1", "2"}
    assert (cell.parent / "clean.json").stat().st_mtime_ns == clean


def test_what_cannot_be_scored_is_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(runs / "lidar")
    assert main(["score", run, "--corrupt", "rain"]) == 2
    assert main(["score", run, "--corrupt", "fog", "--severity", "4"]) == 2
    assert main(["score", run, "--corrupt", "fog", "--every", "0"]) == 2
    assert main(["score", str(runs / "absent"), "--corrupt", "fog"]) == 2
    words = ["--corrupt", "beams_reducing", "--severity", "1", "--baseline", str(runs / "logs")]
    assert main(["score", run, *words]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 5
    assert all(line.startswith("error: ") for line in errors)


def test_names_on_the_command_line() -> None:
    assert corruptions_named(["all"]) == tuple(CORRUPTIONS)
    assert len(corruptions_named(["multicorrupt"])) == 10
    assert corruptions_named(["snow,fog", "dark"]) == ("dark", "fog", "snow")  # in the table's order
    assert set(corruptions_named(["ours", "fog"])) == set(corruptions_named(["ours"])) | {"fog"}
    with pytest.raises(UserError, match="no corruption 'rain'"):
        corruptions_named(["fog", "rain"])


def test_what_detectors_read() -> None:
    assert sensors_read(town_swformer.experiment()) == {"lidar"}
    assert sensors_read(town_deepfusion.experiment()) == {"lidar", "camera"}
    assert sensors_read(town_camera.experiment()) == {"camera"}


def test_images_that_fail_leave_lidar_detections(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from failing_log import HEIGHT, WIDTH, write_failing_log

    def broken(camera: str, row: int, data: bytes) -> bytes | None:
        if camera == "RIGHT":
            return None if row == 9 else data
        black = io.BytesIO()
        Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(black, "PNG")
        return {4: data[: len(data) // 2], 9: black.getvalue()}.get(row, data)

    log = write_failing_log(tmp_path, "broken", change=broken)
    out = tmp_path / "out"
    assert main(["detect", str(runs / "fused"), "--logs", str(log), "--out", str(out)]) == 0
    found = read_detections(out / "detections.arrow")
    assert np.diff(found.offsets).min() > 0  # every frame has boxes
    left, right = found.missing_images
    assert (left.camera, left.frames, len(left.reasons)) == ("LEFT", 2, 2)
    assert "not readable" in left.reasons[0][0]
    assert left.reasons[1] == ("the image is black", 1)
    assert (right.camera, right.frames) == ("RIGHT", 1)
    printed = capsys.readouterr().out
    assert "RIGHT: no image in 1 frames: the frame has no image of it (1)" in printed
    # Scores carry it, and so does the page.
    scores = tmp_path / "scores.json"
    assert main(["score", str(out / "detections.arrow"), "--logs", str(log), "--out", str(scores)]) == 0
    assert [entry["camera"] for entry in json.loads(scores.read_text())["missing_images"]] == ["LEFT", "RIGHT"]
    assert "the image is black" in " ".join(capsys.readouterr().out.split())
