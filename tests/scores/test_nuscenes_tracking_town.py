"""Tracks on the town's logs, scored by us from the logs and by the devkit's TrackingEval from the raw tables."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data_tools.nuscenes as converter
from data_tools.town import make_tiny_town
from drive.logs.store import list_logs
from drive.scores.eval_boxes import EvalBoxes
from drive.scores.nuscenes_tracking import METRICS, TrackingConfig, evaluate_tracking, filter_tracked
from drive.scores.nuscenes_tracking_boxes import TRACKING_NAMES, TrackedBoxes, TrackFrames, load_tracking_truth
from drive.scores.submission import META_FIELDS
from drive.scores.submission_tracking import read_tracking_submission, write_tracking_submission

VERSION, SPLIT, THRESHOLDS = "v1.0-town", "all_of_it", 3
for package in ("nuscenes", "motmetrics", "pandas"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrackFrames, TrackedBoxes]:
    folder = tmp_path_factory.mktemp("town")
    raw = make_tiny_town(folder / "raw", seconds=3.0, cameras=False)
    scenes = json.loads((raw / VERSION / "scene.json").read_text())
    (raw / VERSION / "splits.json").write_text(json.dumps({SPLIT: [scene["name"] for scene in scenes]}))
    options = converter.Options(version=VERSION)
    for spec in converter.list_logs(raw, options):
        converter.convert_log(raw, spec, folder / "logs", options)
    return raw, *load_tracking_truth(list_logs(folder / "logs"))


def devkit(raw: Path, result: Path, out: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nuscenes.eval.common.config import config_factory
        from nuscenes.eval.tracking.data_classes import TrackingMetricData
        from nuscenes.eval.tracking.evaluate import TrackingEval

        config = config_factory("tracking_nips_2019")
        config.num_thresholds = THRESHOLDS
        TrackingMetricData.set_nelem(THRESHOLDS)
        run = TrackingEval(config, str(result), SPLIT, str(out), VERSION, str(raw), verbose=False)
        return run.evaluate()[0]


def tracker(truth: TrackedBoxes, rng: np.random.Generator) -> TrackedBoxes:
    """The labels as a tracker finds them: three quarters, moved, some under a second identity."""
    kept = np.sort(rng.choice(len(truth), 3 * len(truth) // 4, replace=False))
    boxes, track = truth.boxes.take(kept), truth.track[kept].copy()
    n = len(boxes)
    columns = boxes.boxes.copy()
    columns[:, :2] += rng.normal(0, 0.6, (n, 2))
    track[rng.random(n) < 0.15] += int(truth.track.max()) + 1
    none = np.full(n, -1, np.int64)
    found = EvalBoxes(boxes.frame, columns, np.ones(n, bool), boxes.label, rng.random(n), none, none)
    return TrackedBoxes(found, track)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("perfect", [False, True])
def test_equal_to_tracking_eval(town: tuple[Path, TrackFrames, TrackedBoxes], tmp_path: Path, perfect: bool) -> None:
    raw, frames, truth = town
    rng = np.random.default_rng(3)
    if perfect:
        score = truth.track % 7 / 7.0 + 0.1
        b = truth.boxes
        predictions = TrackedBoxes(
            EvalBoxes(b.frame, b.boxes, np.ones(len(b), bool), b.label, score, b.attribute, np.full(len(b), -1)),
            truth.track,
        )
    else:
        predictions = tracker(truth, rng)
    result = tmp_path / "tracks.json"
    meta = dict.fromkeys(META_FIELDS, False)
    write_tracking_submission(result, predictions, frames.frames.ids, TRACKING_NAMES, meta)
    theirs = devkit(raw, result, tmp_path / "devkit")

    found, _ = read_tracking_submission(result, frames.frames.ids, frames.log, TRACKING_NAMES)
    config = TrackingConfig(num_thresholds=THRESHOLDS)
    kept = [filter_tracked(t, frames.frames, config) for t in (truth, found)]
    ours = evaluate_tracking(kept[0], kept[1], frames, config)
    assert len(kept[0]) > 100
    for metric in METRICS:
        # The devkit's distances are off by up to 1e-5 m where boxes coincide (squared norms of global coordinates).
        atol = (2e-5 if perfect else 1e-7) if metric in ("motp", "amotp") else 1e-9
        expected = [theirs.label_metrics[metric][name] for name in config.class_names]
        np.testing.assert_allclose(ours.values[metric], expected, rtol=0, atol=atol, err_msg=metric)
    if perfect:
        assert ours.overall("ids") == ours.overall("fn") == 0
        assert ours.overall("fp") > 0  # labels without points: their tracks find nothing that counts
        assert ours.overall("recall") == 1.0
    else:
        assert 0.1 < ours.overall("amota") < 0.9
        assert ours.overall("ids") > 3
