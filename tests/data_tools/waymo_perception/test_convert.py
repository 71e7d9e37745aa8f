from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import check_reader
from waymo_frames import SECOND, START, compressed, empty_image, jpeg, make_frame, make_frames, write_segment

from data_tools.convert import Choice, plan
from data_tools.convert import convert as convert_all
from data_tools.tfrecord import TFRecordFile, frame_record
from data_tools.waymo_perception import Options, convert_log, list_logs, restore
from data_tools.waymo_perception.range_image import read_matrix
from data_tools.waymo_perception.records import read_frames, segment_name
from drive.errors import UserError
from drive.geometry.box import points_in_box_mask
from drive.geometry.cameras import project
from drive.geometry.rigid import transform_points
from drive.logs.store import Log
from drive.samples.classes import WAYMO_CLASSES


def convert(raw: Path, out: Path, options: Options = Options()) -> Log:  # noqa: B008
    (segment,) = list_logs(raw, options)
    out.mkdir(parents=True, exist_ok=True)
    convert_log(raw, segment, out, options)
    return Log.open(out / segment.name)


def test_manifest_and_frames(segment: Path, tmp_path: Path) -> None:
    log = convert(segment, tmp_path / "out")
    assert (log.name, log.dataset, log.split) == ("made", "waymo_perception", "train")
    assert "Non-Commercial" in log.manifest["licence"]
    assert log.frame_timestamps_ns.tolist() == [START * 1000, (START + SECOND // 10) * 1000]
    frame = log.frame(1)
    assert frame.token == f"made/{START + SECOND // 10}"
    np.testing.assert_allclose(transform_points(frame.global_from_ego, np.array([[3.0, 0, 0]])), [[1001, 3, 0]])
    assert frame.rows == {"LIDAR_TOP": 1, "LIDAR_FRONT": 1, "CAM_FRONT": 1}
    attributes = log.table("frame_attributes").to_pylist()[0]
    assert attributes["pose"] == make_frame(0)["pose"]["transform"].tolist()
    assert (attributes["time_of_day"], attributes["location"], attributes["weather"]) == ("Day", "location_sf", "sunny")
    assert (attributes["laser_object_types"], attributes["laser_object_counts"]) == ([1, 2], [1, 1])
    assert attributes["map_pose_offset"] == [0, 0, 5]
    (zone,) = [z for z in log.table("no_label_zones").to_pylist() if z["frame"] == 1]
    assert (zone["id"], zone["x"], zone["y"]) == ("zone", [0, 1, 1], [0, 0, 1])


def test_points_of_both_returns(segment: Path, tmp_path: Path) -> None:
    """First return, then second; in the vehicle frame; the pixel measured 0.5 m further along global x (the vehicle
    looks along global y) lies 0.5 m to the right of where it would be."""
    log = convert(segment, tmp_path / "out", Options(projections=True))
    assert log.sensors["LIDAR_TOP"].columns == ("x", "y", "z", "intensity", "elongation")
    np.testing.assert_array_equal(log.sensors["LIDAR_TOP"].ego_from_sensor, np.eye(4))
    assert log.sensors["LIDAR_TOP"].source_translation.tolist() == [1, 2, 3]
    sweep = log.sweep("LIDAR_TOP", 0)
    near, far, down = 10 / np.sqrt(2), 12 / np.sqrt(2), 2 * np.cos(np.pi / 6) / np.sqrt(2)
    wanted = [[1 + near, 1.5 + near, 3], [1 + down, 2 - down, 2], [1 + far, 1.5 + far, 3]]
    np.testing.assert_allclose(sweep.points[:, :3], wanted, rtol=0, atol=1e-4)  # poses are float32 at 1000 m
    np.testing.assert_array_equal(sweep.points[:, 3:], np.array([[0.5, 0.1], [4, 0], [0.25, 0.2]], np.float32))
    extra = {name: values.tolist() for name, values in sweep.extra.items()}
    assert extra["return"] == [1, 1, 2]
    assert extra["range"] == [10, 2, 12]
    assert (extra["row"], extra["column"], extra["nlz"]) == ([0, 1, 0], [1, 2, 1], [-1, 1, -1])
    assert (extra["camera_1"], extra["u_1"], extra["v_1"]) == ([1, 0, 0], [3, 0, 0], [2, 0, 0])
    assert extra["camera_2"] == [0, 0, 0]
    (labels,) = [row for row in log.table("point_labels").to_pylist() if row["row"] == 0]
    assert (labels["sensor"], labels["semantic"], labels["instance"]) == ("LIDAR_TOP", [2, 18, 0], [7, 0, 0])
    assert "camera_1" not in convert(segment, tmp_path / "plain").sweep("LIDAR_TOP", 0).extra
    front = log.sweep("LIDAR_FRONT", 0)  # no pixel poses: straight by the extrinsic; row 1 of 3 is level
    azimuth = ((6 - 0.5 - 3) / 6 * 2 - 1) * np.pi
    np.testing.assert_allclose(front.points[0, :3], [4 + 5 * np.cos(azimuth), 5 * np.sin(azimuth), 0.7], atol=1e-5)


def test_boxes(segment: Path, tmp_path: Path) -> None:
    log = convert(segment, tmp_path / "out")
    found = log.boxes(0)
    assert found.category == ["TYPE_VEHICLE", "TYPE_PEDESTRIAN"]
    assert WAYMO_CLASSES.labels(found.category).tolist() == [0, 1]
    # Global velocity (0, 3) of a vehicle that looks along global y is (3, 0) in its own frame.
    np.testing.assert_allclose(found.boxes[0], [8, 9, 1, 4.5, 2, 1.5, 4 - 2 * np.pi, 3, 0], atol=1e-12)
    assert found.velocity_valid.tolist() == [True, False]
    assert found.num_lidar_points.tolist() == [5, 0]
    assert found.track_token == ["car", "walker"]
    assert found.extra["detection_difficulty"] == [2, None]
    assert found.extra["tracking_difficulty"] == [None, None]
    assert found.extra["num_top_lidar_points"] == [4, None]
    assert found.extra["source_speed_y"] == [3, None]
    assert found.extra["source_speed_z"] == [None, None]
    (synced,) = [row for row in log.table("camera_synced_boxes").to_pylist() if row["frame"] == 0]
    assert (synced["track"], synced["most_visible_camera"], synced["box"][0]) == ("car", "FRONT", 8.1)


def test_cameras(segment: Path, tmp_path: Path) -> None:
    log = convert(segment, tmp_path / "out")
    camera = log.sensors["CAM_FRONT"]
    assert (camera.width, camera.height, camera.modality) == (8, 6, "camera")
    assert camera.distortion == ("plumb_bob", (0.1, -0.2, 0.01, 0.02, 0.0))
    # Straight ahead of the camera lies in the middle; what is to the left of the car is left in the picture.
    ahead = np.array([[11.5, 0.0, 2.1], [11.5, 1.0, 2.1], [11.5, 0.0, 3.1]])
    optical = transform_points(np.linalg.inv(camera.ego_from_sensor), ahead)
    pixels, depth = project(optical, camera.intrinsics)
    np.testing.assert_allclose(pixels, [[4, 3], [2, 3], [4, 0.9]], atol=1e-9)
    np.testing.assert_allclose(depth, 10)
    image = log.image("CAM_FRONT", 0)
    assert image.data == jpeg()
    assert image.timestamp_ns == pytest.approx(START * 1000 + 50_000_000, abs=300)
    np.testing.assert_allclose(image.pose_translation, [1000, 0.1, 0])
    row = log.table("images").to_pylist()[0]
    assert row["pose_timestamp"] == START / SECOND + 0.05
    assert (row["shutter"], row["velocity"]) == (0.002, [10, 0, 0, 0, 0, 0.25])
    assert log.table("camera_calibration")["rolling_shutter_direction"].to_pylist() == ["LEFT_TO_RIGHT"]
    label = log.table("camera_labels").to_pylist()[0]
    assert (label["sensor"], label["category"], label["track"]) == ("CAM_FRONT", "TYPE_PEDESTRIAN", "seen")
    assert [label[name] for name in ("x_min", "y_min", "x_max", "y_max")] == [3, 1, 5, 5]
    assert label["laser_object"] == "walker"
    assert log.table("projected_lidar_labels")["track"].to_pylist() == ["car_FRONT"] * 2
    segmentation = log.table("camera_segmentation").to_pylist()[1]
    assert (segmentation["row"], segmentation["global_instance"], segmentation["is_tracked"]) == (1, [5], [True])
    bare = convert(segment, tmp_path / "bare", Options(images=False))
    assert bare.num_sweeps("CAM_FRONT") == 0


def test_map(segment: Path, tmp_path: Path) -> None:
    log = convert(segment, tmp_path / "out")
    kinds = ["lane", "road_line", "road_edge", "stop_sign", "ped_crossing", "speed_bump", "driveway"]
    features = {feature.kind: feature for feature in log.map_features()}
    assert list(features) == kinds
    lane = features["lane"]
    assert (lane.feature_id, lane.predecessors, lane.successors) == ("11", ("9",), ("13", "14"))
    assert lane.attributes["type"] == "SURFACE_STREET"
    assert lane.attributes["speed_limit_mph"] == 25
    assert lane.attributes["left_boundaries"] == [{"lane_start": 0, "lane_end": 2, "feature_id": 12, "type": 2}]
    assert lane.geometry.tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]  # map_pose_offset is taken off
    assert features["road_line"].attributes == {"type": "SOLID_SINGLE_YELLOW"}
    assert (features["stop_sign"].geometry.tolist(), features["stop_sign"].attributes) == (
        [[1, 2, 3]],
        {"lanes": ["11"]},
    )
    assert [features[kind].is_polygon for kind in kinds] == [False] * 4 + [True] * 3


@pytest.mark.parametrize("seed", range(3))
def test_range_images_come_back_bit_for_bit(tmp_path: Path, seed: int) -> None:
    """Random images: odd flags, odd empty pixels (NaN, -0.0, other fills) and both returns."""
    rng = np.random.default_rng(seed)
    frame = make_frame(0)
    images = []
    for number in (1, 2):
        image = rng.uniform(0.5, 80, (2, 4, 4)).astype(np.float32)
        image[..., 3] = rng.choice([-1.0, 0.0, 1.0, -0.0, 0.5], (2, 4))
        empty = rng.random((2, 4)) < 0.5
        image[empty] = -1.0
        if empty.any():
            row, column = np.argwhere(empty)[-1]
            image[row, column] = [[np.nan, 1, 2, 3], [-1, -1, -1, 0], [0.0, -0.0, 7, -1]][seed]
        images.append(image)
        frame["lasers"][1][f"return{number}"] |= {"range_image": compressed(image)}
    write_segment(tmp_path / "raw/a.tfrecord", [frame])
    log = convert(tmp_path / "raw", tmp_path / "out")
    for number, image in zip((1, 2), images, strict=True):
        found = restore(log, "LIDAR_TOP", 0, number)
        assert found is not None
        np.testing.assert_array_equal(found.view(np.uint32), image.view(np.uint32))
    assert restore(log, "LIDAR_FRONT", 0, 2) is None


def test_town_comes_back(waymo_town: Path, tmp_path: Path) -> None:
    """The town's range images bit for bit, and its labels' counts of points by geometry alone."""
    log = convert(waymo_town, tmp_path / "out")
    assert (log.num_frames, log.split) == (5, "train")
    names = {1: "LIDAR_TOP", 2: "LIDAR_FRONT", 3: "LIDAR_SIDE_LEFT", 4: "LIDAR_SIDE_RIGHT", 5: "LIDAR_REAR"}
    (path,) = waymo_town.rglob("*.tfrecord")
    inside = labels = 0
    for index, (place, frame) in enumerate(read_frames(path)):
        clouds = []
        for laser in frame["lasers"]:
            name = names[laser["name"]]
            sweep = log.sweep(name, index)
            clouds.append(sweep.points[sweep.extra["return"] == 1])
            for number in (1, 2):
                raw = read_matrix(laser[f"return{number}"]["range_image"], place)
                found = restore(log, name, index, number)
                assert found is not None
                np.testing.assert_array_equal(found.view(np.uint32), raw.view(np.uint32))
        boxes = log.boxes(index)
        sides = np.isin(np.arange(boxes.boxes.shape[1]), (3, 4, 5))
        # Within a tenth of a millimetre of a box's face (the range image's rounding) a point may count on either side.
        counted, least, most = (
            points_in_box_mask(np.concatenate(clouds), boxes.boxes + d * sides).sum(axis=1) for d in (0.0, -2e-4, 2e-4)
        )
        assert (least <= boxes.num_lidar_points).all()
        assert (boxes.num_lidar_points <= most).all()
        assert most.sum() - least.sum() < 10
        inside, labels = inside + int(counted.sum()), labels + len(counted)
    assert labels > 50
    assert inside > 500
    assert {feature.kind for feature in log.map_features()} == {"lane", "ped_crossing", "road_edge"}
    assert set(log.table("point_labels")["row"].to_pylist()) == {0}
    assert log.table("range_images").num_rows == 5 * 5 * 2


def spoil(frames: list[dict[str, Any]], change: Callable[[list[dict[str, Any]]], Any]) -> list[dict[str, Any]]:
    change(frames)
    return frames


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[1]["pose"]["transform"].__setitem__(0, 5.0), "the pose is not a rigid motion"),
        (lambda f: f[1]["pose"].update(transform=np.zeros(12)), "the pose is not a matrix"),
        (lambda f: f[1].pop("pose"), "the pose is not a matrix"),
        (lambda f: f[1].update(timestamp_micros=START - 1), "time of frame goes back"),
        (lambda f: f[1]["context"].update(name="other"), "segment other in a file of made"),
        (lambda f: f[1]["context"]["camera_calibrations"][0].update(width=9), "not those of the first frame"),
        (lambda f: f[1]["laser_labels"][0]["box"].pop("heading"), "the box of laser label 0 is not finite"),
        (lambda f: f[1]["laser_labels"][0].pop("box"), "laser label 0 has no box"),
        (lambda f: f[1]["laser_labels"][0].update(type=9), "type of laser label 0 9"),
        (lambda f: f[1]["laser_labels"][1]["box"].update(width=0.0), "not a box"),
        (lambda f: f[1]["lasers"][1].update(name=5), "laser 5 is not calibrated"),
        (lambda f: f[1]["lasers"].append(f[1]["lasers"][1]), "LIDAR_TOP occurs twice"),
        (lambda f: f[1]["lasers"][1]["return1"].pop("pose"), "LIDAR_TOP: has no pixel poses"),
        (
            lambda f: f[1]["lasers"][0]["return1"].update(range_image=compressed(empty_image(3, 6))[:-4]),
            "LIDAR_FRONT return 1: its zlib stream is cut off",
        ),
        (
            lambda f: f[1]["lasers"][1]["return1"].update(segmentation=compressed(np.zeros((2, 3, 2), np.int32))),
            "shape",
        ),
        (lambda f: f[1]["images"][0].update(image=jpeg()[:-5]), "broken or truncated"),
        (lambda f: f[1]["images"][0].update(pose_timestamp=1.0), "time of CAM_FRONT goes back"),
        (lambda f: f[1]["images"][0].update(name=3), "camera FRONT_RIGHT is not calibrated"),
        (lambda f: f[1].update(map_features=f[0]["map_features"]), "map features in a second frame"),
        (lambda f: f[1]["no_label_zones"][0].update(y=np.zeros(2)), "3 x and 2 y"),
        (lambda f: f[0]["context"]["laser_calibrations"][0].pop("beam_inclination_max"), "neither beam inclinations"),
        (lambda f: f[0]["context"]["camera_calibrations"][0].update(intrinsic=np.zeros(4)), "4 intrinsic numbers"),
        (lambda f: f[0]["context"]["laser_calibrations"][0].update(name=1), "calibrated twice"),
    ],
)
def test_bad_frames_are_named(tmp_path: Path, change: Any, message: str) -> None:
    path = write_segment(tmp_path / "raw/made.tfrecord", spoil(make_frames(), change))
    with pytest.raises(UserError, match=message) as caught:
        convert(tmp_path / "raw", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert str(path if message != "not a box" else "made") in caught.value.place
    assert not list((tmp_path / "out").glob("*"))


def test_files_that_are_no_segments(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no .tfrecord file"):
        list_logs(tmp_path, Options())
    write_segment(tmp_path / "raw/validation/x.tfrecord", [{"timestamp_micros": 5}])
    assert [s.split for s in list_logs(tmp_path, Options())] == ["val"]
    with pytest.raises(UserError, match="no segment of the split train"):
        list_logs(tmp_path, Options(split="train"))
    with pytest.raises(UserError, match=r"x.tfrecord: record 0 at byte 0.*is no Frame"):
        convert(tmp_path / "raw", tmp_path / "out")
    write_segment(tmp_path / "raw/training/segment-x_with_camera_labels.tfrecord", make_frames())
    with pytest.raises(UserError, match="the segment is also"):
        list_logs(tmp_path / "raw", Options())
    assert segment_name(Path("individual_files_training_segment-10_00_with_camera_labels.tfrecord")) == "10_00"


def test_empty_file_is_an_empty_log(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/none.tfrecord").write_bytes(b"")
    assert convert(tmp_path / "raw", tmp_path / "out").num_frames == 0


def test_segment_without_lidar_or_pose_of_images(tmp_path: Path) -> None:
    frame = make_frame(0)
    frame["lasers"] = [{}]
    del frame["images"][0]["pose"], frame["images"][0]["pose_timestamp"]
    write_segment(tmp_path / "raw/a.tfrecord", [frame])
    log = convert(tmp_path / "raw", tmp_path / "out")
    assert log.frame(0).rows == {"CAM_FRONT": 0}
    assert log.image("CAM_FRONT", 0).timestamp_ns == START * 1000
    assert log.table("images")["pose"].to_pylist() == [None]


def test_fuzz_frames(segment: Path) -> None:
    """Damage below the checksums too: the mutated bytes are framed anew, so that decoding meets them."""
    (path,) = segment.rglob("*.tfrecord")

    def run(damaged: Path) -> None:
        out = damaged.parent / "out"
        try:
            (found,) = list_logs(damaged.parent, Options())
            convert_log(damaged.parent, found, out, Options(projections=True))
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def framed(damaged: Path) -> None:
        inner = damaged.parent / "inner" / damaged.name
        inner.parent.mkdir(exist_ok=True)
        inner.write_bytes(frame_record(damaged.read_bytes()))
        run(inner)

    assert check_reader(run, path, cases=60) > 30
    with TFRecordFile(path) as file:
        record = file.read(0)
    whole = path.parent.parent / "record.tfrecord"
    whole.write_bytes(record)
    assert check_reader(framed, whole) > 50


def test_real_frame(real_data: Path, tmp_path: Path) -> None:
    """Counts of the README of shared/data: 5 pictures, 75 boxes, 44,021 points by their own counts, no range image."""
    report = convert_all("waymo", real_data / "waymo/perception_v1", tmp_path / "out")
    assert report.failed == ()
    log = Log.open(tmp_path / "out" / report.converted[0])
    assert log.frame(0).token.startswith("1024360143612057520_3580_000_3600_000/")
    boxes = log.boxes(0)
    counts = {kind: boxes.category.count(kind) for kind in set(boxes.category)}
    assert counts == {"TYPE_VEHICLE": 37, "TYPE_SIGN": 25, "TYPE_PEDESTRIAN": 12, "TYPE_CYCLIST": 1}
    assert boxes.num_lidar_points.sum() == 44_021
    sensors = {name: log.num_sweeps(name) for name in log.sensors}
    assert sensors == {
        **dict.fromkeys(["LIDAR_TOP", "LIDAR_FRONT", "LIDAR_SIDE_LEFT", "LIDAR_SIDE_RIGHT", "LIDAR_REAR"], 0),
        **dict.fromkeys(["CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_SIDE_LEFT", "CAM_SIDE_RIGHT"], 1),
    }
    assert log.table("camera_labels").num_rows == 13 + 29 + 9 + 3 + 12
    assert log.table("projected_lidar_labels").num_rows == 12 + 18 + 12 + 6 + 14
    assert log.table("camera_segmentation").num_rows == 5
    assert log.table("frame_attributes")["location"].to_pylist() == ["location_sf"]


def test_real_boxes_project_onto_their_rectangles(real_data: Path, tmp_path: Path) -> None:
    """Extrinsics, intrinsics and distortion at once: a box's middle lies in its own projected rectangle."""
    (segment,) = list_logs(real_data / "waymo/perception_v1", Options())
    convert_log(real_data, segment, tmp_path, Options())
    log = Log.open(tmp_path / segment.name)
    boxes = log.boxes(0)
    middle = dict(zip(boxes.track_token, boxes.boxes[:, :3], strict=True))
    checked = 0
    for row in log.table("projected_lidar_labels").to_pylist():
        camera = log.sensors[row["sensor"]]
        track = row["track"].removesuffix(f"_{row['sensor'].removeprefix('CAM_')}")
        optical = transform_points(np.linalg.inv(camera.ego_from_sensor), middle[track][None])
        assert camera.intrinsics is not None
        assert camera.distortion is not None
        (pixel,), depth = project(optical, camera.intrinsics, (camera.distortion[0], np.array(camera.distortion[1])))
        slack = 3.0 + 0.05 * (row["x_max"] - row["x_min"])
        if depth[0] > 3 and 20 < pixel[0] < 1900 and row["x_min"] > 1 and row["x_max"] < 1919:
            assert row["x_min"] - slack < pixel[0] < row["x_max"] + slack
            assert row["y_min"] - slack < pixel[1] < row["y_max"] + slack
            checked += 1
    assert checked > 30


def test_images_in_records_cannot_be_referred_to(segment: Path, tmp_path: Path) -> None:
    """One line at the beginning, not one a segment."""
    choice = Choice(reference_images=True)
    expected = "the images of waymo lie inside records: there is no file to refer to; copy them"
    for run in (convert_all, plan):
        with pytest.raises(UserError, match=expected):
            run("waymo", segment, tmp_path / "out", choice=choice)
    assert not (tmp_path / "out").exists()
    assert convert_all("waymo", segment, tmp_path / "out", Options(images=False), choice=choice).failed == ()
