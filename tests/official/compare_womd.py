"""Waymo motion records, official reader against ours: ``compare_womd.py``; ``--golden FILE`` keeps the near scenario
and its official points.

States as ``scenario_pb2`` reads them: within 1e-6. WOMD-LiDAR: range, intensity and elongation equal; places within
1e-5 m of the official functions with float64 after the polar step; of ``womd_lidar_utils`` as it is, which computes all
in float32 (the top lidar's points in global coordinates), within 4 units in the last place of the largest number.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
import numpy as np
import tensorflow as tf
from compare_range_images import double_points
from exchange import ours
from waymo_open_dataset import dataset_pb2
from waymo_open_dataset.protos import scenario_pb2
from waymo_open_dataset.utils import womd_lidar_utils
from waymo_open_dataset.utils.compression import delta_encoder

TOP = dataset_pb2.LaserName.TOP
POINTS_M, STATES = 1e-5, 1e-6
MAX_RANGE_M = 75.0


def official_points(scenario):
    """{step/laser/return: (float64 [P, 6] range intensity elongation x y z as it is, float32 [P, 3] by float64)}."""
    out = {}
    for step, frame in enumerate(scenario.compressed_frame_laser_data):
        frame_pose = tf.constant(np.array(frame.pose.transform).reshape(4, 4), tf.float32)
        calibrations = {calibration.name: calibration for calibration in frame.laser_calibrations}
        for laser in frame.lasers:
            if laser.name == TOP:
                found = womd_lidar_utils.extract_top_lidar_points(laser, frame_pose, calibrations[laser.name])
            else:
                found = womd_lidar_utils.extract_side_lidar_points(laser, calibrations[laser.name])
            pose = None
            if laser.name == TOP:
                pose = delta_encoder.decompress(laser.ri_return1.range_image_pose_delta_compressed)
            for number in (1, 2):
                image = delta_encoder.decompress(getattr(laser, f"ri_return{number}").range_image_delta_compressed)
                exact = double_points(frame, image.astype(np.float32), pose, calibrations[laser.name])
                xyz, features = found[2 * number - 2].numpy(), found[2 * number - 1].numpy()
                out[f"{step}/{laser.name}/{number}"] = np.concatenate([features, xyz], axis=1).astype(np.float64), exact
    return out


def official_states(scenario) -> np.ndarray:
    """float64 [N, T, 10] x y z length width height heading vx vy valid; zeros where not valid."""
    names = ("center_x", "center_y", "center_z", "length", "width", "height", "heading", "velocity_x", "velocity_y")
    rows = [[[getattr(s, name) for name in (*names, "valid")] for s in track.states] for track in scenario.tracks]
    values = np.array(rows, np.float64)
    return np.where(values[..., 9:] > 0, values, 0.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", default="")
    args = parser.parse_args()
    worst = {"states": 0.0, "copied": 0.0, "float64, m": 0.0, "as it is, ulp": 0.0}
    points, golden = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        ours("ours_womd.py", folder)
        found = dict(np.load(Path(folder) / "ours.npz"))
        for path in sorted((Path(folder) / "raw").glob("*.tfrecord")):
            (record,) = tf.data.TFRecordDataset(str(path))
            scenario = scenario_pb2.Scenario.FromString(record.numpy())
            name = scenario.scenario_id
            difference = found.pop(f"{name}/states") - official_states(scenario)
            difference[..., 6] = np.angle(np.exp(1j * difference[..., 6]))
            worst["states"] = max(worst["states"], float(np.abs(difference).max()))
            origin = float(np.abs(scenario.compressed_frame_laser_data[0].pose.transform).max())
            for key, (cloud, exact) in official_points(scenario).items():
                mine = found.pop(f"{name}/{key}")
                if mine.shape != cloud.shape:
                    print(f"motion: {name}/{key} has {mine.shape}, official {cloud.shape}")
                    return 1
                points += len(cloud)
                copied = np.abs(mine[:, :3] - cloud[:, :3].astype(np.float32)).max(initial=0)
                worst["copied"] = max(worst["copied"], float(copied))
                gap = float(np.abs(mine[:, 3:] - cloud[:, 3:]).max(initial=0))
                far = (origin if int(key.split("/")[1]) == TOP else 0.0) + MAX_RANGE_M
                worst["as it is, ulp"] = max(worst["as it is, ulp"], gap / float(np.spacing(np.float32(far))))
                worst["float64, m"] = max(worst["float64, m"], float(np.abs(mine[:, 3:] - exact).max(initial=0)))
                if args.golden and name == "s1" and key.startswith("0/"):
                    golden["record"] = np.frombuffer(record.numpy(), np.uint8)
                    golden[key] = np.concatenate([cloud[:, :3], exact], axis=1)
    for name, value in worst.items():
        print(f"motion: {points} points, {name}: largest difference {value:.3g}", flush=True)
    if args.golden:
        np.savez_compressed(args.golden, **golden)
    bad = worst["states"] > STATES or worst["copied"] > 0 or worst["float64, m"] > POINTS_M
    bad = bad or worst["as it is, ulp"] > 4
    return int(bad or bool(found) or points == 0)


if __name__ == "__main__":
    raise SystemExit(main())
