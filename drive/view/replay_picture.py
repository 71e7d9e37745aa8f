"""One instant of a replay as a picture: every planner's drive from above, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import wrap
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from drive.geometry.box import corners_bev
from drive.rollouts.rollout import Rollout
from drive.samples.scene import CROSSING, HEADING, STATIC, VX, Actors, X, Y
from drive.view.ink import BACKGROUND, PAPER, Colour, font, ramp
from drive.view.replay import Replay
from drive.view.replay_map import ReplayMap

_SUPERSAMPLE = 2  # drawn larger and made smaller at the end: that smooths the lines
_HEAD_PX = 40

ROAD: Colour = (38, 44, 53)
CROSSINGS: Colour = (74, 70, 54)
EDGE: Colour = (154, 167, 184)
LANE: Colour = (76, 86, 101)
CONNECTOR: Colour = (57, 65, 77)
ROUTE: Colour = (36, 80, 78)
RECORDED: Colour = (201, 210, 222)
STRUCK: Colour = (255, 70, 93)
LIGHTS: tuple[Colour, ...] = ((139, 149, 161), (255, 70, 93), (255, 210, 60), (70, 210, 130))
ACTORS: tuple[Colour, ...] = ((143, 163, 189), (255, 207, 112), (168, 224, 95), (125, 118, 104))
DRIVES: tuple[Colour, ...] = (
    (90, 170, 255), (255, 170, 60), (190, 130, 255), (120, 220, 200), (255, 120, 160), (255, 220, 90),
)  # fmt: skip
MARKS: dict[str, Colour] = {
    "collision": STRUCK,
    "off_road": (255, 170, 60),
    "red_light": (255, 95, 210),
    "off_route": (200, 162, 255),
    "wrong_way": (255, 230, 90),
    "standing": (150, 190, 255),
    "no_progress": (150, 230, 215),
}


@dataclass(frozen=True)
class PictureConfig:
    """How a replay is drawn. `reach_m` to each side of the ego; `turn` "ego": ahead is up, "start": as at the start."""

    panel_px: int = 480
    columns: int = 3
    reach_m: float = 35.0
    turn: Literal["ego", "start"] = "ego"

    def __post_init__(self) -> None:
        if not (self.panel_px >= 64 and self.columns >= 1 and self.reach_m > 0):
            raise ValueError(f"a picture needs panels of 64 pixels, a column, a reach above 0: {self}")


@dataclass(frozen=True)
class ReplayPainter:
    """Draws any instant of one replay; what all instants share is prepared once."""

    replay: Replay
    config: PictureConfig = field(default_factory=PictureConfig)
    colours: dict[str, int] = field(default_factory=dict)
    _map: ReplayMap = field(init=False)
    _actors: Actors = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_map", self.replay.map())
        object.__setattr__(self, "_actors", self.replay.actors() if self.replay.drives else Actors.none(1))

    def draw(self, step: int) -> Image.Image:
        """The instant ``step`` of all drives; one that ended before stands where it ended."""
        size, columns = self.config.panel_px, min(self.config.columns, max(len(self.replay.drives), 1))
        rows = -(-max(len(self.replay.drives), 1) // columns)
        image = Image.new("RGB", (columns * size + 4 * (columns - 1), _HEAD_PX + rows * (size + 4) - 4), BACKGROUND)
        title = f"{self.replay.name}   {step * 0.1:.1f} s"
        ImageDraw.Draw(image).text((10, 10), title, fill=PAPER, font=font(16))
        if not self.replay.drives:
            return image
        for number, drive in enumerate(self.replay.drives):
            row, column = divmod(number, columns)
            image.paste(self._panel(drive, step, number), (column * (size + 4), _HEAD_PX + row * (size + 4)))
        return image

    def _panel(self, drive: Rollout, step: int, number: int) -> Image.Image:
        size = self.config.panel_px
        colour = DRIVES[self.colours.get(drive.planner, number) % len(DRIVES)]
        if not len(drive.ego):
            panel = Image.new("RGB", (size, size), BACKGROUND)
            draw = ImageDraw.Draw(panel)
            draw.text((10, 8), drive.planner, fill=colour, font=font(14))
            for line, text in enumerate(wrap(drive.failure or drive.end, 52)[:12]):
                draw.text((10, 34 + 18 * line), text, fill=STRUCK, font=font(13))
            return panel
        now = min(step, len(drive.ego) - 1)
        canvas = _Canvas(self.config, drive, now)
        self._ground(canvas)
        self._others(canvas, drive, now)
        _drive(canvas, drive, now, colour)
        panel = canvas.image.reduce(_SUPERSAMPLE)
        draw = ImageDraw.Draw(panel)
        draw.text((10, 8), f"{drive.planner}   {drive.ego[now, VX]:.1f} m/s", fill=colour, font=font(14))
        if step > now or drive.failed:
            said = drive.failure or drive.end
            for line, text in enumerate(wrap(f"ended at {now * 0.1:.1f} s: {said}", 58)[:3]):
                draw.text((10, 28 + 17 * line), text, fill=STRUCK, font=font(13))
        fresh = [found for found in drive.infractions if 0 <= step - found.step <= 10]
        for line, found in enumerate(fresh[-3:]):
            text = f"{found.kind.replace('_', ' ')} {found.what}{'' if found.at_fault else ', not at fault'}"
            draw.text((10, size - 44 - 17 * line), text, fill=MARKS.get(found.kind, PAPER), font=font(13))
        bar = 10 * canvas.scale / _SUPERSAMPLE
        draw.line([(10, size - 10), (10 + bar, size - 10)], fill=PAPER, width=2)
        draw.text((10, size - 26), "10 m", fill=PAPER, font=font(11))
        return panel

    def _ground(self, canvas: _Canvas) -> None:
        m, recorded = self._map, self.replay.recorded()
        for crossing in (False, True):
            for layer, rings in m.areas:
                if bool(layer & CROSSING) == crossing:
                    canvas.area(rings, CROSSINGS if crossing else ROAD)
        for _, connector, line in sorted(m.lanes, key=lambda lane: not lane[1]):
            canvas.line(line, CONNECTOR if connector else LANE, 1)
        if m.route is not None:
            canvas.line(m.route, ROUTE, max(3, round(1.6 * canvas.scale / _SUPERSAMPLE)))
        for line in m.edges:
            canvas.line(line, EDGE, 1.5)
        if recorded is not None:
            canvas.line(recorded[:, :2], RECORDED, 1, dashed=True)
            if canvas.now < len(recorded):
                canvas.box(canvas.footprint(recorded[canvas.now]), None, RECORDED, 1)
        if self.replay.scene is None:
            return
        lights, at = self.replay.scene.lights, self.replay.scene.now + canvas.now
        for k in np.flatnonzero(lights.state[at]):
            shown = LIGHTS[lights.state[at, k]]
            for lane, _, line in m.lanes:
                if lane == lights.lane[k]:
                    canvas.line(line, tuple(c // 2 for c in shown), 2)  # type: ignore[arg-type]
            canvas.dot(lights.stop_xy[k], shown, 4)

    def _others(self, canvas: _Canvas, drive: Rollout, now: int) -> None:
        actors = drive.actors
        struck = {found.counterpart for found in drive.infractions if found.step <= now and found.counterpart}
        for row in np.flatnonzero(actors.valid[:, now]):
            kind, token = int(actors.kind[row]), actors.token[row]
            colour = ACTORS[kind]
            outline, width = (STRUCK, 2.5) if token in struck else (colour, 1)
            fill = tuple(int(0.55 * c) for c in colour)
            canvas.box(actors.box[row, now], fill, outline, width, nose=kind != STATIC)  # type: ignore[arg-type]


class _Canvas:
    """A panel that is being drawn, and where the scene's places lie on it."""

    def __init__(self, config: PictureConfig, drive: Rollout, now: int) -> None:
        self.now, self.drive = now, drive
        self.side = config.panel_px * _SUPERSAMPLE
        self.scale = self.side / (2 * config.reach_m)
        x, y, heading = drive.ego[now, [X, Y, HEADING]]
        self.angle = float(heading if config.turn == "ego" else drive.ego[0, HEADING])
        ahead = 0.3 * config.reach_m if config.turn == "ego" else 0.0
        self.centre = np.array([x + ahead * np.cos(self.angle), y + ahead * np.sin(self.angle)])
        self.image = Image.new("RGB", (self.side, self.side), BACKGROUND)
        self.pen = ImageDraw.Draw(self.image)

    def pixels(self, places: np.ndarray) -> np.ndarray:
        """Pixels [N, 2] of places [N, 2] of the scene."""
        d = places - self.centre
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        left, ahead = -sin * d[:, 0] + cos * d[:, 1], cos * d[:, 0] + sin * d[:, 1]
        return self.side / 2 - self.scale * np.stack([left, ahead], axis=1)

    def _seen(self, pixels: np.ndarray) -> bool:
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        return bool((high > 0).all() and (low < self.side).all())

    def area(self, rings: tuple[np.ndarray, ...], colour: Colour) -> None:
        """Fill a polygon; its rings after the first are holes."""
        outer = self.pixels(rings[0])
        if not self._seen(outer):
            return
        if len(rings) == 1:
            self.pen.polygon(_flat(outer), fill=colour)
            return
        mask = Image.new("1", self.image.size)
        pen = ImageDraw.Draw(mask)
        pen.polygon(_flat(outer), fill=1)
        for ring in rings[1:]:
            pen.polygon(_flat(self.pixels(ring)), fill=0)
        self.image.paste(colour, mask=mask)

    def line(self, places: np.ndarray, colour: Colour, width: float, dashed: bool = False) -> None:
        """Draw through places [N, 2]."""
        if len(places) < 2 or not self._seen(pixels := self.pixels(places)):
            return
        wide = max(1, round(width * _SUPERSAMPLE))
        if not dashed:
            self.pen.line(_flat(pixels), fill=colour, width=wide, joint="curve")
            return
        for a, b in zip(pixels[:-1:3], pixels[1::3], strict=False):
            self.pen.line(_flat(np.stack([a, b])), fill=colour, width=wide)

    def footprint(self, pose: np.ndarray) -> np.ndarray:
        """x, y, length, width, heading of the ego's box for its rear axle at pose [3]."""
        v = self.drive.vehicle
        x, y = pose[0] + v.centre * np.cos(pose[2]), pose[1] + v.centre * np.sin(pose[2])
        return np.array([x, y, v.length, v.width, pose[2]])

    def box(self, box: np.ndarray, fill: Colour | None, outline: Colour, width: float, nose: bool = True) -> None:
        """A box x, y, length, width, heading, with a line from its middle to its front."""
        full = np.array([[box[0], box[1], 0.0, box[2], box[3], 0.0, box[4]]])
        places = corners_bev(full)[0]
        if not self._seen(pixels := self.pixels(places)):
            return
        wide = max(1, round(width * _SUPERSAMPLE))
        self.pen.polygon(_flat(pixels), fill=fill, outline=outline, width=wide)
        if nose:
            front = box[:2] + 0.5 * box[2] * np.array([np.cos(box[4]), np.sin(box[4])])
            self.pen.line(_flat(self.pixels(np.stack([box[:2], front]))), fill=outline, width=wide)

    def dot(self, place: np.ndarray, colour: Colour, radius: float, ring: float = 0.0) -> None:
        """A dot, or a circle of the line width ``ring``; radius in pixels of the finished picture."""
        ((u, v),) = self.pixels(np.asarray(place, np.float64)[None, :2])
        r = radius * _SUPERSAMPLE
        if ring:
            self.pen.ellipse([u - r, v - r, u + r, v + r], outline=colour, width=max(1, round(ring * _SUPERSAMPLE)))
        else:
            self.pen.ellipse([u - r, v - r, u + r, v + r], fill=colour)


def _drive(canvas: _Canvas, drive: Rollout, now: int, colour: Colour) -> None:
    """The trail, the modes and the plan of this instant, the ego, what went wrong."""
    canvas.line(drive.ego[: now + 1, [X, Y]], colour, 2)
    plans = drive.plans
    last = int(np.searchsorted(plans.step, now, side="right")) - 1
    here = drive.ego[plans.step[last], [X, Y]][None] if last >= 0 else np.zeros((0, 2))
    if last >= 0 and (modes := plans.modes_of(last)) is not None:
        order = np.argsort(modes.scores)
        low, high = modes.scores.min(), modes.scores.max()
        tones = ramp(modes.scores, low, high if high > low else low + 1.0)
        for m in order:
            tone = tuple(int(c) for c in tones[m])
            canvas.line(np.concatenate([here, modes.poses[m, :, :2]]), tone, 1)  # type: ignore[arg-type]
    canvas.box(canvas.footprint(drive.ego[now, [X, Y, HEADING]]), colour, (255, 255, 255), 1.5)
    if last >= 0:
        poses = plans.poses[plans.offsets[last] : plans.offsets[last + 1], :2]
        canvas.line(np.concatenate([here, poses]), (255, 255, 255), 2)
    for found in drive.infractions:
        if found.step <= now:
            canvas.dot(np.array([found.x, found.y]), MARKS.get(found.kind, PAPER), 11, ring=2)


def _flat(pixels: np.ndarray) -> list[tuple[float, float]]:
    return [(float(u), float(v)) for u, v in pixels]
