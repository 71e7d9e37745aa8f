"""The ray caster that every sensor shares: a rasteriser over vertical-ish columns with a depth buffer.

A sensor is a list of columns. The rays of one column lie in a half-plane: origin o, a direction ``along`` and an ``up``
perpendicular to it; ray b goes through o + t * (along + slope[b] * up). One lidar firing is such a column (slope = tan
of the elevation), and so is one pixel column of a camera (then t is the depth). Each primitive is cut once by each
column that its angular interval touches. Where ``up`` is vertical (a level sensor) the cut of a box or a cylinder is a
rectangle in the half-plane, found once a column; its beams are a contiguous range of slopes, and each costs a few
multiplications. Total work is the number of (ray, solid) pairs that truly meet, plus a footprint a column and solid.

Exact for moving sensors and actors: each column has its own origin, axes and time; the angular interval is widened by
the motion (:func:`column_interval`). A solid that contains a ray's origin is not seen by it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

GROUND_HIT, NO_HIT = -1, -2
NEAREST_M = 1e-3


@njit(cache=True, nogil=True, error_model="numpy")
def footprint(kind: int, x: float, y: float, dx: float, dy: float, hx: float, hy: float) -> tuple[float, float]:
    """Interval (t0, t1) in which (x, y) + t (dx, dy) is above the solid's outline; t0 > t1 when it never is.

    All in the solid's own axes. Boxes: slabs (Kay and Kajiya 1986); cylinders and ellipsoids: the ellipse hx, hy.
    """
    if kind == 0:
        if abs(dx) < 1e-12:
            dx = 1e-12
        if abs(dy) < 1e-12:
            dy = 1e-12
        ix, iy = 1.0 / dx, 1.0 / dy
        ax, bx = (-hx - x) * ix, (hx - x) * ix
        ay, by = (-hy - y) * iy, (hy - y) * iy
        return max(min(ax, bx), min(ay, by)), min(max(ax, bx), max(ay, by))
    x, dx = x / hx, dx / hx
    y, dy = y / hy, dy / hy
    a = max(dx * dx + dy * dy, 1e-18)
    b = x * dx + y * dy
    cross = x * dy - y * dx
    # b^2 - a (x^2 + y^2 - 1) = a - cross^2: no cancellation of large squares.
    disc = a - cross * cross
    if disc < 0.0:
        return 1.0, -1.0
    root = math.sqrt(disc)
    return (-b - root) / a, (-b + root) / a


@njit(cache=True, nogil=True, error_model="numpy")
def first_at_least(values: np.ndarray, bound: float) -> int:
    """Index of the first value >= bound in an ascending array (its length when none is)."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < bound:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True, error_model="numpy")
def column_interval(
    shape: np.ndarray, kind: int, frame: np.ndarray, pad_m: float, pad_rad: float, far_m: float
) -> tuple[float, float]:
    """(azimuth of the centre, half width) of the columns that can see a solid; half width < 0: none, >= pi: all.

    ``frame`` float64 [4, 3]: the sensor's reference origin and its axes e0 (azimuth 0), e1 (azimuth pi/2), up. Seen
    along ``up`` every point of the solid lies within pad_m + half height * sin(tilt) of the projected outline.
    """
    px, py, pz = shape[0] - frame[0, 0], shape[1] - frame[0, 1], shape[2] - frame[0, 2]
    hx, hy, hz = shape[3], shape[4], shape[5]
    sin_tilt = math.hypot(frame[3, 0], frame[3, 1])
    pad = pad_m + hz * sin_tilt + 1e-6
    x = px * frame[1, 0] + py * frame[1, 1] + pz * frame[1, 2]
    y = px * frame[2, 0] + py * frame[2, 1] + pz * frame[2, 2]
    distance = math.hypot(x, y)
    radius = math.hypot(hx, hy) if kind == 0 else max(hx, hy)
    if distance - radius - pad > far_m:
        return 0.0, -1.0
    centre = math.atan2(y, x)
    if kind != 0:
        if distance <= radius + pad:
            return centre, math.pi
        return centre, math.asin((radius + pad) / distance) + pad_rad
    cos, sin = shape[6], shape[7]
    gap_x = max(abs(cos * px + sin * py) - hx, 0.0)
    gap_y = max(abs(-sin * px + cos * py) - hy, 0.0)
    nearest = math.hypot(gap_x, gap_y) * math.sqrt(max(1.0 - sin_tilt * sin_tilt, 0.0)) - abs(pz) * sin_tilt
    if nearest <= pad:
        return centre, math.pi
    half = 0.0
    for corner in range(4):
        lx = hx if corner & 1 else -hx
        ly = hy if corner & 2 else -hy
        ox, oy = cos * lx - sin * ly, sin * lx + cos * ly
        cx = x + ox * frame[1, 0] + oy * frame[1, 1]
        cy = y + ox * frame[2, 0] + oy * frame[2, 1]
        half = max(half, abs(math.atan2(x * cy - y * cx, x * cx + y * cy)))
    return centre, half + math.asin(pad / nearest) + pad_rad


@njit(cache=True, nogil=True, error_model="numpy")
def random_unit(a: int, b: int, key: int) -> float:
    """A uniform number in (0, 1) that depends on three integers only (splitmix64 finaliser, Steele et al. 2014)."""
    h = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b) * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(key)
    h ^= h >> np.uint64(30)
    h *= np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(27)
    h *= np.uint64(0x94D049BB133111EB)
    h ^= h >> np.uint64(31)
    return (np.float64(h >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _cast_ground(
    origin: np.ndarray, along: np.ndarray, up: np.ndarray, slope: np.ndarray, far: np.ndarray,
    distance: np.ndarray, hit: np.ndarray,
) -> None:  # fmt: skip
    """Fill the depth buffer with the plane z = 0, or with ``far`` where a ray does not come down that soon."""
    for c in range(len(origin)):
        for b in range(len(slope)):
            descent = -(along[c, 2] + slope[b] * up[c, 2])
            distance[c, b], hit[c, b] = far[b], NO_HIT
            if descent > 1e-9 and origin[c, 2] > 0.0:
                t = origin[c, 2] / descent
                if NEAREST_M < t < far[b]:
                    distance[c, b], hit[c, b] = t, GROUND_HIT


@njit(cache=True, nogil=True, error_model="numpy")
def _cast_column(
    c: int, i: int, kind: int, shape: np.ndarray, rel: tuple[float, float, float], a: tuple[float, float, float],
    u: tuple[float, float, float], level: bool, slope: np.ndarray, free_path_m: float, key: int,
    distance: np.ndarray, hit: np.ndarray,
) -> None:  # fmt: skip
    """One solid against the beams of one column; ``rel`` is the origin seen from the solid's centre."""
    hx, hy, hz, cos, sin = shape[3], shape[4], shape[5], shape[6], shape[7]
    x, y, z = cos * rel[0] + sin * rel[1], cos * rel[1] - sin * rel[0], rel[2]
    ax, ay, az = cos * a[0] + sin * a[1], cos * a[1] - sin * a[0], a[2]
    ux, uy, uz = cos * u[0] + sin * u[1], cos * u[1] - sin * u[0], u[2]
    low_z, high_z = -hz - z, hz - z
    t0, t1 = 0.0, 0.0
    if level:
        t0, t1 = footprint(kind, x, y, ax, ay, hx, hy)
        if t0 > t1 or t1 <= NEAREST_M:
            return
        near, away = max(t0, 1e-9), t1
    else:
        # Bounds of the solid in the column's own axes: a cylinder about ``up`` that holds the tilted solid.
        tilt = math.hypot(ux, uy)
        radius = (math.hypot(hx, hy) if kind == 0 else max(hx, hy)) + hz * tilt
        scale = 1.0 / (ax * ax + ay * ay + az * az)
        middle = -(x * ax + y * ay + z * az) * scale
        spread = radius * math.sqrt(scale)
        if middle + spread <= NEAREST_M:
            return
        near, away = max(middle - spread, 1e-9), middle + spread
        rise = -(x * ux + y * uy + z * uz)
        high_z, low_z = rise + hz + radius * tilt, rise - hz - radius * tilt
    highest = high_z / (near if high_z > 0.0 else away)
    lowest = low_z / (near if low_z < 0.0 else away)
    first = first_at_least(slope, lowest - 1e-9)
    if not level:
        low_z, high_z = -hz - z, hz - z
    for b in range(first, len(slope)):
        s = slope[b]
        if s > highest + 1e-9:
            break
        dz = az + s * uz
        if kind == 2:
            ex, ey, ez = (ax + s * ux) / hx, (ay + s * uy) / hy, dz / hz
            mx, my, mz = x / hx, y / hy, z / hz
            qa = ex * ex + ey * ey + ez * ez
            qb = mx * ex + my * ey + mz * ez
            qc = mx * mx + my * my + mz * mz - 1.0
            disc = qb * qb - qa * qc
            if disc < 0.0 or qc <= 0.0:
                continue
            root = math.sqrt(disc)
            t = (-qb - root) / qa
            if free_path_m > 0.0 and t > NEAREST_M:
                # Leaves are sparse: a ray enters until it meets one, or leaves on the far side (Beer-Lambert).
                t -= math.log(random_unit(c * len(slope) + b, i, key)) * free_path_m / math.sqrt(1.0 + s * s)
                if t > (-qb + root) / qa:
                    continue
        else:
            if not level:
                t0, t1 = footprint(kind, x, y, ax + s * ux, ay + s * uy, hx, hy)
                if t0 > t1 or t1 <= NEAREST_M:
                    continue
            entry = max(t0, 0.0)
            rise = entry * dz
            t = t0
            if rise > high_z:
                t = high_z / dz
            elif rise < low_z:
                t = low_z / dz
            if t > t1 or t < entry:
                continue
        if NEAREST_M < t < distance[c, b]:
            distance[c, b], hit[c, b] = t, i


@njit(cache=True, nogil=True, error_model="numpy")
def cast(
    kind: np.ndarray, shapes: np.ndarray, velocity: np.ndarray, porous: np.ndarray,
    origin: np.ndarray, along: np.ndarray, up: np.ndarray, time: np.ndarray, azimuth: np.ndarray,
    slope: np.ndarray, far: np.ndarray, frame: np.ndarray, pad_m: float, pad_rad: float,
    free_path_m: float, key: int, distance: np.ndarray, hit: np.ndarray,
) -> None:  # fmt: skip
    """Nearest hit of every ray: fills distance float32 [C, L] (t of the hit, else ``far``) and hit int32 [C, L].

    kind int8 [N], shapes float64 [N, 8] (``Primitives.shapes``, GLOBAL frame, at time 0), velocity float64 [N, 2],
    porous bool [N] (ellipsoids that rays enter when free_path_m > 0, the mean depth of a hit). C columns: origin,
    along, up float64 [C, 3], time float64 [C] seconds, azimuth float64 [C] ascending within one turn, about
    ``frame[3]`` from ``frame[1]`` towards ``frame[2]``; slope and far float64 [L], slope ascending. pad_m, pad_rad: the
    most that a column's origin and axes differ from ``frame``. hit: index of the solid, GROUND_HIT or NO_HIT.
    """
    columns = len(origin)
    _cast_ground(origin, along, up, slope, far, distance, hit)
    level = True
    reach, slowest = 0.0, 0.0
    for c in range(columns):
        level = level and abs(up[c, 0]) < 1e-9 and abs(up[c, 1]) < 1e-9 and abs(along[c, 2]) < 1e-9
        size = math.sqrt(along[c, 0] ** 2 + along[c, 1] ** 2 + along[c, 2] ** 2)
        reach, slowest = max(reach, size), max(slowest, abs(time[c]))
    longest = 0.0
    for b in range(len(slope)):
        longest = max(longest, far[b])
    for i in range(len(shapes)):
        vx, vy = velocity[i, 0], velocity[i, 1]
        pad = pad_m + math.hypot(vx, vy) * slowest
        centre, half = column_interval(shapes[i], kind[i], frame, pad, pad_rad, longest * reach)
        if half < 0.0:
            continue
        free_path = free_path_m if porous[i] else 0.0
        for turn in range(-1, 2):
            lowest, highest = centre - half + turn * 2.0 * math.pi, centre + half + turn * 2.0 * math.pi
            if half >= math.pi:
                if turn != 0:
                    continue
                lowest, highest = azimuth[0], azimuth[-1]
            for c in range(first_at_least(azimuth, lowest), columns):
                if azimuth[c] > highest:
                    break
                rel = (
                    origin[c, 0] - shapes[i, 0] - vx * time[c],
                    origin[c, 1] - shapes[i, 1] - vy * time[c],
                    origin[c, 2] - shapes[i, 2],
                )
                a = (along[c, 0], along[c, 1], along[c, 2])
                u = (up[c, 0], up[c, 1], up[c, 2])
                _cast_column(c, i, kind[i], shapes[i], rel, a, u, level, slope, free_path, key, distance, hit)


@njit(cache=True, nogil=True, error_model="numpy")
def surface_normal(kind: int, shape: np.ndarray, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Outward unit normal, GLOBAL axes, of a solid near the surface point at (x, y, z) from its centre."""
    hx, hy, hz, cos, sin = shape[3], shape[4], shape[5], shape[6], shape[7]
    lx, ly = cos * x + sin * y, cos * y - sin * x
    nx, ny, nz = 0.0, 0.0, 0.0
    if kind == 0:
        # The face whose plane the point is nearest to.
        gap_x, gap_y, gap_z = abs(abs(lx) - hx), abs(abs(ly) - hy), abs(abs(z) - hz)
        if gap_z <= gap_x and gap_z <= gap_y:
            nz = math.copysign(1.0, z)
        elif gap_x <= gap_y:
            nx = math.copysign(1.0, lx)
        else:
            ny = math.copysign(1.0, ly)
    elif kind == 1:
        radial = math.hypot(lx / hx, ly / hy)
        if abs(abs(z) - hz) < abs(radial - 1.0) * min(hx, hy):
            nz = math.copysign(1.0, z)
        else:
            nx, ny = lx / (hx * hx), ly / (hy * hy)
    else:
        nx, ny, nz = lx / (hx * hx), ly / (hy * hy), z / (hz * hz)
    size = max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    return (cos * nx - sin * ny) / size, (sin * nx + cos * ny) / size, nz / size


@njit(cache=True, nogil=True, error_model="numpy")
def ground_material(raster: np.ndarray, resolution_m: float, low_x: float, low_y: float, x: float, y: float) -> int:
    """Material under a global point; GRASS (2) outside the raster."""
    column, row = math.floor((x - low_x) / resolution_m), math.floor((y - low_y) / resolution_m)
    if 0 <= row < raster.shape[0] and 0 <= column < raster.shape[1]:
        return int(raster[int(row), int(column)])
    return 2
