"""Our nuScenes detection metric against nuscenes-devkit 1.2 itself, on random boxes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.scores.curves import TP_ERRORS
from drive.scores.eval_boxes import ATTRIBUTES, EvalBoxes, EvalFrames
from drive.scores.nuscenes_detection import NuScenesConfig, evaluate, filter_boxes
from drive.scores.submission import read_submission

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    devkit = pytest.importorskip("nuscenes.eval.detection.evaluate", reason="nuscenes-devkit is not installed")
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes as DevkitBoxes
from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes, load_prediction
from nuscenes.eval.detection.data_classes import DetectionBox

NAMES = NuScenesConfig().class_names
META = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": False}


class World:
    """A random split in the shape that both programs read: a table reader for theirs, arrays for ours."""

    def __init__(self, rng: np.random.Generator, samples: int, truth: int, predictions: int, grid: float) -> None:
        self.rng, self.grid = rng, grid
        self.tokens = [f"sample{i:04d}" for i in range(samples)]
        self.ego = {token: rng.uniform(-500, 500, 2).round() for token in self.tokens}
        self.truth = {
            token: [self._box(token, True) for _ in range(rng.integers(0, truth + 1))] for token in self.tokens
        }
        self.racks = {token: [self._rack(token) for _ in range(rng.integers(0, 3))] for token in self.tokens}
        self.results = {
            token: [self._box(token, False) for _ in range(rng.integers(0, predictions + 1))] for token in self.tokens
        }

    def _place(self, token: str, spread: float) -> list[float]:
        xy = self.ego[token] + self.rng.normal(0, spread, 2)
        # Coordinates on a grid make equal distances, and distances that equal a threshold, common.
        if self.grid:
            xy = np.round(xy / self.grid) * self.grid
        return [float(xy[0]), float(xy[1]), float(self.rng.integers(-2, 3))]

    def _box(self, token: str, truth: bool) -> dict:
        rng = self.rng
        name = NAMES[int(rng.choice(10, p=[0.4, 0, 0.1, 0.05, 0.05, 0.2, 0.05, 0.05, 0.05, 0.05]))]
        if not truth and rng.random() < 0.1:
            name = "truck"  # a class without ground truth
        place = self._place(token, 25.0)
        if not truth and self.truth[token] and rng.random() < 0.7:
            near = self.truth[token][rng.integers(len(self.truth[token]))]
            name, place = (
                near["detection_name"],
                [v + float(rng.choice([-1, 0, 0.25, 0.5, 2.0])) for v in near["translation"]],
            )
        attribute = "" if rng.random() < 0.2 else ATTRIBUTES[rng.integers(8)]
        yaw = rng.uniform(-np.pi, np.pi)
        tilt = rng.normal(0, 0.02, 2)
        velocity = [float("nan")] * 2 if rng.random() < 0.2 else rng.normal(0, 3, 2).tolist()
        box = {
            "sample_token": token,
            "translation": place,
            "size": rng.uniform(0.3, 8, 3).tolist(),
            "rotation": [float(np.cos(yaw / 2)), *tilt.tolist(), float(np.sin(yaw / 2))],
            "velocity": velocity,
            "detection_name": name,
            "attribute_name": attribute,
        }
        if truth:
            return box | {"num_pts": int(rng.integers(0, 4))}
        return box | {
            "detection_score": float(rng.choice([0.25, 0.5, 0.75])) if rng.random() < 0.5 else float(rng.random())
        }

    def _rack(self, token: str) -> dict:
        yaw = self.rng.uniform(-np.pi, np.pi)
        return {
            "translation": self._place(token, 15.0),
            "size": [8.1, 30.1, 6.3],  # no face on the grid: there the last bit decides
            "rotation": [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))],
            "category_name": "static_object.bicycle_rack",
        }

    def get(self, table: str, token: str) -> dict:
        """What the devkit asks of its NuScenes object."""
        if table == "sample":
            return {"data": {"LIDAR_TOP": token}, "anns": [f"{token}/{i}" for i in range(len(self.racks[token]))]}
        if table == "sample_data":
            return {"ego_pose_token": token}
        if table == "ego_pose":
            return {"translation": [*self.ego[token].tolist(), 0.0]}
        sample, index = token.split("/")
        return self.racks[sample][int(index)]

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps({"meta": META, "results": self.results}))
        return path

    def devkit_boxes(self, path: Path) -> tuple[DevkitBoxes, DevkitBoxes]:
        truth = DevkitBoxes.deserialize({t: b for t, b in self.truth.items()}, DetectionBox)
        predictions, _ = load_prediction(str(path), 500, DetectionBox)
        ranges = config_factory("detection_cvpr_2019").class_range
        return tuple(filter_eval_boxes(self, add_center_dist(self, boxes), ranges) for boxes in (truth, predictions))

    def frames(self) -> EvalFrames:
        racks = [(i, rack) for i, token in enumerate(self.tokens) for rack in self.racks[token]]
        from drive.geometry.rigid import quaternion_to_matrix

        return EvalFrames(
            ids=tuple(self.tokens),
            log_names=("log",) * len(self.tokens),
            ego_xy=np.array([self.ego[token] for token in self.tokens]).reshape(-1, 2),
            rack_frame=np.array([i for i, _ in racks], dtype=np.int64),
            rack_centre=np.array([rack["translation"] for _, rack in racks]).reshape(-1, 3),
            rack_size=np.array([rack["size"] for _, rack in racks]).reshape(-1, 3)[:, [1, 0, 2]],
            rack_rotation=np.array([quaternion_to_matrix(rack["rotation"]) for _, rack in racks]).reshape(-1, 3, 3),
        )

    def our_truth(self, tmp: Path) -> EvalBoxes:
        """The ground truth through the submission reader (a score is added), then its point counts."""
        results = {t: [b | {"detection_score": 0.0} for b in boxes] for t, boxes in self.truth.items()}
        tmp.write_text(json.dumps({"meta": META, "results": results}))
        boxes = read_submission(tmp, self.tokens, NAMES).boxes
        counts = [b["num_pts"] for token in self.tokens for b in self.truth[token]]
        boxes.num_points[:] = counts
        return boxes


def compare(world: World, tmp_path: Path) -> None:
    path = world.write(tmp_path / "result.json")
    truth, predictions = world.devkit_boxes(path)
    theirs = devkit.DetectionEval.__new__(devkit.DetectionEval)
    theirs.cfg, theirs.gt_boxes, theirs.pred_boxes, theirs.verbose = (
        config_factory("detection_cvpr_2019"), truth, predictions, False,
    )  # fmt: skip
    metrics, curves = theirs.evaluate()

    config, frames = NuScenesConfig(), world.frames()
    our_truth = filter_boxes(world.our_truth(tmp_path / "truth.json"), frames, config)
    our_predictions = filter_boxes(read_submission(path, world.tokens, NAMES).boxes, frames, config)
    assert len(our_truth) == len(truth.all)
    assert len(our_predictions) == len(predictions.all)
    ours = evaluate(our_truth, our_predictions, frames, config)

    close = {"rtol": 0, "atol": 1e-9, "equal_nan": True}
    for k, name in enumerate(NAMES):
        for t, threshold in enumerate(config.thresholds_m):
            curve, md = ours.curves[name, threshold], curves[name, threshold]
            np.testing.assert_allclose(curve.precision, md.precision, **close)
            np.testing.assert_allclose(curve.confidence, md.confidence, **close)
            for i, error in enumerate(TP_ERRORS):
                np.testing.assert_allclose(curve.errors[i], getattr(md, error), **close)
            np.testing.assert_allclose(ours.ap[k, t], metrics.get_label_ap(name, threshold), **close)
        for i, error in enumerate(TP_ERRORS):
            expected = metrics.get_label_tp(name, error)
            assert ours.tp_defined[k, i] == (not np.isnan(expected))
            if ours.tp_defined[k, i]:
                np.testing.assert_allclose(ours.tp_errors[k, i], expected, **close)
    np.testing.assert_allclose(ours.mean_ap, metrics.mean_ap, **close)
    np.testing.assert_allclose(ours.mean_tp_errors, [metrics.tp_errors[e] for e in TP_ERRORS], **close)
    np.testing.assert_allclose(ours.nds, metrics.nd_score, **close)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(1, 6),
    truth=st.integers(1, 40),
    predictions=st.integers(1, 60),
    grid=st.sampled_from([0.0, 0.25, 4.0]),
)
def test_random_boxes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, samples: int, truth: int, predictions: int, grid: float
) -> None:
    world = World(np.random.default_rng(seed), samples, truth, predictions, grid)
    # The devkit cannot tell the kind of boxes where there is not one (it raises), so each side gets at least one.
    world.truth[world.tokens[0]].append(world._box(world.tokens[0], True))
    world.results[world.tokens[0]].append(world._box(world.tokens[0], False))
    compare(world, tmp_path_factory.mktemp("devkit"))


def test_larger_split(tmp_path: Path) -> None:
    compare(World(np.random.default_rng(3), samples=40, truth=60, predictions=80, grid=0.0), tmp_path)


def test_no_matches_at_all(tmp_path: Path) -> None:
    world = World(np.random.default_rng(5), samples=3, truth=5, predictions=5, grid=0.0)
    for boxes in world.results.values():
        for box in boxes:
            box["translation"] = [v + 30.0 for v in box["translation"]]
    compare(world, tmp_path)
