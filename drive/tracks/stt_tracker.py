"""STT as a tracker: one frame on is one forward pass over all tracks and the detections near them (spec 2.1).

Which track takes which detection is the most likely one-to-one matching by the network's association, in which every
track may also take none. A detection that no track takes begins a track where the network believes in it.

Bad input: a frame that is not later than the last one is a UserError. Detections that are not finite or have no size
are left out and counted (``SttState.left_out``). Equal detections: one goes on the track, the network judges the
other. After a pause longer than ``SttLife.max_gap_s`` no track goes on.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit

from drive.geometry.angles import wrap_angle
from drive.geometry.box import LENGTH, VX, VY, YAW
from drive.tracks.history import describe_alone, nearby, observe, sound
from drive.tracks.history_steps import COLUMNS, SCORE, VELOCITY_VALID, described, extrapolated, traits
from drive.tracks.inputs import seconds_since
from drive.tracks.stt import Estimate, Stt
from drive.tracks.stt_batch import TrackInputs
from drive.tracks.stt_match import matched_choice
from drive.tracks.stt_state import SttState
from drive.tracks.track import FrameDetections, TrackedFrame

_SLACK_S = 1e-3  # stamps are not exact multiples of a period


class SttTracker:
    """A trained network as ``drive.tracks.track.Tracker``. It computes on the CPU, with the weights that it has now."""

    def __init__(self, network: Stt) -> None:
        self.network = network.cpu().eval()
        self.prepared = self.network.prepared()
        self.config = network.config
        self.class_names = network.config.class_names

    def start(self) -> SttState:
        return SttState.start(self.config.history.length, self.config.history.appearance)

    @torch.inference_mode()
    def step(self, state: SttState, detections: FrameDetections) -> tuple[SttState, TrackedFrame]:
        """One frame on. Raises UserError where the frame is not later than the last one."""
        config, life = self.config.history, self.config.life
        passed_s = seconds_since(state.timestamp_ns, detections) if state.frames else 0.0
        rows = np.flatnonzero(sound(detections, len(self.class_names), config))
        frame = detections if len(rows) == len(detections) else detections.take(rows)
        seen, looks = observe([frame], config), self._appearance(frame)
        old = state if passed_s <= life.max_gap_s else state.take(np.zeros(0, dtype=np.int64))

        own = traits(seen)
        anchors, inputs, look_at = self._inputs(old, frame, seen, own, looks)
        association = self.prepared.associate(inputs)
        choice = matched_choice(association.logits.numpy(), look_at, len(frame), life.match, life.no_match)
        estimate = self.prepared.estimate(association, torch.from_numpy(choice))
        matched = choice > 0
        detection = look_at[np.flatnonzero(matched), choice[matched] - 1]

        free = np.ones(len(frame), dtype=bool)
        free[detection] = False
        loose = np.flatnonzero(free)
        alone = describe_alone(seen[loose], own[loose], frame.labels[loose], looks[loose], config)
        birth = torch.sigmoid(self.prepared.newborn(torch.from_numpy(alone))).numpy().astype(np.float64)
        born = birth >= life.birth
        new, birth = loose[born], birth[born]
        now = old.after(
            detections.timestamp_ns,
            len(detections) - len(rows),
            np.flatnonzero(matched),
            seen[detection],
            looks[detection],
            frame.labels[new],
            seen[new],
            looks[new],
        )
        base = anchors.copy()
        base[matched, : YAW + 1] = seen[detection, : YAW + 1]
        place = np.zeros(len(old), dtype=np.int64)
        place[matched] = rows[detection]
        tracked, belief = self._tracked(now, base, anchors, matched, place, estimate, seen[new], rows[new], birth)
        return self._kept(now, belief), tracked

    def _appearance(self, frame: FrameDetections) -> np.ndarray:
        """float32 [N, C] of the detections; ValueError where the detector gives another number of channels."""
        wanted = self.config.history.appearance
        if wanted and frame.features.shape[1] != wanted:
            raise ValueError(f"the network was trained with {wanted} features a box, got {frame.features.shape[1]}")
        return frame.features[:, :wanted].astype(np.float32)

    def _inputs(
        self, tracks: SttState, frame: FrameDetections, seen: np.ndarray, own: np.ndarray, looks: np.ndarray
    ) -> tuple[np.ndarray, TrackInputs, np.ndarray]:
        """Extrapolated boxes [N, 9], what the network sees, and which detections each track looks at [N, K].

        ``alone`` stays empty: which detections are asked about is known once the tracks have taken theirs.
        """
        config, classes = self.config.history, len(self.class_names)
        rows, times = tracks.newest_first(frame.timestamp_ns)
        table = tracks.values.reshape(-1, COLUMNS)
        past = traits(table)
        anchors = extrapolated(table, rows, times, *config.fit)
        look_at = nearby(anchors, tracks.labels, seen, frame.labels, config)
        fullness = np.minimum(tracks.counts, config.length) / config.length
        track = anchors, past[rows[:, 0], :3], fullness, tracks.labels, classes
        features = tracks.features.reshape(len(table), config.appearance)
        history = described(table, past, features, rows, times, *track)
        around = described(seen, own, looks, look_at, np.zeros(look_at.shape), *track)
        alone = np.zeros((0, config.channels), np.float32)
        arrays = history, times.astype(np.float32), rows >= 0, around, look_at >= 0, alone
        return anchors, TrackInputs(*(torch.from_numpy(a) for a in arrays)), look_at

    def _tracked(
        self,
        now: SttState,
        base: np.ndarray,
        anchors: np.ndarray,
        matched: np.ndarray,
        detection: np.ndarray,
        estimate: Estimate,
        new: np.ndarray,
        new_detection: np.ndarray,
        birth: np.ndarray,
    ) -> tuple[TrackedFrame, np.ndarray]:
        """What is reported, and the belief [N] in every track, old and new."""
        life = self.config.life
        boxes, acceleration, sigma = placed(base, anchors, estimate, life.correct_boxes)
        belief = np.concatenate([torch.sigmoid(estimate.exists).numpy().astype(np.float64), birth])
        given = boxes, acceleration, sigma, matched, now.counts, new, belief
        shown, known, estimated, seen_now, *columns = _told(*given, life.report, life.report_unseen, life.report_new)
        boxes, acceleration, sigma = columns
        boxes[:, YAW] = wrap_angle(boxes[:, YAW])
        places = np.concatenate([detection, new_detection])
        columns = (
            now.ids,
            boxes,
            self._scores(now, belief),
            now.labels,
            known,
            acceleration,
            estimated,
            sigma,
            estimated,
            places,
            seen_now,
        )
        return TrackedFrame(now.timestamp_ns, *(c[shown] for c in columns)), belief

    def _scores(self, now: SttState, belief: np.ndarray) -> np.ndarray:
        """What is reported as the score of each track [N]; see ``SttLife.detector_share``."""
        share, logit = self.config.life.detector_share, self.config.history.scores == "logit"
        return _scored(now.values, now.counts, belief, share, logit)

    def _kept(self, now: SttState, belief: np.ndarray) -> SttState:
        """The tracks that go on: seen not too long ago, and still believed in."""
        newest = now.stamps_ns.max(axis=1, initial=0)  # the ring's unused places are 0
        unseen_s = (now.timestamp_ns - newest) * 1e-9
        kept = (unseen_s <= self.config.life.max_unseen_s + _SLACK_S) & (belief >= self.config.life.forget)
        return now if kept.all() else now.take(kept)


def placed(
    base: np.ndarray, anchors: np.ndarray, estimate: Estimate, correct: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The network's words in the fixed frame: boxes [N, 9], accelerations [N, 2], standard deviations [N, 4].

    Args:
        base: [N, 9], of which the first seven columns are the boxes to correct.
        anchors: [N, 9] of ``extrapolate``, in whose frame the state is.
    """
    state, spread, fix = (t.numpy() for t in (estimate.state, estimate.log_variance, estimate.box))
    return _placed(base, anchors, state, spread, fix, correct)


@njit(cache=True, nogil=True)
def _placed(base, anchors, state, spread, fix, correct):  # type: ignore[no-untyped-def]
    n = len(base)
    boxes, acceleration, sigma = base.copy(), np.empty((n, 2)), np.empty((n, 4))
    for i in range(n):
        cos, sin = np.cos(anchors[i, YAW]), np.sin(anchors[i, YAW])
        vx, vy, ax, ay = np.float64(state[i, 0]), np.float64(state[i, 1]), np.float64(state[i, 2]), state[i, 3]
        boxes[i, VX], boxes[i, VY] = anchors[i, VX] + cos * vx - sin * vy, anchors[i, VY] + sin * vx + cos * vy
        acceleration[i, 0], acceleration[i, 1] = cos * ax - sin * ay, sin * ax + cos * ay
        for d in (0, 2):
            along = np.exp(min(max(np.float64(spread[i, d]), -8.0), 8.0))
            aside = np.exp(min(max(np.float64(spread[i, d + 1]), -8.0), 8.0))
            sigma[i, d] = np.sqrt(cos * cos * along + sin * sin * aside)
            sigma[i, d + 1] = np.sqrt(sin * sin * along + cos * cos * aside)
        if correct:
            c, s = np.cos(base[i, YAW]), np.sin(base[i, YAW])
            x, y = np.float64(fix[i, 0]), np.float64(fix[i, 1])
            boxes[i, 0] += c * x - s * y
            boxes[i, 1] += s * x + c * y
            boxes[i, 2] += fix[i, 2]
            for d in range(3):
                boxes[i, LENGTH + d] *= np.exp(min(max(np.float64(fix[i, 3 + d]), -1.0), 1.0))
            boxes[i, YAW] += fix[i, 6]
    return boxes, acceleration, sigma


@njit(cache=True, nogil=True)
def _told(boxes, acceleration, sigma, matched, counts, new, belief, report, report_unseen, report_new):  # type: ignore[no-untyped-def]
    """(rows that are reported, and of all tracks, old and new: velocity known, state estimated, seen in this frame,
    boxes, acceleration, sigma)."""
    n, count = len(boxes), len(belief)
    all_boxes, all_acceleration, all_sigma = np.zeros((count, 9)), np.zeros((count, 2)), np.zeros((count, 4))
    known, estimated, seen = np.zeros(count, np.bool_), np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    shown, used = np.empty(count, np.int64), 0
    for i in range(count):
        if i < n:
            all_boxes[i] = boxes[i]
            seen[i] = matched[i]
            known[i] = estimated[i] = counts[i] >= 2
            least = report if matched[i] else report_unseen
        else:
            all_boxes[i] = new[i - n, :9]
            seen[i], known[i], least = True, new[i - n, VELOCITY_VALID] > 0, report_new
        if estimated[i]:
            all_acceleration[i], all_sigma[i] = acceleration[i], sigma[i]
        if not known[i]:
            all_boxes[i, VX:] = 0.0
        if belief[i] >= least:
            shown[used] = i
            used += 1
    return shown[:used], known, estimated, seen, all_boxes, all_acceleration, all_sigma


@njit(cache=True, nogil=True)
def _scored(values, counts, belief, share, logit):  # type: ignore[no-untyped-def]
    out = np.empty(len(belief))
    for i in range(len(belief)):
        kept = min(max(belief[i], 1e-4), 1 - 1e-4)
        odds = np.log(kept / (1 - kept)) + share * 4.0 * values[i, (counts[i] - 1) % values.shape[1], SCORE]
        out[i] = odds if logit else 1 / (1 + np.exp(-odds))
    return out
