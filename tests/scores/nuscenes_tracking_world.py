"""Random tracks in the shape that both programs read: for the devkit a stand-in for its tables, for us arrays."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from drive.scores.eval_boxes import EvalBoxes, EvalFrames
from drive.scores.nuscenes_tracking import TrackingConfig, TrackingMetrics, evaluate_tracking, filter_tracked
from drive.scores.nuscenes_tracking_boxes import TRACKING_NAMES, TrackedBoxes, TrackFrames
from drive.scores.submission_tracking import read_tracking_submission

META = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": False}


class TrackWorld:
    """Scenes of objects on straight lines, and tracks that follow them badly: gaps, switches, ghosts, other classes."""

    def __init__(self, rng: np.random.Generator, scenes: int, samples: int, objects: int, noise: float = 0.5) -> None:
        self.rng = rng
        self.scenes = {f"scene{s}": [f"s{s}f{i:03d}" for i in range(samples)] for s in range(scenes)}
        self.times: dict[str, int] = {}
        self.ego: dict[str, np.ndarray] = {}
        self.truth: dict[str, list[dict[str, Any]]] = {}
        self.results: dict[str, list[dict[str, Any]]] = {}
        for s, tokens in enumerate(self.scenes.values()):
            stamps = np.cumsum(rng.integers(400_000, 600_000, samples)) + 10**15 + s * 10**9
            place = rng.uniform(-50, 50, 2)
            for i, token in enumerate(tokens):
                self.times[token], self.ego[token] = int(stamps[i]), place + np.array([3.0 * i, 0.0])
                self.truth[token], self.results[token] = [], []
            for o in range(objects):
                self._object(s, o, tokens, noise)

    def _object(self, scene: int, number: int, tokens: list[str], noise: float) -> None:
        rng = self.rng
        name = str(rng.choice(["car", "pedestrian", "truck", "bus"], p=[0.5, 0.3, 0.1, 0.1]))
        start, velocity = self.ego[tokens[0]] + rng.uniform(-20, 20, 2), rng.normal(0, 2, 2)
        first, last = sorted(rng.integers(0, len(tokens), 2).tolist())
        track, score = f"{number}a", rng.random()
        follows = rng.random() < 0.85
        for i in range(first, last + 1):
            token = tokens[i]
            centre = start + velocity * i
            if rng.random() < 0.9:
                self.truth[token].append(
                    self._box(token, centre, name, f"obj{scene}-{number}") | {"num_pts": int(rng.integers(0, 9))}
                )
            if rng.random() < 0.08:
                track = f"{number}{rng.choice(list('abc'))}"  # a switch, or back again
            if follows and rng.random() < 0.8 and all(b["tracking_id"] != track for b in self.results[token]):
                label = name if rng.random() < 0.95 else "car"
                box = self._box(token, centre + rng.normal(0, noise, 2), label, track)
                self.results[token].append(box | {"tracking_score": float(np.clip(score + rng.normal(0, 0.1), 0, 1))})
            if rng.random() < 0.15:
                ghost = self._box(token, self.ego[token] + rng.uniform(-25, 25, 2), name, f"ghost{number}-{i // 3}")
                self.results[token].append(ghost | {"tracking_score": float(rng.choice([0.1, 0.3, 0.6]))})

    def _box(self, token: str, centre: np.ndarray, name: str, track: str) -> dict[str, Any]:
        return {
            "sample_token": token,
            "translation": [float(centre[0]), float(centre[1]), 0.5],
            "size": [2.0, 4.0, 1.5],
            "rotation": [1.0, 0.0, 0.0, 0.0],
            "velocity": [0.0, 0.0],
            "tracking_id": track,
            "tracking_name": name,
        }

    # --- what the devkit asks of its NuScenes object ----------------------------------------------------------------

    def get(self, table: str, token: str) -> dict[str, Any]:
        """A record of sample, sample_data, ego_pose or scene."""
        if table == "sample_data":
            return {"ego_pose_token": token}
        if table == "ego_pose":
            return {"translation": [*self.ego[token].tolist(), 0.0]}
        if table == "scene":
            tokens = self.scenes[token]
            return {"name": token, "first_sample_token": tokens[0], "last_sample_token": tokens[-1]}
        scene = next(name for name, tokens in self.scenes.items() if token in tokens)
        after = dict(zip(self.scenes[scene], [*self.scenes[scene][1:], ""], strict=True))
        return {
            "data": {"LIDAR_TOP": token}, "anns": [], "scene_token": scene, "timestamp": self.times[token],
            "next": after[token],
        }  # fmt: skip

    def devkit(self, path: Path) -> tuple[Any, Any]:
        """(TrackingMetrics, TrackingMetricDataList) of the devkit's TrackingEval."""
        path.write_text(json.dumps({"meta": META, "results": self.results}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from nuscenes.eval.common import loaders as common
            from nuscenes.eval.common.config import config_factory
            from nuscenes.eval.common.data_classes import EvalBoxes as DevkitBoxes
            from nuscenes.eval.tracking import loaders
            from nuscenes.eval.tracking.data_classes import TrackingBox
            from nuscenes.eval.tracking.evaluate import TrackingEval

            run = TrackingEval.__new__(TrackingEval)
            run.cfg = config_factory("tracking_nips_2019")
            run.verbose, run.output_dir, run.render_classes = False, "", None
            truth = DevkitBoxes.deserialize(self.truth, TrackingBox)
            predictions, _ = common.load_prediction(str(path), 500, TrackingBox)
            with mock.patch.object(loaders, "get_scenes_of_split", return_value=list(self.scenes)):
                for name, boxes in (("tracks_gt", truth), ("tracks_pred", predictions)):
                    kept = common.filter_eval_boxes(self, common.add_center_dist(self, boxes), run.cfg.class_range)
                    setattr(run, name, loaders.create_tracks(kept, self, "any", gt=name == "tracks_gt"))
            result: tuple[Any, Any] = run.evaluate()
        return result

    # --- ours --------------------------------------------------------------------------------------------------------

    def frames(self) -> TrackFrames:
        """Every sample of every scene."""
        tokens = [token for scene in self.scenes.values() for token in scene]
        ego = np.array([self.ego[token] for token in tokens])
        log = np.repeat(np.arange(len(self.scenes)), [len(scene) for scene in self.scenes.values()])
        times = np.array([self.times[token] for token in tokens])
        return TrackFrames(EvalFrames.without_racks(tokens, ego), times, log)

    def ours(self, path: Path) -> TrackingMetrics:
        """Our metric on the same files."""
        frames = self.frames()
        truth = {t: [b | {"tracking_score": 0.0} for b in boxes] for t, boxes in self.truth.items()}
        path.write_text(json.dumps({"meta": META, "results": truth}))
        labels, _ = read_tracking_submission(path, frames.frames.ids, frames.log, TRACKING_NAMES)
        points = np.array([b["num_pts"] for token in frames.frames.ids for b in self.truth[token]], dtype=np.int64)
        b = labels.boxes
        counted = EvalBoxes(b.frame, b.boxes, b.velocity_valid, b.label, b.score, b.attribute, points)
        path.write_text(json.dumps({"meta": META, "results": self.results}))
        predictions, _ = read_tracking_submission(path, frames.frames.ids, frames.log, TRACKING_NAMES)
        config = TrackingConfig()
        kept = [filter_tracked(t, frames.frames, config) for t in (TrackedBoxes(counted, labels.track), predictions)]
        return evaluate_tracking(kept[0], kept[1], frames, config)
