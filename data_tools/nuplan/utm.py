"""Universal Transverse Mercator on WGS 84: geographic to projected coordinates, below a micrometre from the true value.

Krueger's series in the third flattening to the sixth order (L. Krueger, Konforme Abbildung des Erdellipsoids in der
Ebene, 1912; coefficients as in C. F. F. Karney, Transverse Mercator with an accuracy of a few nanometers, J. Geodesy
2011, equation 35): nothing but numpy is needed.
"""

from __future__ import annotations

import numpy as np

SEMI_MAJOR_M = 6_378_137.0
FLATTENING = 1 / 298.257223563
SCALE, FALSE_EASTING_M, FALSE_NORTHING_M = 0.9996, 500_000.0, 10_000_000.0

_N = FLATTENING / (2 - FLATTENING)
_ECCENTRICITY = np.sqrt(FLATTENING * (2 - FLATTENING))
# Radius of the circle that is as long as the meridian.
_RECTIFYING_M = SEMI_MAJOR_M / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64 + _N**6 / 256)
# Coefficients alpha_1 .. alpha_6 as polynomials in n, lowest power (n^j) first.
_ALPHA_POLYNOMIALS = (
    (1 / 2, -2 / 3, 5 / 16, 41 / 180, -127 / 288, 7891 / 37800),
    (13 / 48, -3 / 5, 557 / 1440, 281 / 630, -1983433 / 1935360),
    (61 / 240, -103 / 140, 15061 / 26880, 167603 / 181440),
    (49561 / 161280, -179 / 168, 6601661 / 7257600),
    (34729 / 80640, -3418889 / 1995840),
    (212378941 / 319334400,),
)
_ALPHA = [
    sum(c * _N ** (order + power) for power, c in enumerate(polynomial))
    for order, polynomial in enumerate(_ALPHA_POLYNOMIALS, start=1)
]


def utm_zone(epsg: int) -> tuple[float, bool] | None:
    """Central meridian in degrees and whether it is south, of EPSG codes 326zz and 327zz; None for any other."""
    zone = epsg % 100
    if epsg // 100 not in (326, 327) or not 1 <= zone <= 60:
        return None
    return zone * 6.0 - 183.0, epsg // 100 == 327


def to_utm(longitude_latitude: np.ndarray, epsg: int) -> np.ndarray:
    """Easting and northing [N, 2] in metres of longitudes and latitudes [N, 2] in degrees (WGS 84).

    Raises:
        ValueError: the code is no UTM zone; a latitude beyond 84 degrees or a longitude 30 degrees or more from the
            zone's middle, where nobody means this zone.
    """
    zone = utm_zone(epsg)
    if zone is None:
        raise ValueError(f"EPSG:{epsg} is not a UTM zone on WGS 84")
    middle, south = zone
    degrees = np.asarray(longitude_latitude, dtype=np.float64).reshape(-1, 2)
    offset = (degrees[:, 0] - middle + 180.0) % 360.0 - 180.0
    if not (np.abs(offset) < 30.0).all() or not (np.abs(degrees[:, 1]) <= 84.0).all():
        raise ValueError(f"coordinates outside the reach of EPSG:{epsg}")
    turn, latitude = np.deg2rad(offset), np.deg2rad(degrees[:, 1])
    # Conformal latitude, then the spherical transverse Mercator, then the series.
    sine = np.sin(latitude)
    tangent = np.sinh(np.arctanh(sine) - _ECCENTRICITY * np.arctanh(_ECCENTRICITY * sine))
    xi = np.arctan2(tangent, np.cos(turn))
    eta = np.arcsinh(np.sin(turn) / np.hypot(tangent, np.cos(turn)))
    east, north = eta.copy(), xi.copy()
    for order, alpha in enumerate(_ALPHA, start=1):
        north += alpha * np.sin(2 * order * xi) * np.cosh(2 * order * eta)
        east += alpha * np.cos(2 * order * xi) * np.sinh(2 * order * eta)
    factor = SCALE * _RECTIFYING_M
    return np.stack([FALSE_EASTING_M + factor * east, factor * north + (FALSE_NORTHING_M if south else 0.0)], axis=1)
