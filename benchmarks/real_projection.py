"""Do the lidar points of labelled objects lie on the objects in the images? Real frames, every data set that has both.

``python -m benchmarks.real_projection DATA`` converts the excerpts in DATA (kitti, nuscenes, tri_dgp, view_of_delft,
waymo, av2; those that are absent are left out and named) and writes ``results/real_projection.json``:

- objects: of the lidar points inside a labelled 3D box that project into an image, the share inside the object's 2D box
  (2 px slack, pooled). KITTI, View-of-Delft and TRI label 2D boxes; nuScenes has none, there it is the rectangle around
  the projected 3D box. The same with the calibration turned by a half, one and two degrees, which must show.
- waymo: its frame has no lidar, but the rectangles that Waymo projected from its 3D boxes; ours against them, with the
  rolling shutter and without; boxes of which a part is behind the camera or beyond its lens are left out.
- nuscenes_devkit: pixels of ``map_pointcloud_to_image`` and ours, where the devkit is installed.
- av2: pixels of av2-api's ``PinholeCamera.project_ego_to_img`` and ours, with ``--av2 FOLDER`` that holds it.

``--pictures FOLDER`` draws every image with its points by depth, 3D boxes and rectangles.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageDraw
from rich.console import Console

from data_tools.convert import convert
from drive.geometry.rigid import from_translation_rotation, quaternion_from_yaw
from drive.logs.store import Log, list_logs
from drive.samples.shutter import rolling_shutter
from drive.view.camera import draw_camera
from drive.view.camera_points import (
    in_picture,
    labelled_rectangles,
    object_points,
    project_to_camera,
    projected_rectangles,
)
from drive.view.frames import frame_points
from drive.view.ink import RIGHT

RAW = {
    "kitti": "kitti", "nuscenes": "nuscenes", "dgp": "tri_dgp", "view_of_delft": "view_of_delft/example_set",
    "waymo": "waymo/perception_v1", "av2": "av2/sensor",
}  # fmt: skip
DEGREES = (0.5, 1.0, 2.0)


def cameras_of(log: Log, frame: int) -> list[str]:
    """Cameras with an image of a frame."""
    return sorted(name for name, s in log.sensors.items() if s.modality == "camera" and name in log.frame(frame).rows)


def objects(logs: list[Log]) -> dict[str, Any]:
    """Shares of one data set, as it is and with its calibration turned."""
    counts: dict[str, list[int]] = {}
    total, frames, images, labelled = 0, 0, 0, set()
    for log in logs:
        for frame in range(log.num_frames):
            points = frame_points(log, frame)
            if not (cameras := cameras_of(log, frame)) or not len(points):
                continue
            frames, images = frames + 1, images + len(cameras)
            for degrees in (0.0, *DEGREES):
                turn = from_translation_rotation(np.zeros(3), quaternion_from_yaw(np.deg2rad(degrees)))
                found = object_points(log, frame, points, calibration_error=turn)
                key = "share" if degrees == 0 else f"share_turned_{degrees:g}_degrees"
                sums = counts.setdefault(key, [0, 0])
                sums[0], sums[1] = sums[0] + sum(o.inside for o in found), sums[1] + sum(o.points for o in found)
                if degrees == 0:
                    total += len(found)
                    labelled |= {o.labelled for o in found}
    inside, points_seen = counts["share"]
    return {
        "frames": frames, "images": images, "objects_in_images": total, "points": points_seen, "inside": inside,
        "rectangles": "labelled" if labelled == {True} else "around the projected 3D box",
        **{key: round(a / b, 4) for key, (a, b) in counts.items()},
    }  # fmt: skip


def waymo_rectangles(log: Log) -> dict[str, Any]:
    """Differences in pixels between Waymo's projected rectangles and ours, of boxes that a camera sees as a whole."""
    number = {token: i for i, token in enumerate(log.boxes(0).track_token)}
    differences: dict[str, list[float]] = {"rolling": [], "still": []}
    cut = 0
    for camera in cameras_of(log, 0):
        rolling = projected_rectangles(log, 0, camera)
        still = projected_rectangles(log, 0, camera, roll=False)
        sensor = log.sensors[camera]
        size = np.array([sensor.width, sensor.height] * 2)
        for row in log.table("projected_lidar_labels").to_pylist():
            if row["sensor"] != camera:
                continue
            box = number[row["track"].removesuffix(f"_{camera.removeprefix('CAM_')}")]
            theirs = np.array([row[side] for side in ("x_min", "y_min", "x_max", "y_max")])
            if not rolling.whole[box]:
                cut += 1
                continue
            for name, found in (("rolling", rolling), ("still", still)):
                ours = np.clip(found.rectangles[box], 0, size)
                differences[name].append(float(np.abs(ours - theirs).max()))
    return {
        "rectangles": len(differences["rolling"]), "left_out": cut,
        **{
            f"{name}_px": {"median": round(float(np.median(v)), 5), "max": round(float(np.max(v)), 5)}
            for name, v in differences.items()
        },
        "readout_s": rolling_shutter(log, "CAM_FRONT", 0).readout_s,  # type: ignore[union-attr]
    }  # fmt: skip


def devkit(log: Log, raw: Path) -> dict[str, Any]:
    """The nuScenes devkit's pixels of the lidar sweep against ours."""
    try:
        from nuscenes.nuscenes import NuScenes
    except ImportError as error:
        return {"left_out": str(error)}
    official = NuScenes("v1.0-mini", str(raw), verbose=False)
    tokens = next(s["data"] for s in official.sample if s["token"] == log.frame(0).token)
    points, seen, worst = frame_points(log, 0), 0, 0.0
    for camera in cameras_of(log, 0):
        theirs, _, image = official.explorer.map_pointcloud_to_image(tokens["LIDAR_TOP"], tokens[camera])
        pixels, depth = project_to_camera(log, 0, camera, points)
        # The devkit's own limits: a metre of depth, a pixel from the border.
        mine = (depth > 1) & (pixels > 1).all(axis=1) & (pixels < np.array(image.size) - 1).all(axis=1)
        if int(mine.sum()) != theirs.shape[1]:
            raise SystemExit(f"{camera}: the devkit sees {theirs.shape[1]} points, ours {int(mine.sum())}")
        seen, worst = seen + theirs.shape[1], max(worst, float(np.abs(theirs[:2].T - pixels[mine]).max()))
    return {"points_in_images": seen, "same_points": True, "max_px": round(worst, 4)}


def av2(log: Log, raw: Path, package: Path) -> dict[str, Any]:
    """av2-api's pixels of a lidar sweep against ours."""
    sys.path.append(str(package))
    from av2.geometry.camera.pinhole_camera import PinholeCamera

    frame = next(i for i in range(log.num_frames) if len(frame_points(log, i)))
    points = frame_points(log, frame)[:, :3].astype(np.float64)
    folder = next(path for path in sorted(raw.rglob(log.name)) if path.is_dir())
    seen, worst, apart = 0, 0.0, 0
    for camera in sorted(name for name, s in log.sensors.items() if s.modality == "camera"):
        theirs, _, valid = PinholeCamera.from_feather(folder, camera).project_ego_to_img(points)
        pixels, _ = project_to_camera(log, frame, camera, points, exposed=False)
        mine = in_picture(log, camera, pixels)
        seen, worst = seen + int(valid.sum()), max(worst, float(np.abs(theirs[valid] - pixels[valid]).max()))
        apart += int((valid != mine).sum())
    return {"points_in_images": seen, "max_px": worst, "seen_by_one_only_at_the_border": apart}


def draw(log: Log, frame: int, folder: Path) -> None:
    """Each image of a frame with points, 3D boxes (drawn by `draw_camera`) and rectangles."""
    folder.mkdir(parents=True, exist_ok=True)
    points = frame_points(log, frame)
    given = labelled_rectangles(log, frame)
    for camera in cameras_of(log, frame):
        picture = draw_camera(log, frame, camera, points=points)
        pen = ImageDraw.Draw(picture)
        for (_, name), (left, top, right, bottom) in (given or {}).items():
            if name == camera:
                pen.rectangle((left, top, right, bottom), outline=RIGHT, width=2)
        picture.save(folder / f"{log.dataset}_{log.name}_{frame}_{camera}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--av2", type=Path, help="a folder with av2-api")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "real_projection.json")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers
    result: dict[str, Any] = {"objects": {}}
    with tempfile.TemporaryDirectory() as work:
        logs: dict[str, list[Log]] = {}
        for dataset, folder in RAW.items():
            if not (args.data / folder).is_dir():
                result.setdefault("absent", []).append(dataset)
                continue
            convert(dataset, args.data / folder, Path(work) / dataset, console=Console(quiet=True))
            logs[dataset] = [Log.open(path) for path in list_logs(Path(work) / dataset)]
        for dataset in ("kitti", "nuscenes", "dgp", "view_of_delft"):
            if dataset in logs:
                result["objects"][dataset] = objects(logs[dataset])
        rows = result["objects"].values()
        inside, points = (sum(row[name] for row in rows) for name in ("inside", "points"))
        result["objects"]["pooled"] = {"points": points, "inside": inside, "share": round(inside / points, 4)}
        if "waymo" in logs:
            result["waymo"] = waymo_rectangles(logs["waymo"][0])
        if "nuscenes" in logs:
            result["nuscenes_devkit"] = devkit(logs["nuscenes"][0], args.data / RAW["nuscenes"])
        if "av2" in logs and args.av2:
            result["av2"] = av2(logs["av2"][0], args.data / RAW["av2"], args.av2)
        if args.pictures:
            for log in [log for found in logs.values() for log in found]:
                for frame in range(log.num_frames):
                    draw(log, frame, args.pictures)
    result["machine"] = {"system": platform.platform(), "python": platform.python_version(), "numpy": np.__version__}
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
