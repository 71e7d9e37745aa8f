"""A frame from above: points, map, labels, predictions. Ahead is up, left is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from drive.geometry.box import corners_bev
from drive.logs.maps import MapFeature, in_box
from drive.samples.sample import VELOCITY
from drive.view.ink import (
    BACKGROUND,
    EGO,
    FAINT,
    FALSE,
    MISSED,
    PAPER,
    RIGHT,
    TRUTH,
    Colour,
    class_colour,
    font,
    legend,
    ramp,
)

# Everything is drawn at twice the size and made smaller at the end: that is what smooths the lines.
_SUPERSAMPLE = 2

_AREAS: dict[str, Colour] = {
    "drivable_area": (32, 37, 44),
    "carpark_area": (30, 36, 48),
    "walkway": (26, 34, 32),
    "driveway": (30, 33, 40),
    "ped_crossing": (58, 54, 40),
    "speed_bump": (58, 46, 34),
}
_LINES: dict[str, Colour] = {
    "road_edge": (120, 132, 148),
    "road_divider": (110, 100, 50),
    "lane_divider": (64, 72, 84),
    "road_line": (110, 104, 78),
    "lane": (52, 60, 72),
    "stop_line": (110, 60, 60),
}
_RADAR: dict[str, Colour] = {
    "radar, still": (150, 155, 165),
    "radar, nearing": (255, 96, 160),
    "radar, leaving": (64, 200, 255),
}
_STILL_MPS = 0.5


@dataclass(frozen=True)
class View:
    """A rectangle of the ego frame (metres) at so many pixels a metre."""

    x0: float
    y0: float
    x1: float
    y1: float
    pixels_per_m: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, pixels."""
        return round((self.y1 - self.y0) * self.pixels_per_m), round((self.x1 - self.x0) * self.pixels_per_m)

    def pixels(self, xy: np.ndarray) -> np.ndarray:
        """Pixels [P, 2] (right, down) of places [P, >=2] of the ego frame."""
        return np.stack([(self.y1 - xy[:, 1]), (self.x1 - xy[:, 0])], axis=1) * self.pixels_per_m


def fitting_range(points: np.ndarray) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1): what holds nearly all points, at least 20 m and at most 60 m around the ego; without rear
    half where nothing was scanned there (a scan cropped to a camera's view)."""
    if len(points) == 0:
        return -50.0, -50.0, 50.0, 50.0
    half = float(np.clip(np.percentile(np.abs(points[:, :2]).max(axis=1), 98), 20.0, 60.0))
    if np.percentile(points[:, 0], 1) > 0:
        return -2.0, -half / 2 - 1, half, half / 2 + 1
    return -half, -half, half, half


def draw_bev(
    points: np.ndarray,
    *,
    boxes: np.ndarray | None = None,
    found: np.ndarray | None = None,
    predictions: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    right: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    map_features: Sequence[MapFeature] = (),
    colour_by: str = "height",
    range_m: tuple[float, float, float, float] | None = None,
    size_px: int = 900,
    title: str = "",
    radar: np.ndarray | None = None,
) -> Image.Image:
    """The picture of one frame; everything in its ego frame.

    points f32 [P, >=3] (column 3 = intensity, 0..1, for ``colour_by="intensity"``). boxes f64 [N, >=7]: labels of the
    frame; found bool [N]: which of them a prediction found (None: not compared). predictions f64 [M, >=7], scores [M]
    (written beside them), labels int64 [M] (class colours, if they are not compared), right bool [M]: which of them lie
    on a label. map_features in the ego frame (``MapFeature.transformed``). range_m: (x0, y0, x1, y1). radar f32 [R, 10]
    (``drive.samples.sample.RADAR_POINT_COLUMNS``): each return with the way that its velocity makes in a second.

    Raises ValueError for another ``colour_by``.
    """
    ground = draw_ground(
        points, map_features=map_features, colour_by=colour_by, range_m=range_m, size_px=size_px, radar=radar
    )
    return draw_boxes_on(
        ground, boxes=boxes, found=found, predictions=predictions, scores=scores, labels=labels, right=right,
        class_names=class_names, title=title,
    )  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """What lies under the boxes, drawn once for pictures that differ only in their boxes (runs side by side).

    entries: the legend's, in front of the boxes'.
    """

    view: View
    image: Image.Image
    entries: tuple[tuple[str, Colour], ...] = ()


def draw_ground(
    points: np.ndarray,
    *,
    map_features: Sequence[MapFeature] = (),
    colour_by: str = "height",
    range_m: tuple[float, float, float, float] | None = None,
    size_px: int = 900,
    radar: np.ndarray | None = None,
) -> Ground:
    """Map, range rings, points and radar returns; arguments as of ``draw_bev``."""
    x0, y0, x1, y1 = range_m or fitting_range(points)
    view = View(x0, y0, x1, y1, _SUPERSAMPLE * size_px / max(x1 - x0, y1 - y0))
    image = Image.new("RGB", view.size, BACKGROUND)
    _draw_map(image, view, map_features)
    _draw_rings(image, view)
    image = _draw_points(image, view, points, colour_by)
    if radar is None:
        return Ground(view, image)
    _draw_radar(ImageDraw.Draw(image), view, radar)
    return Ground(view, image, tuple(_RADAR.items()))


def draw_boxes_on(
    ground: Ground,
    *,
    boxes: np.ndarray | None = None,
    found: np.ndarray | None = None,
    predictions: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    right: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    title: str = "",
) -> Image.Image:
    """The finished picture of a ground; arguments as of ``draw_bev``. The ground stays as it is."""
    view, image = ground.view, ground.image.copy()
    draw = ImageDraw.Draw(image)
    _draw_ego(draw, view)
    entries = list(ground.entries)
    if boxes is not None:
        is_found = np.ones(len(boxes), dtype=bool) if found is None else np.asarray(found, dtype=bool)
        _draw_boxes(draw, view, boxes[is_found], [TRUTH] * int(is_found.sum()), 3)
        _draw_boxes(draw, view, boxes[~is_found], [MISSED] * int((~is_found).sum()), 5)
        entries += [("label" if found is None else "label, found", TRUTH)]
        entries += [("label, missed", MISSED)] if found is not None else []
    if predictions is not None:
        colours = _prediction_colours(len(predictions), labels, right)
        _draw_boxes(draw, view, predictions, colours, 3)
        if scores is not None:
            _draw_scores(draw, view, predictions, scores, colours)
        if right is not None:
            entries += [("prediction", RIGHT), ("prediction, false", FALSE)]
        elif labels is not None and len(class_names):
            present = np.unique(np.asarray(labels, dtype=np.int64)).tolist()
            entries += [(class_names[label], class_colour(label)) for label in present]
        else:
            entries += [("prediction", RIGHT)]
    small = image.reduce(_SUPERSAMPLE)
    draw = ImageDraw.Draw(small)
    if title:
        draw.text((10, 8), title, fill=PAPER, font=font(15))
    legend(draw, (10, small.height - 24), entries, 13)
    return small


def _draw_map(image: Image.Image, view: View, features: Sequence[MapFeature]) -> None:
    features = in_box(features, (view.x0, view.y0, view.x1, view.y1))
    draw = ImageDraw.Draw(image)
    width = max(1, round(0.12 * view.pixels_per_m))
    for kind, colour in _AREAS.items():
        for feature in (f for f in features if f.kind == kind and len(f.geometry) > 2):
            holes = [hole for hole in feature.holes if len(hole) > 2]
            if not holes:
                draw.polygon(_flat(view, feature.geometry), fill=colour)
                continue
            # A polygon of Pillow has no holes: they need a layer of their own.
            mask = Image.new("1", image.size)
            ImageDraw.Draw(mask).polygon(_flat(view, feature.geometry), fill=1)
            for hole in holes:
                ImageDraw.Draw(mask).polygon(_flat(view, hole), fill=0)
            image.paste(colour, mask=mask)
    for kind, line_colour in _LINES.items():
        for feature in (f for f in features if f.kind == kind and len(f.geometry) > 1):
            line = _flat(view, feature.geometry)
            draw.line(line + line[:1] if feature.is_polygon else line, fill=line_colour, width=width)


def _flat(view: View, xyz: np.ndarray) -> list[tuple[float, float]]:
    return [(float(u), float(v)) for u, v in view.pixels(xyz)]


def _draw_rings(image: Image.Image, view: View) -> None:
    draw = ImageDraw.Draw(image)
    farthest = max(abs(view.x0), abs(view.x1), abs(view.y0), abs(view.y1))
    step = 10 if farthest <= 45 else 20
    ((u, v),) = view.pixels(np.zeros((1, 2)))
    for radius in range(step, int(farthest * 1.42) + 1, step):
        r = radius * view.pixels_per_m
        draw.ellipse([u - r, v - r, u + r, v + r], outline=(38, 43, 51), width=_SUPERSAMPLE)
        ((at_u, at_v),) = view.pixels(np.array([[0.0, -radius]]))
        draw.text((at_u + 6, at_v + 4), f"{radius} m", fill=FAINT, font=font(11 * _SUPERSAMPLE))


def _draw_points(image: Image.Image, view: View, points: np.ndarray, colour_by: str) -> Image.Image:
    if colour_by not in ("height", "intensity"):
        raise ValueError(f"colour_by is 'height' or 'intensity', not {colour_by!r}")
    pixels = np.floor(view.pixels(points)).astype(np.int64)
    width, height = image.size
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < width - 2) & (pixels[:, 1] < height - 2)
    pixels, kept = pixels[inside], points[inside]
    if colour_by == "intensity":
        colours = ramp(np.sqrt(np.clip(kept[:, 3], 0, None)), 0.0, 1.0)
    else:
        colours = ramp(kept[:, 2], *_height_limits(kept[:, 2]))
    # The highest last, so that a roof is not hidden by the ground under it.
    order = np.argsort(kept[:, 2], kind="stable")
    canvas = np.asarray(image).copy()
    # A thin scan gets larger dots.
    dot = 2 if len(kept) > 60_000 else 3
    for du, dv in np.ndindex(dot, dot):
        canvas[pixels[order, 1] + dv, pixels[order, 0] + du] = colours[order]
    return Image.fromarray(canvas)


def _height_limits(z: np.ndarray) -> tuple[float, float]:
    """From the ground (a low percentile: where the ego frame's origin lies differs by data set) to 4 m above it."""
    ground = float(np.percentile(z, 5)) if len(z) else 0.0
    return ground, ground + 4.0


def _draw_radar(draw: ImageDraw.ImageDraw, view: View, radar: np.ndarray) -> None:
    """A disc a return, and a line to where its velocity carries it in a second; the still ones first."""
    velocity = radar[:, VELOCITY]
    nearing = (velocity * radar[:, :2]).sum(axis=1) < 0
    moves = np.hypot(*velocity.T) > _STILL_MPS
    ends = radar[:, :2] + velocity
    size = 2 * _SUPERSAMPLE
    colours = list(_RADAR.values())
    for row in np.argsort(moves, kind="stable"):
        colour = colours[0] if not moves[row] else colours[1 if nearing[row] else 2]
        start, end = _flat(view, np.stack([radar[row, :2], ends[row]]))
        if moves[row]:
            draw.line([start, end], fill=colour, width=_SUPERSAMPLE + 1)
        draw.ellipse([start[0] - size, start[1] - size, start[0] + size, start[1] + size], fill=colour)


def _draw_ego(draw: ImageDraw.ImageDraw, view: View) -> None:
    outline = np.array([[2.9, 0.0], [2.0, 0.9], [-1.6, 0.9], [-1.6, -0.9], [2.0, -0.9]])
    draw.polygon(_flat(view, outline), fill=(70, 76, 86), outline=EGO)


def _prediction_colours(count: int, labels: np.ndarray | None, right: np.ndarray | None) -> list[Colour]:
    if right is not None:
        return [RIGHT if r else FALSE for r in right]
    if labels is not None:
        return [class_colour(int(label)) for label in labels]
    return [RIGHT] * count


def _draw_boxes(
    draw: ImageDraw.ImageDraw, view: View, boxes: np.ndarray, colours: Sequence[Colour], width: int
) -> None:
    """Outlines, with a line from the centre through the front."""
    if len(boxes) == 0:
        return
    outlines = corners_bev(boxes)
    for box, outline, colour in zip(boxes, outlines, colours, strict=True):
        ring = _flat(view, outline)
        draw.line([*ring, ring[0], ring[1]], fill=colour, width=width, joint="curve")
        front = (outline[0] + outline[3]) / 2
        beyond = front + 0.35 * (front - box[:2])
        draw.line(_flat(view, np.stack([box[:2], beyond])), fill=colour, width=width)


def _draw_scores(
    draw: ImageDraw.ImageDraw, view: View, boxes: np.ndarray, scores: np.ndarray, colours: Sequence[Colour]
) -> None:
    if len(boxes) == 0:
        return
    corners = corners_bev(boxes)
    for outline, score, colour in zip(corners, scores, colours, strict=True):
        at = view.pixels(outline)
        draw.text((at[:, 0].max() + 4, at[:, 1].min() - 6), f"{score:.2f}", fill=colour, font=font(11 * _SUPERSAMPLE))
