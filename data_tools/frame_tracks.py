"""What the frame doctor asks of tracks: do things that stand still stand still in the world?

Points and boxes that are mirrored alike fit each other, so points inside boxes say nothing. But poses then disagree:
when the vehicle turns, parked cars wander through the world unless the frames are mirrored back. The same holds for
poses stored the wrong way round. A track votes for a hypothesis when its boxes spread over at most half the space that
they spread over as they are, and over at most 2 m; against it in the opposite case.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data_tools.frame_fit import Diagnosis, convincing
from drive.geometry.rigid import invert
from drive.logs.store import Log

MAX_FRAMES = 200
_STILL_M = 2.0

Move = Callable[[np.ndarray, np.ndarray], np.ndarray]  # poses [N, 4, 4] and ego positions [N, 3] -> world [N, 3]


def _to_world(poses: np.ndarray, positions: np.ndarray) -> np.ndarray:
    return np.einsum("nij,nj->ni", poses[:, :3, :3], positions) + poses[:, :3, 3]


_HYPOTHESES: tuple[tuple[str, Move, str, str], ...] = (
    (
        "left_handed_frames",
        lambda poses, positions: _to_world(poses, positions * [1, -1, 1]),
        "left-handed axes: points and boxes are mirrored against the poses",
        "negate y of the points, y and yaw of the boxes: x forward, y left, z up",
    ),
    (
        "inverted_poses",
        lambda poses, positions: _to_world(invert(poses), positions),
        "poses are the wrong way round",
        "store global from ego, the position and heading of the vehicle in the world",
    ),
)


def spread(track: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Largest extent [T] over x and y of the places [N, >=2] of each track id 0..T-1 of track [N]."""
    count = int(track.max()) + 1 if len(track) else 0
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, track, places[:, :2])
    np.maximum.at(high, track, places[:, :2])
    return np.where(high >= low, high - low, 0).max(axis=1) if count else np.zeros(0)


def diagnose_tracks(tracks: np.ndarray, poses: np.ndarray, positions: np.ndarray) -> list[Diagnosis]:
    """Faults that tracks show: box ids [N], their frames' poses [N, 4, 4] (global from ego), ego positions [N, 3]."""
    seen = np.bincount(tracks) >= 3 if len(tracks) else np.zeros(0, dtype=bool)
    as_is = spread(tracks, _to_world(poses, positions))
    found: list[tuple[int, Diagnosis]] = []
    for code, move, fault, mend in _HYPOTHESES:
        edited = spread(tracks, move(poses, positions))
        wins = int((seen & (edited <= _STILL_M) & (edited < 0.5 * as_is) & (as_is > 0.5)).sum())
        losses = int((seen & (as_is <= _STILL_M) & (as_is < 0.5 * edited) & (edited > 0.5)).sum())
        if convincing(wins, losses, int(seen.sum())):
            proof = (
                f"after the mend {wins} of {int(seen.sum())} tracks stand still that wandered, {losses} the other way"
            )
            found.append((wins - losses, Diagnosis(code, f"{fault} ({proof})", mend)))
    return [max(found, key=lambda pair: pair[0])[1]] if found else []


def tracks_of_logs(logs: list[Log]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Track ids [N], poses [N, 4, 4] and ego positions [N, 3] of boxes, of up to MAX_FRAMES frames a log."""
    ids, poses, positions, before = [np.zeros(0, np.int64)], [np.zeros((0, 4, 4))], [np.zeros((0, 3))], 0
    for log in logs:
        for index in np.unique(np.linspace(0, log.num_frames - 1, min(MAX_FRAMES, log.num_frames)).astype(int)):
            labels, pose = log.boxes(int(index)), log.frame(int(index)).global_from_ego
            ids.append(labels.track.astype(np.int64) + before)
            poses.append(np.broadcast_to(pose, (len(labels.boxes), 4, 4)))
            positions.append(labels.boxes[:, :3])
        before += len(log.track_tokens)
    return np.concatenate(ids), np.concatenate(poses), np.concatenate(positions)
