"""A score of converted logs against the devkit's own DetectionEval on the raw data set that they came from."""

from __future__ import annotations

import itertools
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import data_tools.nuscenes as converter
from data_tools.town import make_tiny_town
from drive.logs.store import list_logs
from drive.samples.classes import NUSCENES_CLASSES
from drive.scores.curves import TP_ERRORS
from drive.scores.eval_boxes import EvalBoxes
from drive.scores.ground_truth import load_ground_truth
from drive.scores.report import score_file
from drive.scores.submission import META_FIELDS, write_submission

VERSION = "v1.0-town"
SPLIT = "all_of_it"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw town with what the filters look for: bicycle racks, annotations without points or without attributes."""
    folder = make_tiny_town(tmp_path_factory.mktemp("town") / "raw", seconds=3.0, cameras=False)
    names = ("sample_annotation", "category", "instance", "scene")
    tables = {name: json.loads((folder / VERSION / f"{name}.json").read_text()) for name in names}
    rng = np.random.default_rng(0)
    rack = next(c["token"] for c in tables["category"] if c["name"] == "static_object.bicycle_rack")
    bicycle = next(c["token"] for c in tables["category"] if c["name"] == "vehicle.bicycle")
    bicycles = {i["token"] for i in tables["instance"] if i["category_token"] == bicycle}
    others = [i for i in tables["instance"] if i["token"] not in bicycles]
    for instance in rng.choice(len(others), 3, replace=False):
        others[instance]["category_token"] = rack
    racks = {i["token"] for i in tables["instance"] if i["category_token"] == rack}
    annotations = tables["sample_annotation"]
    for before, annotation in itertools.pairwise(annotations):
        if rng.random() < 0.1:
            annotation["num_lidar_pts"] = 0
        if rng.random() < 0.1:
            annotation["attribute_tokens"] = []
        if annotation["instance_token"] in bicycles and rng.random() < 0.5:
            annotation["translation"] = before["translation"]
        if annotation["instance_token"] in racks:
            annotation["size"] = [9.0, 20.0, 8.0]
    for name in ("sample_annotation", "instance"):
        (folder / VERSION / f"{name}.json").write_text(json.dumps(tables[name]))
    (folder / VERSION / "splits.json").write_text(json.dumps({SPLIT: [scene["name"] for scene in tables["scene"]]}))
    return folder


def test_equal_to_detection_eval(raw: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        devkit = pytest.importorskip("nuscenes.eval.detection.evaluate", reason="nuscenes-devkit is not installed")
        from nuscenes.eval.common.config import config_factory
        from nuscenes.nuscenes import NuScenes

        tables = NuScenes(VERSION, str(raw), verbose=False)
    options = converter.Options(version=VERSION)
    for spec in converter.list_logs(raw, options):
        converter.convert_log(raw, spec, tmp_path / "logs", options)
    logs = list_logs(tmp_path / "logs")

    truth = load_ground_truth(logs, NUSCENES_CLASSES)
    result = tmp_path / "result.json"
    boxes = noisy(truth.boxes, np.random.default_rng(1))
    write_submission(result, boxes, truth.frames.ids, truth.class_names, dict.fromkeys(META_FIELDS, False))
    ours = score_file(result, logs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = config_factory("detection_cvpr_2019")
        theirs = devkit.DetectionEval(tables, config, str(result), SPLIT, str(tmp_path / "devkit"), verbose=False)
        metrics, _ = theirs.evaluate()

    assert len(ours.kept_truth) == len(theirs.gt_boxes.all) > 100
    assert len(ours.kept_predictions) == len(theirs.pred_boxes.all)
    assert len(ours.truth.frames.rack_frame) > 0
    m = ours.metrics
    assert m.mean_ap == pytest.approx(metrics.mean_ap, abs=1e-9)
    assert m.nds == pytest.approx(metrics.nd_score, abs=1e-9)
    assert 0.1 < m.mean_ap < 0.9
    for k, name in enumerate(m.config.class_names):
        for t, threshold in enumerate(m.config.thresholds_m):
            assert m.ap[k, t] == pytest.approx(metrics.get_label_ap(name, threshold), abs=1e-9)
        for i, error in enumerate(TP_ERRORS):
            if m.tp_defined[k, i]:
                assert m.tp_errors[k, i] == pytest.approx(metrics.get_label_tp(name, error), abs=1e-9), (name, error)


def noisy(truth: EvalBoxes, rng: np.random.Generator) -> EvalBoxes:
    """Predictions of a mediocre detector: labels moved, some missing, some of another class, some where nothing is."""
    boxes = truth.take(np.sort(rng.choice(len(truth), int(1.6 * len(truth)))))
    n = len(boxes)
    spread = rng.choice([0.1, 0.6, 4.0], n, p=[0.4, 0.4, 0.2])[:, None]
    columns = boxes.boxes + spread * rng.normal(0, 1, (n, 9)) * [1, 1, 0.2, 0.3, 0.1, 0.1, 0.3, 1, 1]
    columns[:, 3:6] = np.maximum(columns[:, 3:6], 0.2)
    return EvalBoxes(
        frame=boxes.frame,
        boxes=columns,
        velocity_valid=np.ones(n, dtype=bool),
        label=np.where(rng.random(n) < 0.1, rng.integers(0, 10, n), boxes.label),
        score=rng.random(n),
        attribute=np.where(rng.random(n) < 0.3, rng.integers(-1, 8, n), boxes.attribute),
        num_points=np.full(n, -1),
    )
