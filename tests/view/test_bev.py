"""What lies where in the picture from above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drive.errors import UserError
from drive.geometry.rigid import invert
from drive.logs.store import Log
from drive.view.bev import _RADAR, View, draw_bev, fitting_range
from drive.view.frames import frame_map, frame_points
from drive.view.ink import BACKGROUND, FALSE, MISSED, TRUTH, ramp
from drive.view.show import frame_from_above, save_frame

NONE = np.zeros((0, 4), np.float32)
RANGE = (-20.0, -20.0, 20.0, 20.0)


def near(picture: np.ndarray, u: int, v: int, colour: tuple[int, int, int], reach: int = 3) -> bool:
    """Whether a pixel close to (u, v) has nearly this colour."""
    area = picture[v - reach : v + reach + 1, u - reach : u + reach + 1].astype(int)
    return bool((np.abs(area - colour).sum(axis=-1) < 60).any())


def test_ahead_is_up_and_left_is_left() -> None:
    view = View(*RANGE, 10.0)
    np.testing.assert_allclose(
        view.pixels(np.array([[20.0, 20.0], [0, 0], [-20, -20]])), [[0, 0], [200, 200], [400, 400]]
    )
    points = np.array([[10.0, 5.0, 0.0, 1.0]], np.float32)
    picture = np.asarray(draw_bev(points, range_m=RANGE, size_px=400))
    v, u = np.unravel_index(
        np.abs(picture.astype(int) - picture[5, 5]).sum(axis=-1)[80:120, 120:180].argmax(), (40, 60)
    )
    assert abs(u + 120 - 150) <= 2
    assert abs(v + 80 - 100) <= 2


def test_colours_tell_found_missed_and_false() -> None:
    boxes = np.array([[10.0, 10, 0, 4, 2, 1.5, 0], [10, -10, 0, 4, 2, 1.5, 0]])
    predictions = np.array([[-10.0, 10, 0, 4, 2, 1.5, 0]])
    picture = np.asarray(
        draw_bev(
            NONE, boxes=boxes, found=np.array([True, False]), predictions=predictions, right=np.array([False]),
            scores=np.array([0.5]), range_m=RANGE, size_px=400,
        )
    )  # fmt: skip
    assert near(picture, 110, 100, TRUTH)  # 1 m left of the centre at y = 10: the box's side
    assert near(picture, 310, 100, MISSED)
    assert near(picture, 110, 300, FALSE)
    assert not near(picture, 200, 40, MISSED)


def test_empty_frame_and_unknown_colour() -> None:
    picture = draw_bev(NONE, boxes=np.zeros((0, 9)), predictions=np.zeros((0, 9)), scores=np.zeros(0), size_px=200)
    assert picture.size == (200, 200)
    assert np.asarray(picture)[100, 30].tolist() == list(BACKGROUND)
    with pytest.raises(ValueError, match="colour_by"):
        draw_bev(NONE, colour_by="taste")


def test_range_fits_the_points() -> None:
    rng = np.random.default_rng(0)
    ahead = np.column_stack([rng.uniform(1, 40, 500), rng.uniform(-10, 10, 500), np.zeros(500)])
    assert fitting_range(ahead)[0] == -2.0
    around = rng.uniform(-200, 200, (500, 3))
    assert fitting_range(around) == (-60.0, -60.0, 60.0, 60.0)
    assert fitting_range(NONE) == (-50.0, -50.0, 50.0, 50.0)


def test_ramp_rises_in_lightness() -> None:
    light = ramp(np.linspace(-1, 2, 40), 0.0, 1.0).astype(int) @ [299, 587, 114]
    assert (np.diff(light) >= 0).all()
    assert ramp(np.zeros(0), 0, 1).shape == (0, 3)


def test_points_and_map_of_a_log(camera_log: Path) -> None:
    log = Log.open(camera_log)
    np.testing.assert_allclose(frame_points(log, 0), [[10, 5, 0, 1], [20, -5, 2, 0]], atol=1e-6)
    features = {feature.kind: feature for feature in frame_map(log, 1)}
    assert set(features) == {"drivable_area", "lane_divider"}
    expected = np.array([[40.0, 10, 0, 1], [80, 10, 0, 1]]) @ invert(log.frame(1).global_from_ego).T
    np.testing.assert_allclose(features["lane_divider"].geometry, expected[:, :3])


def test_pictures_of_a_frame(camera_log: Path, tmp_path: Path) -> None:
    log = Log.open(camera_log)
    paths = save_frame(log, 1, tmp_path / "pictures", cameras=None)
    assert [path.name for path in paths] == ["drive-1_0001_above.png", "drive-1_0001_CAM_FRONT.png"]
    assert all(path.stat().st_size > 500 for path in paths)
    with pytest.raises(UserError, match="has no frame 2"):
        frame_from_above(log, 2)
    with pytest.raises(UserError, match="no camera 'CAM_TOP'"):
        save_frame(log, 0, tmp_path, cameras=("CAM_TOP",))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_frame(log, 0, tmp_path / "file")


def test_radar_returns_show_where_they_go() -> None:
    returns = np.zeros((3, 10), np.float32)
    returns[:, :2] = [[10, 10], [10, -10], [-10, 0]]
    returns[:2, 6] = [-5, 5]
    picture = np.asarray(draw_bev(NONE, radar=returns, range_m=RANGE, size_px=400))
    still, nearing, leaving = _RADAR.values()
    assert near(picture, 100, 100, nearing)
    assert near(picture, 100, 140, nearing, 1)  # 4 m on its way towards the ego
    assert near(picture, 300, 60, leaving, 1)
    assert not near(picture, 300, 140, leaving)
    assert near(picture, 200, 300, still)
    plain = np.asarray(draw_bev(NONE, range_m=RANGE, size_px=400))
    assert not near(plain, 100, 100, nearing)
    assert draw_bev(NONE, radar=returns[:0], size_px=200).size == (200, 200)
