"""Point clouds and images of a nuPlan log, as far as they are on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_tools.nuplan.pcd import COLUMNS, read_pcd
from data_tools.nuplan.sqlite import Database, token, whole
from data_tools.nuplan.tables import EgoPoses, LidarPc, Mount, read_mounts
from drive.errors import UserError
from drive.geometry.cameras import PLUMB_BOB
from drive.logs.writer import LogWriter

LIDAR = "MergedPointCloud"
IMAGE_TOLERANCE_US = 50_000  # cameras run at 10 Hz: the image nearest to a frame within half a period belongs to it


def add_sensors(
    log: LogWriter, database: Database, poses: EgoPoses, instants: list[LidarPc], root: Path, images: bool
) -> dict[str, dict[int, int]]:
    """Declare and add what is there of point clouds and images; returns {sensor: {frame: row}}."""
    rows: dict[str, dict[int, int]] = {}
    clouds = {
        k: sensor_file(root, instant.filename, str(database.path))
        for k, instant in enumerate(instants)
        if instant.filename
    }
    clouds = {k: path for k, path in clouds.items() if path.is_file()}
    if clouds:
        mounts = read_mounts(database, "lidar")
        mount = next(iter(mounts.values()), Mount(LIDAR, np.zeros(3), np.array([1.0, 0, 0, 0])))
        log.add_sensor(LIDAR, "lidar", mount.translation, mount.rotation, columns=COLUMNS, intensity_max=255.0)
        rows[LIDAR] = {}
        for k, path in clouds.items():
            points, extra = read_pcd(path)
            pose, stamp = instants[k].pose, instants[k].stamp_us
            rows[LIDAR][k] = log.add_sweep(
                LIDAR, stamp * 1000, points, poses.translations[pose], poses.rotations[pose], extra=extra,
                is_key_frame=True, source_timestamp=stamp, source_name=instants[k].filename,
                source_token=instants[k].token, source_pose_timestamp=int(poses.stamps_us[pose]),
            )  # fmt: skip
    if images:
        stamps = np.array([instant.stamp_us for instant in instants], dtype=np.int64)
        for key, camera in read_mounts(database, "camera").items():
            own = _add_images(log, database, key, camera, poses, stamps, root)
            if own:
                rows[camera.channel] = own
    return rows


def sensor_file(root: Path, name: str, place: str) -> Path:
    """A sensor file by the name in the database, which must stay below the folder."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UserError(place, f"file name {name[:80]!r} leads out of the sensor folder", "copy the file again")
    return root / path


def _add_images(
    log: LogWriter, database: Database, key: str, camera: Mount, poses: EgoPoses, stamps: np.ndarray, root: Path
) -> dict[int, int]:
    """Images of one camera that are there, those nearest to a frame; returns {frame: row}."""
    rows: dict[int, int] = {}
    nearest: dict[int, tuple[int, int, int, str, str]] = {}
    for row in database.rows("SELECT token, camera_token, ego_pose_token, timestamp, filename_jpg FROM image"):
        place = f"{database.path}: image"
        if token(row[1], place, "camera_token") != key or not isinstance(row[4], str):
            continue
        stamp, pose = whole(row[3], place, "timestamp"), poses.index.get(token(row[2], place, "ego_pose_token"))
        if pose is None:
            raise UserError(place, "its ego_pose_token names no ego_pose", "copy the file again")
        after = min(int(np.searchsorted(stamps, stamp)), len(stamps) - 1)
        gap, k = min((abs(int(stamps[i]) - stamp), i) for i in (max(after - 1, 0), after))
        if (
            gap <= IMAGE_TOLERANCE_US
            and (k not in nearest or gap < nearest[k][0])
            and sensor_file(root, row[4], place).is_file()
        ):
            nearest[k] = gap, stamp, pose, row[4], token(row[0], place, "token")
    if nearest:
        _declare_camera(log, camera)
    for k, (_, stamp, pose, name, own) in sorted(nearest.items(), key=lambda item: item[1][1]):
        data = (root / name).read_bytes()
        if not data.startswith(b"\xff\xd8"):
            raise UserError(root / name, "is not a JPEG image", "copy the file again")
        rows[k] = log.add_image(
            camera.channel, stamp * 1000, data, camera.width, camera.height, poses.translations[pose],
            poses.rotations[pose], is_key_frame=True, source_timestamp=stamp, source_name=name, source_token=own,
            source_pose_timestamp=int(poses.stamps_us[pose]), file=root / name,
        )  # fmt: skip
    return rows


def _declare_camera(log: LogWriter, camera: Mount) -> None:
    distortion = (PLUMB_BOB, list(camera.distortion)) if camera.distortion else None
    log.add_sensor(
        camera.channel, "camera", camera.translation, camera.rotation, intrinsics=camera.intrinsics,
        distortion=distortion, width=camera.width, height=camera.height,
    )  # fmt: skip
