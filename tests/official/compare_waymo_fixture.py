"""Waymo's detection operator against ours on the operator's own fixture; ``--golden FILE`` keeps its figures."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "2"}
import waymo_fixture
import waymo_scenes
from compare_waymo_detection import run_operator
from exchange import compare, report
from waymo_open_dataset.protos import metrics_pb2


def objects(path: Path) -> list[dict[str, Any]]:
    """The file's objects as plain dicts."""
    message = metrics_pb2.Objects.FromString(path.read_bytes())
    return [
        {
            "object": {
                "box": {name: getattr(o.object.box, name) for name in waymo_fixture.BOX},
                "type": o.object.type,
                "num_lidar_points": o.object.num_lidar_points_in_box,
                "detection_difficulty": o.object.detection_difficulty_level,
            },
            "score": o.score,
            "overlap_with_nlz": o.overlap_with_nlz,
            "context_name": o.context_name,
            "frame_timestamp_micros": o.frame_timestamp_micros,
        }
        for o in message.objects
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", type=Path)
    args = parser.parse_args()
    paths = [waymo_fixture.FOLDER / name for name in waymo_fixture.FILES]
    if not all(path.is_file() for path in paths):
        print(f"Waymo fixture: skipped, {' and '.join(waymo_fixture.FILES)} are not in {waymo_fixture.FOLDER}")
        return 0
    theirs = run_operator(waymo_fixture.scene(*map(objects, paths)), waymo_scenes.CHALLENGE)
    if args.golden:
        figures = {name: [round(float(v), 7) for v in theirs[name]] for name in ("ap", "aph")}
        args.golden.write_text(json.dumps(figures) + "\n")
    worst = compare("ours_waymo.py", "fixture", [0], {0: theirs})
    return report("Waymo detection, official fixture", 1, worst, 1e-5)


if __name__ == "__main__":
    raise SystemExit(main())
