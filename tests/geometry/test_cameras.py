"""Cameras: lens models and the rolling shutter, against hand-made motion and Waymo's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from drive.geometry.cameras import PLUMB_BOB, READOUTS, RollingShutter, distort, project, project_rolling

OPTICAL_FROM_WAYMO = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])

# The camera, image and results of waymo-open-dataset's own test of its camera model (camera_model_test.cc).
INTRINSIC = (
    2055.55614936, 2055.55614936, 939.657469886, 641.072182194, 0.032316008498, -0.321412482553, 0.000793258395371,
    -0.000625749354133, 0.0,
)  # fmt: skip
EGO_FROM_CAMERA = np.array(
    [
        [0.999892684989, -0.00599320840002, 0.0133678704017, 1.53891424471],
        [0.00604223652133, 0.999975156055, -0.0036302411765, -0.0236339408393],
        [-0.0133457814992, 0.00371062343188, 0.999904056092, 2.11527057298],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
POSE = np.array(
    [
        [-0.913574384152, -0.406212760482, -0.0193141875914, -4069.03497872],
        [0.406637479491, -0.913082565675, -0.0304333457449, 11526.3118079],
        [-0.00527303457417, -0.0356569976572, 0.999350175676, 86.504],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
VELOCITY, RATE = (
    (-3.3991382122, 1.50920391083, -0.0169006548822),
    (0.00158374733292, 0.00212493073195, -0.0270753838122),
)
SHUTTER, TRIGGER, DONE, POSED = 0.000424383993959, 0.23, 0.28, 0.26
SIZE = (1920, 1280)


def waymo() -> tuple[np.ndarray, np.ndarray, np.ndarray, RollingShutter]:
    """Camera from ego, intrinsics, distortion, shutter of the camera above."""
    fu, fv, cu, cv = INTRINSIC[:4]
    shutter = RollingShutter(
        "LEFT_TO_RIGHT", TRIGGER + SHUTTER / 2 - POSED, DONE - TRIGGER - SHUTTER, POSE[:3, :3].T @ VELOCITY,
        np.array(RATE),
    )  # fmt: skip
    camera_from_ego = OPTICAL_FROM_WAYMO @ np.linalg.inv(EGO_FROM_CAMERA)
    return camera_from_ego, np.array([[fu, 0, cu], [0, fv, cv], [0, 0, 1]]), np.array(INTRINSIC[4:]), shutter


def ego(place: tuple[float, float, float]) -> np.ndarray:
    return (np.linalg.inv(POSE) @ [*place, 1.0])[None, :3]


def test_waymo_s_own_numbers() -> None:
    """Pixel (100, 1000) at 20 m is (-4091.88016, 11527.42299, 84.46667), and 94.114 px where it moves."""
    camera_from_ego, intrinsics, lens, shutter = waymo()
    place = ego((-4091.88016, 11527.42299, 84.46667))
    pixels, depth, _ = project_rolling(place, camera_from_ego, intrinsics, SIZE, shutter, lens)
    assert np.abs(pixels - [100, 1000]).max() < 0.1
    assert abs(depth[0] - 20) < 1e-3
    moving = (POSE[:3, :3].T @ [1.0, 2.0, 0.1])[None]
    pixels, depth, seconds = project_rolling(place, camera_from_ego, intrinsics, SIZE, shutter, lens, moving)
    assert np.abs(pixels - [94.114, 1000]).max() < 0.1
    assert seconds[0] == pytest.approx(-0.0272851, abs=1e-4)  # four lines' time: theirs leaves the lens out of it
    assert abs(depth[0] - 20.00349) < 1e-3
    # A global shutter puts it elsewhere, as the same test says.
    still = RollingShutter("LEFT_TO_RIGHT", 0.0, 0.0, np.zeros(3), np.zeros(3))
    unrolled = project_rolling(
        ego((-4091.97180, 11527.48092, 84.46586)), camera_from_ego, intrinsics, SIZE, still, lens
    )
    assert np.abs(unrolled[0] - [100, 1000]).max() < 0.1
    assert np.abs(project_rolling(place, camera_from_ego, intrinsics, SIZE, still, lens)[0] - [100, 1000]).max() > 3


def official(points: np.ndarray, camera_from_ego: np.ndarray, intrinsics: np.ndarray, lens: np.ndarray) -> np.ndarray:
    """The package's way, which assigns times to undistorted coordinates, linearly between the image's two edges."""
    shutter = waymo()[3]
    middle = intrinsics[1, 2]

    def undistorted(u: float) -> float:
        goal = (np.array([u, 640.0]) - intrinsics[:2, 2]) / np.diag(intrinsics)[:2]
        at = goal.copy()
        for _ in range(50):
            at = at - (distort(at[None], PLUMB_BOB, lens)[0] - goal)
        return float(at[0])

    assert middle > 0
    factor = shutter.readout_s / (undistorted(SIZE[0]) - undistorted(0))
    offset = -(shutter.first_s + shutter.readout_s * intrinsics[0, 2] / SIZE[0])
    out = []
    for point in points:

        def place(t: float, point: np.ndarray = point) -> np.ndarray:
            x = point - shutter.velocity_mps * t
            return (camera_from_ego @ [*(x - t * np.cross(shutter.rate_radps, x)), 1.0])[:3]

        def residual(t: float) -> float:
            x, _, z = place(t)
            return t - factor * x / z + offset

        x, y, z = place(brentq(residual, -0.2, 0.2, xtol=1e-12))
        out.append(project(np.array([[x, y, z]]), intrinsics, (PLUMB_BOB, lens))[0][0])
    return np.array(out)


def test_as_the_official_package_computes_it() -> None:
    camera_from_ego, intrinsics, lens, shutter = waymo()
    rng = np.random.default_rng(0)
    depth = rng.uniform(4, 60, 300)
    rays = np.c_[rng.uniform(-0.44, 0.44, 300), rng.uniform(-0.3, 0.3, 300), np.ones(300)] * depth[:, None]
    points = (np.linalg.inv(camera_from_ego) @ np.c_[rays, np.ones(300)].T)[:3].T
    pixels, _, _ = project_rolling(points, camera_from_ego, intrinsics, SIZE, shutter, lens)
    difference = np.abs(pixels - official(points, camera_from_ego, intrinsics, lens))
    still, _ = project(rays, intrinsics, (PLUMB_BOB, lens))
    assert np.abs(pixels - still).max() > 15  # what the shutter does
    assert difference.max() < 0.1  # what its two descriptions differ by


@pytest.mark.parametrize("direction", READOUTS)
def test_a_hand_made_world(direction: str) -> None:
    """Brute force: the ego moves and turns exactly, and that line sees a place whose time it is."""
    size, intrinsics = (640, 480), np.array([[400.0, 0, 330], [0, 410, 235], [0, 0, 1]])
    lens = np.array([-0.1, 0.02, 0.001, 0.002, 0.0])
    camera_from_ego = OPTICAL_FROM_WAYMO @ np.linalg.inv(
        np.array([[0.8, -0.6, 0, 1.4], [0.6, 0.8, 0, 0.3], [0, 0, 1, 1.7], [0, 0, 0, 1]])
    )
    shutter = RollingShutter(direction, -0.02, 0.045, np.array([14.0, 0.3, -0.1]), np.array([0.02, -0.03, 0.25]))
    rng = np.random.default_rng(1)
    points, moving = rng.uniform([4, -6, 0], [40, 30, 3], (60, 3)), rng.normal(0, 5, (60, 3))
    pixels, depth, seconds = project_rolling(points, camera_from_ego, intrinsics, size, shutter, lens, moving)
    axis, reverse = (0 if direction in ("LEFT_TO_RIGHT", "RIGHT_TO_LEFT") else 1), direction in READOUTS[2:]
    inside = (pixels >= 0).all(axis=1) & (pixels < size).all(axis=1)
    assert inside.sum() > 15
    for i in np.flatnonzero(inside):

        def seen(t: float, i: int = int(i)) -> tuple[np.ndarray, float]:
            turn = Rotation.from_rotvec(shutter.rate_radps * t).as_matrix()
            at = turn.T @ (points[i] + moving[i] * t - shutter.velocity_mps * t)
            pixel, z = project((camera_from_ego @ [*at, 1.0])[None, :3], intrinsics, (PLUMB_BOB, lens))
            return pixel[0], float(z[0])

        def line(t: float) -> float:
            share = seen(t)[0][axis] / size[axis]
            return t - shutter.first_s - shutter.readout_s * (1 - share if reverse else share)

        t = brentq(line, -0.1, 0.1, xtol=1e-13)
        pixel, z = seen(t)
        assert np.abs(pixels[i] - pixel).max() < 0.05  # turn rates to first order: 0.25 rad/s for 30 ms
        assert depth[i] == pytest.approx(z, abs=1e-3)
        assert seconds[i] == pytest.approx(t, abs=1e-5)


def test_standing_still_is_the_pinhole() -> None:
    camera_from_ego, intrinsics, lens, shutter = waymo()
    parked = RollingShutter(shutter.direction, shutter.first_s, shutter.readout_s, np.zeros(3), np.zeros(3))
    points = np.random.default_rng(0).uniform([5, -3, 0], [50, 3, 3], (40, 3))
    pixels, depth, _ = project_rolling(points, camera_from_ego, intrinsics, SIZE, parked, lens)
    optical = points @ camera_from_ego[:3, :3].T + camera_from_ego[:3, 3]
    expected, z = project(optical, intrinsics, (PLUMB_BOB, lens))
    assert np.allclose(pixels, expected, atol=1e-9)
    assert np.allclose(depth, z, atol=1e-12)


def test_places_behind_and_beside_and_none_at_all() -> None:
    camera_from_ego, intrinsics, lens, shutter = waymo()
    places = np.array([[-20.0, 0, 1], [3.0, 40, 1], [np.nan, 0, 0], [20, 0, 2]])
    pixels, depth, seconds = project_rolling(places, camera_from_ego, intrinsics, SIZE, shutter, lens)
    assert np.isnan(pixels[:3]).all()
    assert np.isnan(depth[:3]).all()
    assert np.isnan(seconds[:3]).all()
    assert np.isfinite(pixels[3]).all()
    pixels, depth, seconds = project_rolling(np.zeros((0, 3)), camera_from_ego, intrinsics, SIZE, shutter, lens)
    assert pixels.shape == (0, 2)
    assert depth.shape == seconds.shape == (0,)


def test_what_is_refused() -> None:
    camera_from_ego, intrinsics, _, shutter = waymo()
    wrong = RollingShutter("SIDEWAYS", 0, 0, np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="SIDEWAYS"):
        project_rolling(np.zeros((1, 3)), camera_from_ego, intrinsics, SIZE, wrong)
    with pytest.raises(ValueError, match=r"must be \[P, 3\]"):
        project_rolling(np.zeros((2, 3)), camera_from_ego, intrinsics, SIZE, shutter, None, np.zeros((1, 3)))
