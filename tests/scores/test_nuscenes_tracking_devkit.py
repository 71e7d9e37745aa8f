"""Our nuScenes tracking metric against nuscenes-devkit 1.2's TrackingEval itself, on random tracks."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

from drive.scores.nuscenes_tracking import CURVES, METRICS
from tests.scores.nuscenes_tracking_world import TrackWorld

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for package in ("nuscenes", "motmetrics", "pandas"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed", allow_module_level=True)


def compare(world: TrackWorld, tmp_path: Path, distance: float = 1e-9) -> None:
    """All figures and curves: counts equal, means to 1e-9, distances to `distance`."""
    theirs, curves = world.devkit(tmp_path / "theirs.json")
    ours = world.ours(tmp_path / "ours.json")
    for k, name in enumerate(ours.config.class_names):
        for metric in METRICS:
            atol = distance if metric in ("motp", "amotp") else 1e-9
            expected = theirs.label_metrics[metric][name]
            np.testing.assert_allclose(ours.values[metric][k], expected, rtol=0, atol=atol, err_msg=f"{name} {metric}")
        for metric in (*CURVES, "confidence", "recall_hypo"):
            atol = distance if metric == "motp" else 1e-9
            expected = getattr(curves[name], metric)
            np.testing.assert_allclose(ours.curves[metric][k], expected, rtol=0, atol=atol, err_msg=f"{name} {metric}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the devkit's mean of nothing
        for metric in METRICS:
            atol = distance if metric in ("motp", "amotp") else 1e-9
            np.testing.assert_allclose(ours.overall(metric), theirs.compute_metric(metric), rtol=0, atol=atol)


@pytest.mark.parametrize("seed", range(4))
def test_random_tracks(tmp_path: Path, seed: int) -> None:
    world = TrackWorld(np.random.default_rng(seed), scenes=2, samples=6, objects=6, noise=(0.3, 0.8)[seed % 2])
    compare(world, tmp_path)


def test_the_labels_as_tracks(tmp_path: Path) -> None:
    """Perfect tracks. The devkit's distances come from squared norms: it finds up to 1e-5 m where there is 0."""
    world = TrackWorld(np.random.default_rng(7), scenes=1, samples=6, objects=5)
    for token, boxes in world.truth.items():
        keys = ("sample_token", "translation", "size", "rotation", "velocity", "tracking_id", "tracking_name")
        world.results[token] = [{key: box[key] for key in keys} | {"tracking_score": 0.7} for box in boxes]
        for box in boxes:
            box["num_pts"] = 3
    compare(world, tmp_path, distance=2e-5)
    assert world.ours(tmp_path / "again.json").overall("amota") == 1.0


def test_no_track_matches(tmp_path: Path) -> None:
    world = TrackWorld(np.random.default_rng(8), scenes=1, samples=5, objects=4)
    for boxes in world.results.values():
        for box in boxes:
            box["translation"][0] += 12.0
    compare(world, tmp_path)
