"""Waymo's submission files that we write, read by the official messages: every field of every box and trajectory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "2"}
import numpy as np
from exchange import ours
from waymo_open_dataset.protos import metrics_pb2, motion_submission_pb2, submission_pb2


def check(name: str, found: object, expected: object) -> None:
    if not np.array_equal(np.asarray(found), np.asarray(expected)):
        raise SystemExit(f"{name} differs")


def check_objects(name: str, objects: list, expected: dict, *, tracked: bool) -> None:
    n = len(expected["score"])
    check(f"{name}: number of boxes", len(objects), n)
    check(f"{name}: context", [o.context_name for o in objects], [f"segment-{i % 7}" for i in range(n)])
    check(f"{name}: time", [o.frame_timestamp_micros for o in objects], expected["timestamp"])
    columns = ("center_x", "center_y", "center_z", "length", "width", "height", "heading")
    check(f"{name}: boxes", [[getattr(o.object.box, c) for c in columns] for o in objects], expected["boxes"])
    check(f"{name}: type", [o.object.type for o in objects], expected["label"])
    check(f"{name}: score", [o.score for o in objects], expected["score"].astype(np.float32))
    check(f"{name}: overlap", [o.overlap_with_nlz for o in objects], expected["nlz"])
    speeds = [[o.object.metadata.speed_x, o.object.metadata.speed_y] for o in objects]
    check(f"{name}: speed", speeds, expected["velocity"])
    if tracked:
        check(f"{name}: id", [o.object.id for o in objects], [f"track-{i}" for i in range(n)])


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        ours("ours_submissions.py", folder)
        expected = dict(np.load(Path(folder) / "expected.npz"))
        data = {path.stem: path.read_bytes() for path in Path(folder).glob("*.bin")}
    kinds = submission_pb2.Submission
    for name, task in (("detection", kinds.DETECTION_3D), ("tracking", kinds.TRACKING_3D)):
        submission = kinds.FromString(data[name])
        check(f"{name}: task", submission.task, task)
        check(f"{name}: sensor", submission.sensor_type, kinds.LIDAR_ALL)
        check(f"{name}: account", submission.account_name, "me@example.org")
        check(f"{name}: method", submission.unique_method_name, "ours")
        check(f"{name}: authors", list(submission.authors), ["A", "B"])
        check(f"{name}: past frames", submission.number_past_frames_exclude_current, 3 if name == "detection" else 0)
        check(f"{name}: types", sorted(submission.object_types), [1, 2, 3, 4])
        check_objects(name, submission.inference_results.objects, expected, tracked=name == "tracking")
    check_objects("objects", metrics_pb2.Objects.FromString(data["objects"]).objects, expected, tracked=True)
    motion = motion_submission_pb2.MotionChallengeSubmission.FromString(data["motion"])
    check("motion: kind", motion.submission_type, motion_submission_pb2.MotionChallengeSubmission.MOTION_PREDICTION)
    check("motion: lidar", motion.uses_lidar_data, True)
    check(
        "motion: scenarios", [s.scenario_id for s in motion.scenario_predictions], [f"scenario-{i}" for i in range(10)]
    )
    singles = [p for s in motion.scenario_predictions for p in s.single_predictions.predictions]
    check("motion: objects", [p.object_id for p in singles], np.arange(40))
    check("motion: modes", [len(p.trajectories) for p in singles], expected["modes"])
    modes = [mode for p in singles for mode in p.trajectories]
    points = [np.column_stack([m.trajectory.center_x, m.trajectory.center_y]) for m in modes]
    check("motion: points", points, expected["trajectories"].astype(np.float32))
    check("motion: confidence", [m.confidence for m in modes], expected["confidence"].astype(np.float32))
    print("submissions: detection, tracking, objects and motion read by the official messages, every field equal")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
