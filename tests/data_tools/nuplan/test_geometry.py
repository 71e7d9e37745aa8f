"""UTM against published and pyproj's numbers; well-known binary against shapely."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from data_tools.nuplan.utm import to_utm, utm_zone
from data_tools.nuplan.wkb import WkbError, decode_wkb, encode_wkb

# EPSG, longitude, latitude, easting, northing: pyproj 3.7 (PROJ), in the zones of nuPlan's four cities and beyond.
REFERENCE = (
    (32611, -115.17, 36.12, 664691.93314, 3998809.02917),
    (32619, -71.04, 42.35, 331977.68261, 4690653.00230),
    (32617, -79.95, 40.41, 589090.14393, 4473794.04551),
    (32648, 103.79, 1.30, 365381.65478, 143721.56048),
    (32719, -71.0, -33.5, 314214.38999, 6291490.64612),
    (32617, -79.387139, 43.642567, 630084.30083, 4833438.58567),  # CN Tower, published as 17T 630084 4833438
)


@pytest.mark.parametrize(("epsg", "longitude", "latitude", "easting", "northing"), REFERENCE)
def test_utm(epsg: int, longitude: float, latitude: float, easting: float, northing: float) -> None:
    np.testing.assert_allclose(to_utm(np.array([[longitude, latitude]]), epsg), [[easting, northing]], atol=2e-5)


def test_meridian_arc_is_the_published_one() -> None:
    """From the equator to 45 and 84 degrees on the middle meridian; the arc of 45 degrees is 4,984,944.378 m long."""
    place = to_utm(np.array([[-117.0, 45.0]]), 32611)
    np.testing.assert_allclose(place, [[500_000.0, 0.9996 * 4_984_944.378]], atol=1e-3)
    assert to_utm(np.zeros((0, 2)), 32611).shape == (0, 2)


@given(st.floats(-5, 5), st.floats(-80, 80))
def test_utm_is_conformal_and_symmetric(offset: float, latitude: float) -> None:
    east, west = to_utm(np.array([[-117.0 + offset, latitude], [-117.0 - offset, latitude]]), 32611)
    assert east[0] - 500_000 == pytest.approx(500_000 - west[0], abs=1e-6)
    assert east[1] == pytest.approx(west[1], abs=1e-6)


def test_utm_refuses_what_it_cannot_mean() -> None:
    assert utm_zone(4326) is None
    assert utm_zone(32661) is None
    with pytest.raises(ValueError, match="not a UTM zone"):
        to_utm(np.zeros((1, 2)), 25832)
    with pytest.raises(ValueError, match="outside the reach"):
        to_utm(np.array([[100.0, 0.0]]), 32611)
    with pytest.raises(ValueError, match="outside the reach"):
        to_utm(np.array([[-117.0, np.nan]]), 32611)


RING = np.array([[0.0, 0, 1], [4, 0, 1], [4, 4, 1], [0, 4, 1]])
HOLE = np.array([[1.0, 1, 1], [2, 1, 1], [2, 2, 1]])


@pytest.mark.parametrize("byte_order", [0, 1])
@pytest.mark.parametrize("flavor", ["iso", "extended"])
def test_wkb_of_shapely(byte_order: int, flavor: str) -> None:
    flat, solid = shapely.Polygon(RING[:, :2], [HOLE[:, :2]]), shapely.Polygon(RING, [HOLE])
    line = shapely.LineString(RING)
    several = shapely.MultiPolygon([solid, shapely.transform(solid, lambda p: p + 10, include_z=True)])
    for geometry, count in ((flat, 1), (solid, 1), (line, 1), (several, 2), (shapely.MultiLineString([line, line]), 2)):
        data = shapely.to_wkb(geometry, byte_order=byte_order, flavor=flavor)
        shapes = decode_wkb(data)
        assert len(shapes) == count
        first = shapes[0]
        assert len(first.rings) == (2 if first.is_polygon else 1)
        expected = RING * ([1, 1, 0] if geometry is flat else 1)
        np.testing.assert_array_equal(first.rings[0], expected)
    np.testing.assert_array_equal(decode_wkb(shapely.to_wkb(several))[1].rings[1], HOLE + 10)


def test_wkb_both_ways() -> None:
    data = encode_wkb([RING, HOLE], is_polygon=True)
    assert shapely.from_wkb(data).equals(shapely.Polygon(RING, [HOLE]))
    (shape,) = decode_wkb(data)
    np.testing.assert_array_equal(shape.rings[1], HOLE)
    assert shapely.from_wkb(encode_wkb([RING], is_polygon=False)).equals(shapely.LineString(RING))
    assert decode_wkb(shapely.to_wkb(shapely.Polygon())) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no byte order"),
        (b"\x01\x02", "truncated"),
        (b"\x01\x01\x00\x00\x00" + bytes(16), "neither line nor polygon"),
        (b"\x01\x02\x00\x00\x00\xff\xff\xff\xff", "parts in 0 bytes"),
        (b"\x01\x03\x00\x00\x00\xff\xff\xff\x7f", "parts in 0 bytes"),
        (b"\x01\x07\x00\x00\x00\x01\x00\x00\x00" * 9, "nested too deeply"),
        (encode_wkb([np.full((2, 3), np.nan)], is_polygon=False), "not finite"),
    ],
)
def test_damaged_wkb(data: bytes, message: str) -> None:
    with pytest.raises(WkbError, match=message):
        decode_wkb(data)
