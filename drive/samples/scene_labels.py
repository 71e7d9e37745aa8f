"""Labels of a log, all in one frame, track by track."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.errors import UserError
from drive.geometry.box import LENGTH, YAW, transform_boxes
from drive.logs.store import Log
from drive.samples.scene import VEHICLE
from drive.samples.scene_kinds import actor_kind, ego_origin_is_centre, ego_vehicle

SLACK_NS = 5_000_000
"""An instant of the grid this little outside of what is labelled still counts: logs' 10 Hz are not exact."""
GAP_SPACINGS = 2.2
"""A track that is not labelled for longer than this many frame spacings is not there in between."""


@dataclass(frozen=True)
class Labels:
    """All boxes of a log, global, sorted by track and time. Rows of a track: offsets[a]:offsets[a + 1].

    `ego` names the recording vehicle's own track, where it is labelled; its boxes are about its middle.
    """

    time_ns: np.ndarray
    boxes: np.ndarray
    velocity_valid: np.ndarray
    offsets: np.ndarray
    tokens: tuple[str, ...]
    kinds: np.ndarray
    longest_gap_ns: float
    unknown: tuple[str, ...]
    """Categories that name no kind of actor: left out."""
    ego: frozenset[str] = frozenset()


@lru_cache(maxsize=4)  # scenes of one log are made one after the other
def labels_of(log: Log) -> Labels:
    ego = set()
    if log.has_table("track_roles"):
        roles = log.table("track_roles")
        ego = {t for t, r in zip(roles["track"].to_pylist(), roles["role"].to_pylist(), strict=True) if r == "ego"}
    categories, tokens = log.tracks["category"].to_pylist(), log.track_tokens
    ego |= {t for t, c in zip(tokens, categories, strict=True) if c == "EGO_VEHICLE"}
    kinds = [VEHICLE if t in ego else actor_kind(c) for t, c in zip(tokens, categories, strict=True)]
    unknown = {c for c, k in zip(categories, kinds, strict=True) if k is None}
    times, boxes, valid, tracks = [], [], [], []
    stamps = log.frame_timestamps_ns
    for index in range(log.num_frames):
        found = log.boxes(index)
        if len(found.boxes):
            times.append(np.full(len(found.boxes), stamps[index]))
            boxes.append(transform_boxes(log.frame(index).global_from_ego, found.boxes))
            valid.append(found.velocity_valid)
            tracks.append(found.track)
    spacing = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0
    if not times:
        none = np.zeros(0, np.int64)
        return Labels(none, np.zeros((0, 9)), none.astype(bool), np.zeros(1, np.int64), (), none, 0.0, ())
    time, box, good, track = (np.concatenate(v) for v in (times, boxes, valid, tracks))
    wanted = np.array([k is not None for k in kinds])
    rows = np.flatnonzero(wanted[track])
    rows = rows[np.lexsort((time[rows], track[rows]))]
    present, starts = np.unique(track[rows], return_index=True)
    box, track = box[rows], track[rows]
    if not ego_origin_is_centre(log):  # these logs label the recording vehicle about the origin of its frame
        own = np.isin(track, [i for i, token in enumerate(tokens) if token in ego])
        ahead = np.stack([np.cos(box[own, YAW]), np.sin(box[own, YAW])], axis=1)
        box[own, :2] += ego_vehicle(log).centre * ahead
    return Labels(
        time_ns=time[rows],
        boxes=box,
        velocity_valid=good[rows],
        offsets=np.append(starts, len(rows)).astype(np.int64),
        tokens=tuple(tokens[i] for i in present),
        kinds=np.array([kinds[i] for i in present], np.int64),
        longest_gap_ns=GAP_SPACINGS * spacing,
        unknown=tuple(sorted(unknown)),
        ego=frozenset(ego),
    )


def labelled(log: Log, track: str) -> tuple[np.ndarray, np.ndarray]:
    """Times int64 [P] and global boxes [P, 9] of a track. UserError: no such vehicle, or its labels have gaps."""
    labels = labels_of(log)
    if track not in labels.tokens or labels.kinds[labels.tokens.index(track)] != VEHICLE:
        raise UserError(f"{log.name}, track {track}", "is no vehicle of the log", "name another one")
    a = labels.tokens.index(track)
    rows = slice(labels.offsets[a], labels.offsets[a + 1])
    times = labels.time_ns[rows]
    if len(times) < 2 or np.diff(times).max() > labels.longest_gap_ns:
        raise UserError(f"{log.name}, track {track}", "is not labelled all along", "name another one")
    return times, labels.boxes[rows]


def track_vehicle(log: Log, track: str) -> Vehicle:
    """Measures of a labelled vehicle: its box's, divided up as those of nuPlan's vehicle are."""
    length, width, height = np.median(labelled(log, track)[1][:, LENGTH : LENGTH + 3], axis=0).tolist()
    like = Vehicle()
    share = length / like.length
    return Vehicle(width, share * like.front, share * like.rear, share * like.wheelbase, share * like.cog, height)


def longest_drive(log: Log, at_ns: int) -> str:
    """Token of the vehicle, other than the recording one, that drives furthest of those that are labelled without
    gaps around an instant.

    UserError: there is none.
    """
    labels = labels_of(log)
    best, found = 0.0, ""
    for a in np.flatnonzero(labels.kinds == VEHICLE):
        rows = slice(labels.offsets[a], labels.offsets[a + 1])
        times = labels.time_ns[rows]
        if (
            labels.tokens[a] in labels.ego
            or len(times) < 2
            or not times[0] - SLACK_NS <= at_ns < times[-1]
            or np.diff(times).max() > labels.longest_gap_ns
        ):
            continue
        way = float(np.linalg.norm(np.diff(labels.boxes[rows, :2], axis=0), axis=1).sum())
        if way > best:
            best, found = way, labels.tokens[a]
    if not found:
        raise UserError(log.name, "no vehicle is labelled all along there", "choose another start")
    return found
