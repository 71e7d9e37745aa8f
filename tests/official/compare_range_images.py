"""Waymo's range images to points, official against ours: ``compare_range_images.py [DIR]``, DIR a folder of perception
v1 TFRecord files (without it a small town is made). ``--golden FILE`` keeps one small frame and its points.

Three comparisons of every frame, laser and return:

- what is copied (range, intensity, elongation, camera projections, order): equal;
- ``frame_utils.convert_range_image_to_point_cloud`` as it is: within 1e-5 m for the lasers without pixel poses. The
  top laser's points pass through global coordinates in float32 there: within 4 of their units in the last place;
- the same functions with their argument ``dtype=tf.float64`` after the polar step: within 1e-5 m for every laser.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

# The official reader hands bytearrays to protobuf, which only its Python implementation takes.
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
import numpy as np
import tensorflow as tf
from exchange import ours
from waymo_open_dataset import dataset_pb2
from waymo_open_dataset.utils import frame_utils, range_image_utils, transform_utils

BOUND_M = 1e-5
TOP = dataset_pb2.LaserName.TOP


def double_points(frame, image, pose, calibration) -> np.ndarray:
    """float32 [P, 3]: official polar coordinates (float32), official Cartesian ones in float64."""
    extrinsic = np.array(calibration.extrinsic.transform, np.float32).reshape(1, 4, 4)
    if calibration.beam_inclinations:
        inclination = tf.constant(calibration.beam_inclinations)
    else:
        bounds = tf.constant([calibration.beam_inclination_min, calibration.beam_inclination_max])
        inclination = range_image_utils.compute_inclination(bounds, height=image.shape[0])
    inclination = tf.reverse(inclination, axis=[-1])[tf.newaxis]
    polar = range_image_utils.compute_range_image_polar(tf.constant(image[None, :, :, 0]), extrinsic, inclination)
    poses = {}
    if calibration.name == TOP:
        angles = tf.constant(pose.astype(np.float64))
        rotation = transform_utils.get_rotation_matrix(angles[..., 0], angles[..., 1], angles[..., 2])
        poses["pixel_pose"] = transform_utils.get_transform(rotation, angles[..., 3:])[tf.newaxis]
        poses["frame_pose"] = tf.constant(np.array(frame.pose.transform).reshape(1, 4, 4))
    polar = tf.cast(polar, tf.float64)
    found = range_image_utils.compute_range_image_cartesian(
        polar, tf.constant(extrinsic, tf.float64), dtype=tf.float64, **poses
    )
    return found.numpy()[0][image[..., 0] > 0].astype(np.float32)


def official(path: Path):
    """(frame, record, laser, return, points [P, 6] as they come, projections [P, 6], points [P, 3] by float64, how far
    from the global origin)."""
    for record, data in enumerate(tf.data.TFRecordDataset(str(path))):
        frame = dataset_pb2.Frame()
        frame.ParseFromString(data.numpy())
        images, projections, _, top_pose = frame_utils.parse_range_image_and_camera_projection(frame)
        pose = np.array(top_pose.data, np.float32).reshape(top_pose.shape.dims)
        far = float(np.abs(np.array(frame.pose.transform).reshape(4, 4)[:3, 3]).max()) + 75.0
        calibrations = sorted(frame.context.laser_calibrations, key=lambda c: c.name)
        for kind in (0, 1):
            points, projected = frame_utils.convert_range_image_to_point_cloud(
                frame, images, projections, top_pose, kind, keep_polar_features=True
            )
            for calibration, cloud, pixels in zip(calibrations, points, projected, strict=True):
                matrix = images[calibration.name][kind]
                image = np.array(matrix.data, np.float32).reshape(matrix.shape.dims)
                exact = double_points(frame, image, pose, calibration)
                yield frame, record, calibration.name, kind + 1, cloud, pixels, exact, far


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", nargs="?")
    parser.add_argument("--golden", default="")
    args = parser.parse_args()
    worst = {"copied": 0.0, "as it is, short lasers": 0.0, "as it is, top laser, in ulp": 0.0, "float64": 0.0}
    worst["as it is, top laser, m"] = 0.0
    points, golden = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        tiny = ["--tiny"] if args.golden else []
        ours("ours_range_images.py", folder, *([args.raw] if args.raw else []), *tiny)
        found = dict(np.load(Path(folder) / "ours.npz"))
        seen = set()
        for path in sorted(Path(args.raw or Path(folder) / "raw").rglob("*.tfrecord")):
            for frame, record, laser, kind, cloud, pixels, exact, far in official(path):
                key = f"{path.name}/{record}/{laser}/{kind}"
                seen |= {key, f"{key}/projection"}
                mine, projected = found.get(key), found.get(f"{key}/projection")
                if mine is None or mine.shape != cloud.shape:
                    print(f"range images: {key} has {None if mine is None else mine.shape}, official {cloud.shape}")
                    return 1
                points += len(cloud)
                copied = max(
                    np.abs(mine[:, :3] - cloud[:, :3]).max(initial=0), np.abs(projected - pixels).max(initial=0)
                )
                worst["copied"] = max(worst["copied"], float(copied))
                gap = float(np.abs(mine[:, 3:] - cloud[:, 3:]).max(initial=0))
                if laser == TOP:
                    name = "as it is, top laser, in ulp"
                    worst["as it is, top laser, m"] = max(worst["as it is, top laser, m"], gap)
                    gap /= float(np.spacing(np.float32(far)))
                else:
                    name = "as it is, short lasers"
                worst[name] = max(worst[name], gap)
                worst["float64"] = max(worst["float64"], float(np.abs(mine[:, 3:] - exact).max(initial=0)))
                if args.golden and record == 0:
                    frame.ClearField("map_features")
                    golden["record"] = np.frombuffer(frame.SerializeToString(), np.uint8)
                    golden[f"{laser}/{kind}"], golden[f"{laser}/{kind}/float64"] = cloud[:, 3:], exact
    for name, value in worst.items():
        print(f"range images: {points} points, {name}: largest difference {value:.3g}", flush=True)
    if args.golden:
        np.savez_compressed(args.golden, **golden)
    missing = set(found) - seen
    bad = worst["copied"] > 0 or max(worst["as it is, short lasers"], worst["float64"]) > BOUND_M
    return int(bad or bool(missing) or points == 0 or worst["as it is, top laser, in ulp"] > 4)


if __name__ == "__main__":
    raise SystemExit(main())
