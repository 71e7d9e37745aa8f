"""A log whose cameras see marks at known places, driving, each image exposed a little after the frame."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from drive.geometry.rigid import from_translation_rotation, invert, matrix_to_quaternion, quaternion_from_yaw
from drive.logs.writer import LogWriter

EGO_FROM_FRONT = np.array([[0.0, 0, 1, 1.5], [-1, 0, 0, 0.1], [0, -1, 0, 1.6], [0, 0, 0, 1]])
EGO_FROM_LEFT = np.array([[1.0, 0, 0, 0.5], [0, 0, 1, 0.6], [0, -1, 0, 1.5], [0, 0, 0, 1]])
LENS = (-0.12, 0.03, 0.001, -0.002, 0.0)
CAMERAS = {
    # name: pose, size, intrinsics, distortion, delay in s
    "FRONT": (EGO_FROM_FRONT, (480, 300), np.array([[300.0, 0, 239.5], [0, 300, 149.5], [0, 0, 1]]), None, 0.06),
    "LEFT": (EGO_FROM_LEFT, (400, 320), np.array([[220.0, 0, 205], [0, 224, 150], [0, 0, 1]]), LENS, 0.02),
}
MARKS = {  # in the frame's ego frame; every image below its middle, where nothing is cut off
    "FRONT": np.array([[12.0, 2.0, 1.0], [9.0, -3.0, 0.5], [25.0, 6.0, 0.2], [15.0, -1.0, 0.3]]),
    "LEFT": np.array([[2.0, 9.0, 0.8], [-2.5, 8.0, 0.4], [1.0, 14.0, 0.1]]),
}
YAW_RATE, SPEED, FRAME_NS = 0.5, 10.0, 100_000_000


def ego_pose(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """A circle, driven at SPEED."""
    yaw = 0.3 + YAW_RATE * seconds
    radius = SPEED / YAW_RATE
    place = np.array([500.0 + radius * (np.sin(yaw) - np.sin(0.3)), -200 - radius * (np.cos(yaw) - np.cos(0.3)), 0.0])
    return place, quaternion_from_yaw(yaw)


def see(camera: str, delay: float) -> np.ndarray:
    """Pixels of a camera's marks, by hand: world, ego at the exposure, optical frame, lens, intrinsics."""
    pose, _, intrinsics, lens, _ = CAMERAS[camera]
    world = from_translation_rotation(*ego_pose(0.0)) @ np.c_[MARKS[camera], np.ones(len(MARKS[camera]))].T
    x, y, z, _ = invert(pose) @ invert(from_translation_rotation(*ego_pose(delay))) @ world
    x, y = x / z, y / z
    if lens is not None:
        k1, k2, p1, p2, k3 = lens
        r2 = x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        x, y = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([intrinsics[0, 0] * x + intrinsics[0, 2], intrinsics[1, 1] * y + intrinsics[1, 2]], axis=1)


def marked(size: tuple[int, int], pixels: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """A grey picture [H, W, 3] with a bright round spot at every pixel [M, 2]."""
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    grey = np.full((size[1], size[0]), 30.0)
    for at_u, at_v in pixels:
        grey += 200 * np.exp(-((u - at_u) ** 2 + (v - at_v) ** 2) / (2 * sigma**2))
    return np.repeat(np.round(grey).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def spot(image: np.ndarray, near: np.ndarray, radius: int = 12) -> np.ndarray:
    """Where the bright spot near a pixel lies: its centre of mass."""
    u0, v0 = np.round(near).astype(int) - radius
    part = image[max(v0, 0) : v0 + 2 * radius + 1, max(u0, 0) : u0 + 2 * radius + 1, 0].astype(np.float64)
    part = np.maximum(part - 45, 0)
    v, u = np.indices(part.shape)
    return np.array([(part * u).sum(), (part * v).sum()]) / part.sum() + [max(u0, 0), max(v0, 0)]


def encoded(picture: np.ndarray, kind: str = "PNG") -> bytes:
    """A picture file."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return out.getvalue()


def write_camera_log(
    root: Path,
    name: str = "cameras",
    *,
    change: Callable[[str, bytes], bytes | None] = lambda camera, data: data,
    scale_front_intrinsics: float = 1.0,
) -> Path:
    """One frame with a lidar sweep, one box around FRONT's first mark, and an image of each camera.

    `change` gives a camera's bytes back changed, or None to leave the image out.
    """
    first, rotation = ego_pose(0.0)
    with LogWriter(root, name, dataset="hand-made", source_version="1", licence="CC0-1.0", split="train") as log:
        log.add_sensor(
            "LIDAR", "lidar", (0, 0, 0), (1, 0, 0, 0), columns=("x", "y", "z", "intensity"), intensity_max=1.0
        )
        for camera, (pose, (width, height), intrinsics, lens, _) in CAMERAS.items():
            own = intrinsics.copy()
            if camera == "FRONT":
                own[:2, :2] *= scale_front_intrinsics
            log.add_sensor(
                camera, "camera", pose[:3, 3], matrix_to_quaternion(pose[:3, :3]), intrinsics=own, width=width,
                height=height, distortion=None if lens is None else ("plumb_bob", list(lens)),
            )  # fmt: skip
        places = np.concatenate(list(MARKS.values()))
        behind = np.array([[-20.0, 0.5, 1.0]])
        cloud = np.c_[np.concatenate([places, behind]), np.full(len(places) + 1, 0.5)].astype(np.float32)
        common = {"is_key_frame": True, "source_timestamp": 0}
        rows = {"LIDAR": log.add_sweep("LIDAR", 0, cloud, first, rotation, source_name="0.bin", **common)}
        for camera, (_, size, _, _, delay) in CAMERAS.items():
            data = change(camera, encoded(marked(size, see(camera, delay))))
            if data is not None:
                rows[camera] = log.add_image(
                    camera, round(delay * 1e9), data, *size, *ego_pose(delay), source_name=f"{camera}.png", **common
                )
        frame = log.add_frame(
            0, rows=rows, pose_translation=first, pose_rotation=rotation, source_timestamp=0, source_token="t0"
        )
        box = np.array([[*MARKS["FRONT"][0], 2.0, 2, 2, 0.4, 0, 0]])
        log.add_boxes(
            frame, box, ["vehicle.car"], ["a"], velocity_valid=np.ones(1, bool), num_lidar_points=np.array([1]),
            source_translation=box[:, :3], source_rotation=quaternion_from_yaw(box[:, 6]), source_size=box[:, 3:6],
        )  # fmt: skip
    return root / name
