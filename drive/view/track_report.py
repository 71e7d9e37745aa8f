"""tracking report.html: one file, nothing from outside. A slider over the frames of every log, worst log first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from drive.geometry.box import LENGTH, VX, VY, WIDTH, YAW
from drive.geometry.rigid import yaw_of_matrix
from drive.logs.store import Log
from drive.samples.classes import ClassMap
from drive.tracks.sequence import TrackSet
from drive.train.weights import write_atomic
from drive.view.track_match import NEAR_M, Matches, Switch, Truth, best_scores, match, read_truth
from drive.view.track_page import PAGE

MAX_BYTES = 12_000_000  # of the whole file; the best logs beyond are left out, and the page says which
TRAIL_S = 4.0
_MAP_REACH_M = 70.0
_MAP_NUMBERS = 60_000  # of one log's map lines; what is farther from the way is left out
_MAP_KINDS = ("road_edge", "lane_divider", "road_divider", "lane", "lane_connector", "centerline", "drivable_area")


@dataclass(frozen=True)
class LogView:
    """One log as the page shows it. missed and false count boxes of all frames; badness is 1 - MOTA by its rule."""

    log: Log
    tracks: TrackSet
    truth: Truth
    matches: Matches

    @property
    def missed(self) -> int:
        return int((~self.matches.found).sum())

    @property
    def false(self) -> int:
        return int((self.matches.shown & self.matches.false).sum())

    @property
    def badness(self) -> float:
        wrong = self.missed + self.false + len(self.matches.switches)
        return wrong / max(len(self.truth.labels), 1)


def write_track_report(
    path: Path,
    tracks: TrackSet,
    log_paths: Sequence[Path],
    class_map: ClassMap,
    title: str,
    figures: Sequence[Sequence[str]] = (),
    text: str = "",
) -> None:
    """Write the page at once (temporary file, rename).

    Args:
        tracks: of all frames that were looked at. log_paths: their logs; a log without labels is shown without.
        class_map: the logs' categories to the classes of the tracks, whose order may be another.
        figures: rows of a table of scores, the first one its head. text: under the title.
    """
    views, least = _views(tracks, log_paths, class_map)
    views.sort(key=lambda view: (-view.badness, view.log.name))
    shown: list[tuple[LogView, str]] = []
    left_out: list[tuple[LogView, str]] = []
    size = 0
    for number, view in enumerate(views):
        one = json.dumps(_log_data(view, f"log{number}"), separators=(",", ":"))
        size += len(one)
        (shown if size < MAX_BYTES else left_out).append((view, one))
    labelled = any(len(view.truth.labels) for view in views)
    limits = ", ".join(f"{n} {s:.2f}" for n, s in zip(tracks.class_names, least, strict=True) if np.isfinite(s))
    rule = (
        f"A label and a tracked box of its class belong together within {NEAR_M:g} m seen from above (the scores have "
        "their own rules); a box near a label of another kind is neither right nor false. Boxes are shown from the "
        f"score on at which this count is best: {limits or 'none'}."
        if labelled
        else "The logs have no labels of these classes: every tracked box is shown, and no log is worse than another."
    )
    page = PAGE.substitute(
        title=escape(title),
        text=f"<p>{escape(text)}</p>" if text else "",
        figures=_table(figures[0], figures[1:]) if figures else "<p>No scores: see the table of logs.</p>",
        logs=_log_table(views, {id(view): f"log{i}" for i, view in enumerate(views[: len(shown)])}),
        rule=escape(rule),
        key=_KEY,
        sections="".join(_section(view, f"log{i}") for i, (view, _) in enumerate(shown))
        + "".join(f"<p>{escape(view.log.name)}: left out, the page would be too large.</p>" for view, _ in left_out),
        # "</" would end the script element early.
        data=("[" + ",".join(one for _, one in shown) + "]").replace("</", "<\\/"),
    )

    def write(file: Path) -> None:
        file.write_text(page, encoding="utf-8")

    write_atomic(path, write)


def _views(tracks: TrackSet, log_paths: Sequence[Path], class_map: ClassMap) -> tuple[list[LogView], np.ndarray]:
    """Every log, matched at the scores of ``best_scores``, and these float64 [K]."""
    classes = len(tracks.class_names)
    ordered = class_map.only(tracks.class_names)
    parts = []
    for path in log_paths:
        log = Log.open(path)
        mine = tracks.select(tracks.frames_of(log.name))
        truth = read_truth(log, mine.frame_indices, ordered)
        parts.append((log, mine, truth, match(mine, truth, np.full(classes, -np.inf))))
    least = np.full(classes, -np.inf)
    if any(len(truth.labels) for _, _, truth, _ in parts):
        right, wrong = (np.concatenate(x) for x in zip(*((m.pair >= 0, m.false) for _, _, _, m in parts), strict=True))
        scores, labels = (np.concatenate([getattr(t, name) for _, t, _, _ in parts]) for name in ("scores", "labels"))
        counts = right | wrong
        least = best_scores(scores[counts], labels[counts], right[counts], classes)
    return [LogView(log, mine, truth, match(mine, truth, least)) for log, mine, truth, _ in parts], least


def _log_data(view: LogView, anchor: str) -> dict[str, Any]:
    """What the script draws: whole centimetres, hundredths of a radian, decimetres a second, from an origin."""
    log, tracks, truth, matches = view.log, view.tracks, view.truth, view.matches
    poses = [log.frame(index).global_from_ego for index in tracks.frame_indices]
    ego = np.array([[*pose[:2, 3], yaw_of_matrix(pose)] for pose in poses]).reshape(-1, 3)
    origin = np.round(ego[0, :2]) if len(ego) else np.zeros(2)
    frame = np.repeat(np.arange(len(tracks.frame_ids)), np.diff(tracks.offsets))
    # Bit 1: a label belongs to it, or one that does not count; bit 2: predicted only, no detection in this frame.
    state = (~matches.false) * 1 + (~tracks.matched) * 2
    velocity = np.where(tracks.velocity_valid[:, None], tracks.boxes[:, [VX, VY]], 0.0)
    more = np.column_stack([np.rint(velocity * 10), state])
    rows = np.flatnonzero(matches.shown)
    followed = _objects(frame[rows], tracks.ids[rows], tracks.labels[rows], tracks.boxes[rows], more[rows], origin)
    of = np.repeat(np.arange(len(tracks.frame_ids)), np.diff(truth.offsets))
    labelled = _objects(of, truth.track, truth.labels, truth.boxes, matches.found[:, None] * 1, origin)
    places = np.concatenate([ego[:, :2], tracks.boxes[rows, :2], truth.boxes[:, :2], origin[None]]) - origin
    still = bool(len(ego)) and not np.ptp(ego[:, :2], axis=0).any()
    seen = truth.boxes[:, :2] if len(truth.boxes) else tracks.boxes[rows, :2]
    forward = (seen - origin) @ [np.cos(ego[0, 2]), np.sin(ego[0, 2])] if len(ego) else np.zeros(0)
    ahead = still and len(forward) > 0 and bool((forward > 0).mean() > 0.95)
    stamps = tracks.timestamps_ns - (tracks.timestamps_ns[0] if len(ego) else 0)
    return {
        "anchor": anchor,
        "classes": list(tracks.class_names),
        "origin": origin.tolist(),
        "heading": round(float(ego[0, 2]), 3) if len(ego) else 0.0,
        "times": np.round(stamps * 1e-9, 2).tolist(),
        "index": tracks.frame_indices,
        "ego": np.rint((ego - [*origin, 0.0]) * [100, 100, 1000]).astype(int).tolist(),
        "moves": not still,
        "ahead": ahead,  # a sensor that looks forward only: show what is before it
        "reach": 35 if ahead else 50,
        "trail": TRAIL_S,
        "labelled": bool(len(truth.labels)),
        "first": matches.switches[0].frame if matches.switches else len(poses) // 2,
        "box": np.rint(np.concatenate([places.min(axis=0), places.max(axis=0)]) * 100).astype(int).tolist(),
        "tracks": followed,
        "truth": labelled,
        "switches": [_switch(s, origin) for s in matches.switches],
        "map": _map_lines(log, ego[:, :2], origin),
    }


def _switch(s: Switch, origin: np.ndarray) -> list[int]:
    x, y = np.rint((np.array([s.x, s.y]) - origin) * 100).astype(int).tolist()
    return [s.frame, x, y, s.label, s.truth, s.before, s.after]


def _objects(
    frame: np.ndarray, ids: np.ndarray, labels: np.ndarray, boxes: np.ndarray, more: np.ndarray, origin: np.ndarray
) -> list[list[list[int]]]:
    """[[id, length, width, label], [frame, x, y, yaw, *more ... a row]] of each object; frame, x, y as differences."""
    if not len(ids):
        return []
    order = np.lexsort((frame, ids))
    table = np.column_stack([frame, np.rint((boxes[:, :2] - origin) * 100), np.rint(boxes[:, YAW] * 100), more])
    table = table.astype(np.int64)[order]
    starts = np.flatnonzero(np.diff(ids[order], prepend=ids[order[0]] - 1))
    objects = []
    for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
        rows = table[start:end].copy()
        rows[1:, :3] = np.diff(table[start:end, :3], axis=0)
        sizes = np.rint(np.median(boxes[order[start:end]][:, [LENGTH, WIDTH]], axis=0) * 100)
        one = order[start]
        head = [int(ids[one]), int(sizes[0]), int(sizes[1]), int(labels[one])]
        objects.append([head, rows.ravel().tolist()])
    return objects


def _map_lines(log: Log, way: np.ndarray, origin: np.ndarray) -> list[list[int]]:
    """Lines of the log's map near the ego's way, nearest first, decimetres, as differences."""
    if not len(way) or "map.arrow" not in log.manifest["files"]:
        return []
    found = []
    for feature in log.map_features(_MAP_KINDS):
        line = feature.geometry[:, :2]
        if feature.is_polygon and len(line):
            line = np.concatenate([line, line[:1]])
        if len(line) < 2:
            continue
        step = way[:: max(1, len(way) // 20)]
        apart = np.linalg.norm(line[:, None] - step[None], axis=2)
        if apart.min() < _MAP_REACH_M:
            close = np.flatnonzero(apart.min(axis=1) < 2 * _MAP_REACH_M)
            found.append((float(apart.min()), line[max(close[0] - 1, 0) : close[-1] + 2]))
    lines, numbers = [], 0
    for _, line in sorted(found, key=lambda pair: pair[0]):
        kept = line[_thinned(line)]
        whole = np.rint((kept - origin) * 10).astype(int)
        whole[1:] = np.diff(whole, axis=0)
        numbers += whole.size
        if numbers > _MAP_NUMBERS:
            break
        lines.append(whole.ravel().tolist())
    return lines


def _thinned(line: np.ndarray, least_m: float = 1.0) -> np.ndarray:
    """Rows of a line [M, 2] that are at least so far apart along it, its ends included."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    step = np.floor(along / least_m)
    kept = np.append(np.diff(step, prepend=-1) > 0, True)[: len(line)]
    kept[-1] = True
    return np.flatnonzero(kept)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _log_table(views: Sequence[LogView], anchors: Mapping[int, str]) -> str:
    head = ["log", "frames", "labelled objects", "labels", "objects shown", "missed", "false", "changes of identity"]
    rows = []
    for view in views:
        name = escape(view.log.name)
        linked = f'<a href="#{anchors[id(view)]}">{name}</a>' if id(view) in anchors else name
        labels = len(view.truth.labels)
        counts = [len(view.tracks.frame_ids), len(np.unique(view.truth.track)), labels]
        shown = len(np.unique(view.tracks.ids[view.matches.shown]))
        counts += [shown, view.missed, view.false, len(view.matches.switches)]
        rows.append([linked, *(f"{n:,}" for n in counts), f"{1 - view.badness:.3f}" if labels else "–"])
    return _table([*head, "MOTA"], rows)


def _section(view: LogView, anchor: str) -> str:
    poses = [view.log.frame(index).global_from_ego for index in view.tracks.frame_indices]
    known = any(not np.array_equal(pose, np.eye(4)) for pose in poses)
    note = "" if known else '<p class="faint">No poses: all is seen from the ego, velocities are relative to it.</p>'
    return f'<section id="{anchor}"><h2>{escape(view.log.name)}</h2>{note}</section>'


_KEY = "".join(
    f'<span class="key"><svg width="22" height="14">{shape}</svg>{text}</span>'
    for shape, text in (
        ('<rect x="2" y="2" width="18" height="10" fill="#5ac8fa66" stroke="#5ac8fa" stroke-width="2"/>',
         "tracked; a colour an identity, with its way of the last 4 s and its velocity (1 s ahead)"),
        ('<rect x="2" y="2" width="18" height="10" fill="#5ac8fa66" stroke="#5ac8fa" stroke-width="2" '
         'stroke-dasharray="4 3"/>', "tracked, no label there"),
        ('<rect x="2" y="2" width="18" height="10" fill="none" stroke="#8b95a1" stroke-width="1"/>', "label, followed"),
        ('<rect x="2" y="2" width="18" height="10" fill="none" stroke="#ff465a" stroke-width="2"/>', "label, missed"),
        ('<circle cx="11" cy="7" r="5.5" fill="none" stroke="#ff6fa8" stroke-width="2"/>', "identity changed"),
        ('<rect x="2" y="1" width="4" height="6" fill="#ff465a"/>'
         '<rect x="2" y="8" width="4" height="5" fill="#ffaa3c"/>',
         "strip: missed above, false below"),
    )
)  # fmt: skip
