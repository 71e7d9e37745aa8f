"""Real frames: points of labelled objects lie on the objects in the images; pixels as the official packages say."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_tools.convert import convert
from data_tools.unpickle import load_pickle
from drive.geometry.box import corners
from drive.geometry.rigid import from_translation_rotation, quaternion_from_yaw, transform_points
from drive.logs.store import Log, list_logs
from drive.samples.batch import collate
from drive.samples.classes import KITTI_CLASSES, NUSCENES_CLASSES
from drive.samples.frame_dataset import FrameDataset
from drive.samples.image_read import camera_from_frame
from drive.samples.images import ImageConfig
from drive.samples.inside import points_in_boxes
from drive.view.camera_points import (
    draw_points,
    in_picture,
    labelled_rectangles,
    object_points,
    project_to_camera,
    projected_rectangles,
)
from drive.view.frames import frame_points
from ops.camera_sample import project_points

RAW = {
    "kitti": "kitti", "nuscenes": "nuscenes", "dgp": "tri_dgp", "view_of_delft": "view_of_delft/example_set",
    "waymo": "waymo/perception_v1",
}  # fmt: skip


@pytest.fixture(scope="module")
def logs(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Log]]:
    """Logs of a data set, converted once."""
    root, made = tmp_path_factory.mktemp("real"), {}

    def of(dataset: str) -> list[Log]:
        if dataset not in made:
            convert(dataset, real_data / RAW[dataset], root / dataset)
            made[dataset] = [Log.open(path) for path in list_logs(root / dataset)]
        return made[dataset]

    return of


@pytest.mark.parametrize(
    ("dataset", "frames", "objects", "labelled"),
    [
        ("kitti", 7, 39, True),
        ("nuscenes", 1, 81, False),  # no 2D boxes: the rectangles around the projected 3D boxes
        ("dgp", 3, 125, True),
        ("view_of_delft", 1, 12, True),
    ],
)
def test_points_of_objects_lie_in_their_rectangles(
    logs: Callable[[str], list[Log]], dataset: str, frames: int, objects: int, labelled: bool
) -> None:
    """At least 95 % of the points inside a 3D box that project into the image, pooled; 2 px slack."""
    found, wrong, seen = [], [], 0
    # Two degrees: what a mistaken calibration does to the figure, so that it can be seen to say something.
    turn = from_translation_rotation(np.zeros(3), quaternion_from_yaw(np.deg2rad(2.0)))
    for log in logs(dataset):
        for frame in range(log.num_frames):
            points = frame_points(log, frame)
            if any(log.sensors[name].modality == "camera" for name in log.frame(frame).rows):
                seen += 1
                found += object_points(log, frame, points)
                wrong += object_points(log, frame, points, calibration_error=turn)
    assert seen == frames
    assert len(found) == objects
    assert {o.labelled for o in found} == {labelled}
    share = sum(o.inside for o in found) / sum(o.points for o in found)
    assert share >= 0.99
    assert sum(o.inside for o in wrong) / sum(o.points for o in wrong) < share - 0.04


def test_waymo_s_projected_rectangles(logs: Callable[[str], list[Log]]) -> None:
    """Waymo projected its 3D boxes with its own rolling shutter: the same numbers come out."""
    (log,) = logs("waymo")
    number = {token: i for i, token in enumerate(log.boxes(0).track_token)}
    rolling, still = [], []
    for camera in [name for name, s in log.sensors.items() if s.modality == "camera"]:
        ours, unrolled = projected_rectangles(log, 0, camera), projected_rectangles(log, 0, camera, roll=False)
        size = np.array([log.sensors[camera].width, log.sensors[camera].height] * 2)
        for row in log.table("projected_lidar_labels").to_pylist():
            box = number[row["track"].removesuffix(f"_{row['sensor'].removeprefix('CAM_')}")]
            if row["sensor"] == camera and ours.whole[box]:
                theirs = np.array([row[side] for side in ("x_min", "y_min", "x_max", "y_max")])
                rolling.append(np.abs(np.clip(ours.rectangles[box], 0, size) - theirs).max())
                still.append(np.abs(np.clip(unrolled.rectangles[box], 0, size) - theirs).max())
    assert len(rolling) == 57
    assert max(rolling) < 0.005
    assert np.median(still) > 20 * np.median(rolling)  # this car stood; it turned by a fifth of a degree a second


def test_nuscenes_rectangles_of_another_project(logs: Callable[[str], list[Log]], real_data: Path) -> None:
    """mmdetection3d's info file holds the rectangles that it projected, cut to the image."""
    (path,) = (real_data / "nuscenes/mmdet3d_infos").glob("*.pkl")
    (info,) = load_pickle(path)["data_list"]
    (log,) = logs("nuscenes")
    boxes = log.boxes(0).boxes
    differences = []
    for camera, instances in info["cam_instances"].items():
        middle = transform_points(camera_from_frame(log, log.frame(0), camera), boxes[:, :3])
        found = projected_rectangles(log, 0, camera)
        for instance in instances:
            apart = np.linalg.norm(middle - np.array(instance["bbox_3d"][:3], np.float64), axis=1)
            box = int(apart.argmin())
            assert apart[box] < 0.01
            if found.whole[box]:
                ours = np.clip(found.rectangles[box], 0, [1600, 900, 1600, 900])
                differences.append(np.abs(ours - np.array(instance["bbox"], np.float64)).max())
    assert len(differences) > 70
    # A log's boxes stand upright in the ego frame, nuScenes's in the map's: half a degree of pitch, a pixel.
    assert np.median(differences) < 1.0
    assert np.quantile(differences, 0.9) < 2.0


def test_nuscenes_devkit(logs: Callable[[str], list[Log]], real_data: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        devkit = pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit is not installed")
        official = devkit.NuScenes("v1.0-mini", str(real_data / "nuscenes"), verbose=False)
        (log,) = logs("nuscenes")
        points = frame_points(log, 0)
        (tokens,) = [s["data"] for s in official.sample if s["token"] == log.frame(0).token]
        seen = official.explorer.map_pointcloud_to_image(tokens["LIDAR_TOP"], tokens["CAM_BACK_LEFT"])
        theirs, depths = seen[:2]
        del seen
        gc.collect()  # the devkit leaves its picture open
    pixels, depth = project_to_camera(log, 0, "CAM_BACK_LEFT", points)
    mine = (depth > 1) & (pixels > 1).all(axis=1) & (pixels < [1599, 899]).all(axis=1)
    assert int(mine.sum()) == theirs.shape[1]
    assert np.abs(pixels[mine] - theirs[:2].T).max() < 0.05  # theirs go through float32 map coordinates
    assert np.abs(depth[mine] - depths).max() < 1e-3


@pytest.mark.parametrize("dataset", ["kitti", "nuscenes", "view_of_delft"])
def test_samples_see_what_the_pictures_show(logs: Callable[[str], list[Log]], dataset: str) -> None:
    """The batch's cameras put points where the recorded pictures have them, through the image's resize and crop."""
    log = next(log for log in logs(dataset) if "000142" in log.name or dataset != "kitti")
    classes = NUSCENES_CLASSES if dataset == "nuscenes" else KITTI_CLASSES
    images = ImageConfig(size=(256, 704))
    batch = collate([FrameDataset([log.path], classes, images=images).item(0)])
    assert batch.images is not None
    assert batch.recorded_xyz is not None
    assert bool(batch.images.present.all())
    pairs = project_points(batch.recorded_xyz, batch.images.cameras, batch.point_batch, near=0.5)
    xyz = batch.recorded_xyz.numpy().astype(np.float64)
    total = 0
    for n, camera in enumerate(batch.images.names[0]):
        mine = pairs.camera.numpy() == n
        pixels, depth = project_to_camera(log, 0, camera, xyz[pairs.point.numpy()[mine]])
        scale = 704 / float(log.sensors[camera].width or 0)
        top = 256 - scale * float(log.sensors[camera].height or 0)
        expected = (pixels + 0.5) * scale + [0, top] - 0.5
        assert np.abs(pairs.place.numpy()[mine] * [704, 256] - 0.5 - expected).max() < 1e-3
        assert np.abs(pairs.depth.numpy()[mine] - depth).max() < 1e-3
        total += int(mine.sum())
    assert total > 1000


def test_points_are_drawn_where_they_project(logs: Callable[[str], list[Log]]) -> None:
    from drive.view.camera import open_image

    log = logs("view_of_delft")[0]
    picture, points = open_image(log, 0, "image_2"), frame_points(log, 0)
    pixels, depth = project_to_camera(log, 0, "image_2", points)
    seen = in_picture(log, "image_2", pixels)
    drawn = draw_points(picture, pixels[seen], depth[seen])
    changed = (np.asarray(drawn) != np.asarray(picture)).any(axis=2)
    u, v = np.round(pixels[seen]).astype(int).clip(0, np.array(picture.size) - 1).T
    assert changed[v, u].mean() > 0.99
    assert changed.mean() < 0.2
    empty = draw_points(picture, np.zeros((0, 2)), np.zeros(0))
    assert np.array_equal(np.asarray(empty), np.asarray(picture))


def test_every_box_that_is_labelled_in_two_dimensions_is_known(logs: Callable[[str], list[Log]]) -> None:
    (log,) = logs("dgp")
    rectangles = labelled_rectangles(log, 0)
    assert rectangles is not None
    boxes, points = log.boxes(0).boxes, frame_points(log, 0)
    assert {camera for _, camera in rectangles} == {"CAMERA_01", "CAMERA_05", "CAMERA_06"}
    assert max(box for box, _ in rectangles) < len(boxes)
    assert (points_in_boxes(points, boxes)[1] > 0).sum() > 40
    assert corners(boxes).shape == (95, 8, 3)
    (unlabelled,) = logs("nuscenes")
    assert labelled_rectangles(unlabelled, 0) is None
