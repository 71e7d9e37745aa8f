"""What STT remembers between two frames: plain arrays, so that it can be written, read and gone on with."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numba import njit

from drive.tracks.history_steps import COLUMNS


@dataclass(frozen=True)
class SttState:
    """N live tracks. Histories are rings of T places: observation k of a track (0 is its first) lies at place k % T.

    Attributes:
        frames: Frames seen so far; timestamp_ns: of the last one (0 before the first).
        next_id: Of the next new track. left_out: detections so far that could not be used.
        ids, labels: int64 [N]. counts: int64 [N], observations so far, those that the ring has lost among them.
        values: float64 [N, T, 17] observations; stamps_ns: int64 [N, T]; features: float32 [N, T, C].
    """

    frames: int
    timestamp_ns: int
    next_id: int
    left_out: int
    ids: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    values: np.ndarray
    stamps_ns: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def start(length: int, appearance: int) -> SttState:
        """Before the first frame: histories of ``length`` observations with ``appearance`` channels."""
        none = np.zeros(0, dtype=np.int64)
        values = np.zeros((0, length, COLUMNS))
        features = np.zeros((0, length, appearance), dtype=np.float32)
        return SttState(0, 0, 1, 0, none, none, none, values, np.zeros((0, length), dtype=np.int64), features)

    def take(self, rows: np.ndarray) -> SttState:
        """The state with the tracks at ``rows`` (mask or indices) only."""
        arrays = {f.name: v[rows] for f in fields(self) if isinstance(v := getattr(self, f.name), np.ndarray)}
        return SttState(self.frames, self.timestamp_ns, self.next_id, self.left_out, **arrays)

    def newest_first(self, now_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Histories in order: rows int64 [N, T] of ``values.reshape(N * T, 17)``, -1 where there is no observation
        (any more), and float64 [N, T] seconds from ``now_ns``, 0 there."""
        return _newest_first(self.counts, self.stamps_ns, now_ns)

    def after(
        self,
        timestamp_ns: int,
        left_out: int,
        tracks: np.ndarray,
        observations: np.ndarray,
        features: np.ndarray,
        new_labels: np.ndarray,
        new_observations: np.ndarray,
        new_features: np.ndarray,
    ) -> SttState:
        """The state one frame on: ``tracks`` (rows) get one observation each, new tracks begin with one."""
        born, given = len(new_labels), (self.values, self.stamps_ns, self.features, self.counts)
        news = tracks, observations, features, new_observations, new_features, timestamp_ns
        ids = np.concatenate([self.ids, np.arange(self.next_id, self.next_id + born)])
        labels = np.concatenate([self.labels, new_labels])
        values, stamps, looks, counts = _after(*given, *news)
        head = self.frames + 1, timestamp_ns, self.next_id + born, self.left_out + left_out
        return SttState(*head, ids, labels, counts, values, stamps, looks)


@njit(cache=True, nogil=True)
def _after(values, stamps_ns, features, counts, tracks, seen, looks, new_seen, new_looks, now_ns):  # type: ignore[no-untyped-def]
    """(values, stamps_ns, features, counts) with one observation more of ``tracks``, and of new tracks at the end."""
    n, length, width = values.shape
    count = n + len(new_seen)
    all_values, all_stamps = np.zeros((count, length, width)), np.zeros((count, length), np.int64)
    all_looks, all_counts = np.zeros((count, length, features.shape[2]), np.float32), np.zeros(count, np.int64)
    all_values[:n], all_stamps[:n], all_looks[:n], all_counts[:n] = values, stamps_ns, features, counts
    for k in range(len(tracks) + len(new_seen)):
        old, new = k, k - len(tracks)
        i = tracks[old] if new < 0 else n + new
        place = all_counts[i] % length
        all_values[i, place] = seen[old] if new < 0 else new_seen[new]
        all_looks[i, place] = looks[old] if new < 0 else new_looks[new]
        all_stamps[i, place] = now_ns
        all_counts[i] += 1
    return all_values, all_stamps, all_looks, all_counts


@njit(cache=True, nogil=True)
def _newest_first(counts, stamps_ns, now_ns):  # type: ignore[no-untyped-def]
    n, length = stamps_ns.shape
    rows, times = np.full((n, length), -1, np.int64), np.zeros((n, length))
    for i in range(n):
        for k in range(min(counts[i], length)):
            place = (counts[i] - 1 - k) % length
            rows[i, k] = i * length + place
            times[i, k] = (stamps_ns[i, place] - now_ns) * 1e-9
    return rows, times
