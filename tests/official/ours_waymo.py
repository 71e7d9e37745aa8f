"""Our side of the Waymo comparisons: ``python ours_waymo.py KIND IN.json OUT.npz`` in the project's own environment.

IN.json names the seeds; the scenes are made anew here, so that nothing but figures crosses between the environments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import waymo_fixture
import waymo_scenes

from data_tools.submit_messages import OBJECTS
from data_tools.wire import decode
from drive.scores.waymo_boxes import WaymoBoxes
from drive.scores.waymo_config import LongitudinalTolerance, WaymoConfig
from drive.scores.waymo_detection import evaluate
from drive.scores.waymo_motion import Horizon, MotionBatch, MotionConfig, MotionScore
from drive.scores.waymo_tracking import WaymoTracks, evaluate_tracks


def waymo_config(fields: dict[str, Any]) -> WaymoConfig:
    """The configuration of a plain dict."""
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    plain["breakdowns"] = tuple((name, tuple(levels)) for name, levels in fields["breakdowns"])
    if fields["tolerance"] is not None:
        plain["tolerance"] = LongitudinalTolerance(
            **(fields["tolerance"] | {"sensor_m": tuple(fields["tolerance"]["sensor_m"])})
        )
    return WaymoConfig(**plain)


def sides(scene: dict[str, np.ndarray]) -> tuple[WaymoBoxes, WaymoBoxes]:
    """(labels, predictions) of a scene in the operators' shapes."""
    truth = WaymoBoxes.labels(
        scene["ground_truth_frame_id"],
        scene["ground_truth_bbox"],
        scene["ground_truth_type"],
        scene["ground_truth_difficulty"],
        scene["ground_truth_speed"],
    )
    found = WaymoBoxes.predictions(
        scene["prediction_frame_id"],
        scene["prediction_bbox"],
        scene["prediction_type"],
        scene["prediction_score"],
        scene["prediction_overlap_nlz"],
    )
    return truth, found


def detection(seed: int, make: Callable[[int], Any] = waymo_scenes.detection_scene) -> dict[str, np.ndarray]:
    """The figures of one scene."""
    scene, fields = make(seed)
    m = evaluate(*sides(scene), waymo_config(fields))
    return {
        "ap": m.ap,
        "aph": m.aph,
        "apl": m.apl,
        "pr": m.precision_recall,
        "pr_heading": m.aph_precision,
        "breakdown": m.breakdown,
    }


def tracking(seed: int) -> dict[str, np.ndarray]:
    """The figures of one scene. The operator passes no tracking difficulty on, so none is given here."""
    scene, fields = waymo_scenes.tracking_scene(seed)
    scene["ground_truth_difficulty"] = np.zeros_like(scene["ground_truth_difficulty"])
    truth, found = sides(scene)
    m = evaluate_tracks(
        WaymoTracks(truth, scene["ground_truth_sequence_id"], scene["ground_truth_object_id"]),
        WaymoTracks(found, scene["prediction_sequence_id"], scene["prediction_object_id"]),
        waymo_config(fields),
    )
    return {
        "mota": m.mota,
        "motp": m.motp,
        "miss": m.miss,
        "mismatch": m.mismatch,
        "fp": m.false,
        "cutoff": m.cutoff,
        "breakdown": m.breakdown,
    }


def motion(seed: int) -> dict[str, np.ndarray]:
    """The figures of one scene, its scenarios given in two batches."""
    scene, fields = waymo_scenes.motion_scene(seed)
    score = MotionScore(MotionConfig(**(fields | {"horizons": tuple(Horizon(*h) for h in fields["horizons"])})))
    for rows in (slice(0, 2), slice(2, None)):
        batch = MotionBatch(
            scene["prediction_trajectory"][rows],
            scene["prediction_score"][rows],
            scene["prediction_ground_truth_indices"][rows],
            scene["prediction_ground_truth_indices_mask"][rows],
            scene["ground_truth_trajectory"][rows],
            scene["ground_truth_is_valid"][rows],
            scene["object_type"][rows],
        )
        score.update(batch)
    m = score.result()
    return {
        "min_ade": m.min_ade,
        "min_fde": m.min_fde,
        "miss_rate": m.miss_rate,
        "overlap_rate": m.overlap_rate,
        "mean_ap": m.mean_ap,
        "soft_mean_ap": m.soft_mean_ap,
    }


def coincident(turn: int) -> dict[str, np.ndarray]:
    """The figures of predictions that lie exactly on their labels."""
    return detection(turn, waymo_scenes.coincident_scene)


def tied(seed: int) -> dict[str, np.ndarray]:
    """The figures of a scene with many matchings of equal weight."""
    return detection(seed, waymo_scenes.tied_scene)


def fixture_scene(folder: Path) -> dict[str, np.ndarray]:
    """The official fixture, read by our own decoder."""
    files = [decode((folder / name).read_bytes(), OBJECTS)["objects"] for name in waymo_fixture.FILES]
    return waymo_fixture.scene(*files)


def fixture(_: int) -> dict[str, np.ndarray]:
    """The figures of the official fixture."""
    return detection(0, lambda _: (fixture_scene(waymo_fixture.FOLDER), waymo_scenes.CHALLENGE))


KINDS = {
    "detection": detection,
    "coincident": coincident,
    "tied": tied,
    "fixture": fixture,
    "tracking": tracking,
    "motion": motion,
}


def main() -> None:
    kind, request, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    figures = {}
    for seed in json.loads(request.read_text())["seeds"]:
        figures |= {f"{seed}.{name}": value for name, value in KINDS[kind](seed).items()}
    np.savez(out, **figures)


if __name__ == "__main__":
    main()
