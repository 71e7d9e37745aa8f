"""Line charts as inline SVG, coloured by the page's own variables, so that they follow its light or dark ground."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 26, 30


def line_chart(
    title: str,
    series: Mapping[str, Points],
    *,
    x_name: str = "",
    logarithmic: bool = False,
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
    width: int = 420,
    height: int = 230,
) -> str:
    """SVG text of one chart; series keep the order and so the colours of the runs.

    Values that are not finite (and, on a logarithmic axis, not positive) are left out; without any, the text is empty.
    """
    clean = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and (y > 0 or not logarithmic)]
        for name, points in series.items()
    }
    every = [point for points in clean.values() for point in points]
    if not every:
        return ""
    x0, x1 = x_range or _widen(min(x for x, _ in every), max(x for x, _ in every))
    low, high = y_range or (min(y for _, y in every), max(y for _, y in every))
    if logarithmic:
        low, high = math.log10(low), math.log10(high)
    y0, y1 = (low, high) if y_range else _widen(low, high)

    def place(x: float, y: float) -> tuple[float, float]:
        y = math.log10(y) if logarithmic else y
        u = _LEFT + (x - x0) / (x1 - x0) * (width - _LEFT - _RIGHT)
        return u, height - _BOTTOM - (y - y0) / (y1 - y0) * (height - _TOP - _BOTTOM)

    out = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    out.append(f'<text class="name" x="{_LEFT}" y="16">{escape(title)}</text>')
    for real in _decade_ticks(y0, y1) if logarithmic else _ticks(y0, y1):
        _, v = place(x0, real)
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{v:.1f}" y2="{v:.1f}"/>')
        out.append(f'<text class="tick" x="{_LEFT - 6}" y="{v + 4:.1f}" text-anchor="end">{_number(real)}</text>')
    for value in _ticks(x0, x1):
        u, _ = place(value, 10**y0 if logarithmic else y0)
        at = f'x="{u:.1f}" y="{height - _BOTTOM + 15}"'
        out.append(f'<text class="tick" {at} text-anchor="middle">{_number(value)}</text>')
    if x_name:
        out.append(
            f'<text class="tick" x="{width - _RIGHT}" y="{height - 2}" text-anchor="end">{escape(x_name)}</text>'
        )
    for i, (name, points) in enumerate(clean.items()):
        if points:
            path = " ".join(f"{u:.1f},{v:.1f}" for u, v in (place(x, y) for x, y in _thinned(points)))
            out.append(f'<polyline class="run{i % 6}" points="{path}"><title>{escape(name)}</title></polyline>')
    return "".join([*out, "</svg>"])


def _thinned(points: Points, limit: int = 400) -> Points:
    """At most ``limit`` points, first and last among them: more cannot be seen at this size."""
    if len(points) <= limit:
        return points
    step = (len(points) - 1) / (limit - 1)
    return [points[round(i * step)] for i in range(limit)]


def _widen(low: float, high: float) -> tuple[float, float]:
    if high > low:
        return low, high
    room = abs(low) * 0.1 or 1.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers between two."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [(first + i) * step for i in range(int((high - first * step) / step + 1e-9) + 1)]


def _decade_ticks(low: float, high: float) -> list[float]:
    """Values 1, 2 and 5 times a power of ten between two given by their logarithms; whole powers only over many."""
    steps = (1, 2, 5) if high - low < 3 else (1,)
    values = [m * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for m in steps]
    return [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]


def _number(value: float) -> str:
    return "0" if abs(value) < 1e-12 else f"{value:.3g}"
