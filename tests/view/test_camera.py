"""Boxes in camera pictures, at pixels worked out by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from drive.errors import UserError
from drive.logs.store import Log
from drive.view.camera import box_lines, camera_from_frame, draw_camera, open_image
from drive.view.ink import RIGHT, TRUTH


def pixels_of(log: Log, boxes: np.ndarray) -> np.ndarray:
    lines = box_lines(boxes, camera_from_frame(log, 0, "CAM_FRONT"), log.sensors["CAM_FRONT"])
    return np.concatenate([line for _, _, line in lines]) if lines else np.zeros((0, 2))


def test_box_through_the_cameras_own_pose(camera_log: Path) -> None:
    """The car's rear is at 19 m in the frame; the camera stands 1 m ahead of an ego that drove 1 m on: 17 m away."""
    log = Log.open(camera_log)
    pixels = pixels_of(log, log.boxes(0).boxes)
    assert len(pixels) == 24
    # Half width 1 m and half height 1 m about the camera's own height, at 17 m (rear) and 21 m (front).
    for half in (160 / 17, 160 / 21):
        for u in (159.5 - half, 159.5 + half):
            for v in (99.5 - half, 99.5 + half):
                assert np.abs(pixels - [u, v]).sum(axis=1).min() < 1e-6


def test_box_around_the_camera_is_cut_not_mirrored(camera_log: Path) -> None:
    log = Log.open(camera_log)
    beside = np.array([[2.0, 3.0, 1.0, 6, 2, 2, 0, 0, 0]])  # from behind the camera to 3 m ahead of it, at the left
    pixels = pixels_of(log, beside)
    assert len(pixels)
    assert (pixels[:, 0] < 159.5).all()  # everything that is drawn is at the left
    assert len(pixels_of(log, np.array([[-10.0, 0, 1, 4, 2, 2, 0, 0, 0]]))) == 0
    assert len(pixels_of(log, np.zeros((0, 9)))) == 0


def test_bent_edges(camera_log: Path) -> None:
    log = Log.open(camera_log)
    sensor = dataclasses.replace(log.sensors["CAM_FRONT"], distortion=("radial", (0.1, 0.0, 0.0)))
    pose = camera_from_frame(log, 0, "CAM_FRONT")
    lines = box_lines(np.array([[8.0, 2.0, 1.0, 4, 2, 2, 0.3, 0, 0]]), pose, sensor)
    assert {len(line) for _, _, line in lines} == {13}
    straight = box_lines(np.array([[8.0, 2.0, 1.0, 4, 2, 2, 0.3, 0, 0]]), pose, log.sensors["CAM_FRONT"])
    assert np.abs(lines[0][2][0] - straight[0][2][0]).max() > 0.2


def test_picture_shows_the_box(camera_log: Path) -> None:
    log = Log.open(camera_log)
    picture = np.asarray(draw_camera(log, 0, "CAM_FRONT")).astype(int)
    assert picture.shape == (200, 320, 3)
    rear = round(159.5 - 160 / 17)
    assert np.abs(picture[99, rear - 1 : rear + 2] - TRUTH).sum(axis=-1).min() < 120
    small = draw_camera(log, 0, "CAM_FRONT", [(log.boxes(0).boxes, [RIGHT])], width_px=160, title="front")
    assert small.size == (160, 100)


def test_points_under_the_boxes_by_depth(camera_log: Path) -> None:
    """Through the camera's own pose: a point 19 m ahead in the frame is 17 m from it, 3 m left of it and 1 m below."""
    log = Log.open(camera_log)
    places = np.array([[19.0, 3.0, 0.0], [4.0, -1.0, 1.5], [-5.0, 0, 1]])  # the last is behind
    plain = np.asarray(draw_camera(log, 0, "CAM_FRONT", [])).astype(int)
    drawn = np.asarray(draw_camera(log, 0, "CAM_FRONT", [], points=places)).astype(int)
    changed = np.abs(drawn - plain).sum(axis=-1) > 20
    for u, v in ((159.5 - 160 * 3 / 17, 99.5 + 160 / 17), (159.5 + 160 / 2, 99.5 - 160 * 0.5 / 2)):
        at = np.s_[round(v) - 3 : round(v) + 4, round(u) - 3 : round(u) + 4]
        assert changed[at].any()
        changed[at] = False
    assert not changed.any()
    none = np.asarray(draw_camera(log, 0, "CAM_FRONT", [], points=np.zeros((0, 3))))
    assert np.array_equal(none, plain)


def test_far_coordinates_do_not_overflow(camera_log: Path) -> None:
    log = Log.open(camera_log)
    huge = np.array([[1.3, 500.0, 0.0, 2.0, 2000.0, 2.0, 0.0, 0, 0]])
    draw_camera(log, 0, "CAM_FRONT", [(huge, [TRUTH])])


def test_user_errors(camera_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log.open(camera_log)
    with pytest.raises(UserError, match="no camera 'LIDAR_TOP'"):
        open_image(log, 0, "LIDAR_TOP")
    broken = dataclasses.replace(log.image("CAM_FRONT", 0), data=b"no picture")
    monkeypatch.setattr(log, "image", lambda camera, row: broken)
    with pytest.raises(UserError, match="not a picture"):
        open_image(log, 0, "CAM_FRONT")
