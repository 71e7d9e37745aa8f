"""The loops of ``drive.tracks.history``, compiled. Observations lie in tables [R, 17] and are named by their rows.

A frame at 200 tracks and 16 detections each has 5,000 (track, observation) pairs: what belongs to the observation alone
is computed once a row (`traits`), and logarithms are taken in bulk by `logs`, which the compiler turns into vectors.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from drive.geometry.box import LENGTH, VX, VY, YAW
from drive.tracks.inputs import LARGEST

COLUMNS = 17
"""Of an observation: BOX_COLUMNS 0-8, velocity valid 9, score 10, ego x y z yaw 11-14, rival 15-16."""
VELOCITY_VALID, SCORE, EGO_X, EGO_YAW, RIVAL = 9, 10, 11, 14, 15
MEASURED = 25
"""Features of an observation without its class and its appearance."""
_RIVAL_M = 4.0
_BOUND = 20.0
_MANTISSA, _ONE = (1 << 52) - 1, 1023 << 52
_LN2, _ROOT2 = float(np.log(2.0)), float(np.sqrt(2.0))
# Columns of `traits`: log sizes 0-2, sin and cos of the yaw 3-4, distance / 40 5, sin and cos of the direction in which
# it was seen from the ego 6-7, and of its yaw from that direction 8-9.
_TRAITS, _SIN, _FAR, _SEEN = 10, 3, 5, 6


@njit(cache=True, nogil=True, error_model="numpy")
def logs(x):  # type: ignore[no-untyped-def]
    """Replace x [n] (positive, finite, not subnormal) by its natural logarithms, to 1e-12.

    y = 2^e m with m in [1/sqrt 2, sqrt 2]; log m = 2 artanh((m - 1) / (m + 1)), whose series in s^2 <= 0.03 ends after
    eight terms.
    """
    bits = x.view(np.int64)
    for k in range(x.size):
        exponent = np.float64((bits[k] >> 52) - 1023)
        bits[k] = (bits[k] & _MANTISSA) | _ONE
        m = x[k]
        high = m > _ROOT2
        m = 0.5 * m if high else m
        exponent = exponent + 1.0 if high else exponent
        s = (m - 1.0) / (m + 1.0)
        z = s * s
        series = 1 / 9 + z * (1 / 11 + z * (1 / 13 + z * (1 / 15)))
        series = 1.0 + z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * series)))
        x[k] = exponent * _LN2 + 2.0 * s * series


@njit(cache=True, nogil=True, error_model="numpy")
def arcsinhs(x):  # type: ignore[no-untyped-def]
    """arcsinh of x [n], to 1e-12 absolute: features are float32."""
    out = np.empty(x.size)
    for k in range(x.size):
        out[k] = abs(x[k]) + np.sqrt(x[k] * x[k] + 1.0)
    logs(out)
    for k in range(x.size):
        out[k] = -out[k] if x[k] < 0 else out[k]
    return out


@njit(cache=True, nogil=True)
def log_sizes(values):  # type: ignore[no-untyped-def]
    """[R, 3]: logarithms of length, width and height, at least 1 mm."""
    out = np.empty(3 * len(values))
    for r in range(len(values)):
        for d in range(3):
            out[3 * r + d] = max(values[r, LENGTH + d], 1e-3)
    logs(out)
    return out.reshape(-1, 3)


@njit(cache=True, nogil=True, error_model="numpy")
def traits(table):  # type: ignore[no-untyped-def]
    """[R, 10]: what an observation is whoever looks at it; columns above."""
    out = np.empty((len(table), _TRAITS))
    out[:, :3] = log_sizes(table)
    turned, ego_sin, ego_cos = 0.0, 0.0, 1.0
    for r in range(len(table)):
        sin, cos = np.sin(table[r, YAW]), np.cos(table[r, YAW])
        x, y = table[r, 0] - table[r, EGO_X], table[r, 1] - table[r, EGO_X + 1]
        far = np.sqrt(x * x + y * y)
        x, y = (x / far, y / far) if far > 0 else (1.0, 0.0)
        if table[r, EGO_YAW] != turned:
            turned = table[r, EGO_YAW]
            ego_sin, ego_cos = np.sin(turned), np.cos(turned)
        out[r, _SIN], out[r, _SIN + 1], out[r, _FAR] = sin, cos, far / 40
        out[r, _SEEN], out[r, _SEEN + 1] = y * ego_cos - x * ego_sin, x * ego_cos + y * ego_sin
        out[r, _SEEN + 2], out[r, _SEEN + 3] = sin * x - cos * y, cos * x + sin * y
    return out


@njit(cache=True, nogil=True)
def _bound(value):  # type: ignore[no-untyped-def]
    return min(max(value, -_BOUND), _BOUND)


@njit(cache=True, nogil=True, error_model="numpy")
def described(table, own, looks, rows, times, anchors, last_size, fullness, labels, classes):  # type: ignore[no-untyped-def]
    """Features float32 [N, M, F] of the observations ``rows`` [N, M] as seen from tracks; 0 where a row is negative.

    table [R, 17], own = traits(table), looks float32 [R, C]; times [N, M] seconds from the present; anchors [N, 9];
    last_size [N, 3] of ``log_sizes``; fullness [N]: the share of its history that a track has; labels int64 [N].
    """
    n, m = rows.shape
    C = looks.shape[1]
    out = np.zeros((n, m, MEASURED + classes + C), np.float32)
    bent = np.zeros((n, m, 5))
    for i in range(n):
        sin, cos = np.sin(anchors[i, YAW]), np.cos(anchors[i, YAW])
        vx, vy = anchors[i, VX], anchors[i, VY]
        ahead, aside = _bound((cos * vx + sin * vy) / 10), _bound((cos * vy - sin * vx) / 10)
        for k in range(m):
            r = rows[i, k]
            if r < 0:
                continue
            x = table[r, 0] - anchors[i, 0] - vx * times[i, k]
            y = table[r, 1] - anchors[i, 1] - vy * times[i, k]
            bent[i, k, 0], bent[i, k, 1] = (cos * x + sin * y) / 0.5, (cos * y - sin * x) / 0.5
            bent[i, k, 2] = (table[r, 2] - anchors[i, 2]) / 0.5
            measured = table[r, VELOCITY_VALID]
            if measured != 0:
                x, y = table[r, VX] - vx, table[r, VY] - vy
                bent[i, k, 3], bent[i, k, 4] = (cos * x + sin * y) / 2, (cos * y - sin * x) / 2
            f = out[i, k]
            f[3], f[4] = ahead, aside
            for d in range(3):
                size = own[r, d]
                f[5 + d], f[8 + d] = _bound(size), _bound(5 * (size - last_size[i, d]))
            f[11] = own[r, _SIN] * cos - own[r, _SIN + 1] * sin
            f[12] = own[r, _SIN + 1] * cos + own[r, _SIN] * sin
            f[15], f[16], f[17] = measured, _bound(table[r, SCORE]), _bound(own[r, _FAR])
            for d in range(4):
                f[18 + d] = own[r, _SEEN + d]
            f[22], f[23] = _bound(table[r, RIVAL]), _bound(table[r, RIVAL + 1])
            f[24] = _bound(fullness[i])
            f[MEASURED + labels[i]] = 1.0
            for c in range(C):
                look = looks[r, c]
                f[MEASURED + classes + c] = _bound(look) if look == look else 0.0
    bent = arcsinhs(bent.reshape(-1)).reshape(n, m, 5)
    for i in range(n):
        for k in range(m):
            if rows[i, k] < 0:
                continue
            for d in range(3):
                out[i, k, d] = _bound(bent[i, k, d])
            out[i, k, 13], out[i, k, 14] = _bound(bent[i, k, 3]), _bound(bent[i, k, 4])
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def extrapolated(table, rows, times, fit_s, prior_s2, horizon_s):  # type: ignore[no-untyped-def]
    """``history.extrapolate`` of the observations ``rows`` [N, T], newest first, negative where there is none."""
    out = np.empty((len(rows), 9))
    for i in range(len(rows)):
        last = table[rows[i, 0]]
        prior_x = last[VX] if last[VELOCITY_VALID] != 0 else 0.0
        prior_y = last[VY] if last[VELOCITY_VALID] != 0 else 0.0
        weights, mean_t, mean_x, mean_y = 0.0, 0.0, 0.0, 0.0
        for k in range(rows.shape[1]):
            r = rows[i, k]
            if r >= 0:
                weight = np.exp((times[i, k] - times[i, 0]) / fit_s)
                weights += weight
                # Places are taken from the last one: the fixed frame's may be large.
                mean_t += weight * times[i, k]
                mean_x += weight * (table[r, 0] - last[0])
                mean_y += weight * (table[r, 1] - last[1])
        mean_t, mean_x, mean_y = mean_t / weights, mean_x / weights, mean_y / weights
        spread, error_x, error_y = 0.0, 0.0, 0.0
        for k in range(rows.shape[1]):
            r = rows[i, k]
            if r >= 0:
                weight = np.exp((times[i, k] - times[i, 0]) / fit_s) / weights
                age = times[i, k] - mean_t
                spread += weight * age * age
                error_x += weight * age * (table[r, 0] - last[0] - mean_x - prior_x * age)
                error_y += weight * age * (table[r, 1] - last[1] - mean_y - prior_y * age)
        vx, vy = prior_x, prior_y
        if spread + prior_s2 > 0:
            vx, vy = vx + error_x / (spread + prior_s2), vy + error_y / (spread + prior_s2)
        ahead = min(-times[i, 0], horizon_s)
        out[i] = last[:9]
        out[i, 0] += vx * ahead
        out[i, 1] += vy * ahead
        out[i, VX], out[i, VY] = vx, vy
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def nearest(rows, row_labels, gate, columns, labels, most, row_offsets, column_offsets):  # type: ignore[no-untyped-def]
    """The ``most`` nearest columns of each row, nearest first, of its label and within gate[label]: int64 [N, K], -1.

    rows [N, >= 2] and columns [M, >= 2] begin with x and y; offsets [B + 1] cut both into problems. By a sweep along x.
    """
    found, far, who = np.full((len(rows), most), -1, np.int64), np.empty(most), np.empty(most, np.int64)
    widest = 0
    for b in range(len(row_offsets) - 1):
        first, last = column_offsets[b], column_offsets[b + 1]
        order = first + np.argsort(columns[first:last, 0].copy(), kind="mergesort")
        line, across, label = columns[:, 0][order], columns[:, 1][order], labels[order]
        for i in range(row_offsets[b], row_offsets[b + 1]):
            x, y, limit, count = rows[i, 0], rows[i, 1], gate[row_labels[i]], 0
            slack = limit * (1 + 1e-9) + 1e-6  # rounding must not hide a pair that lies on the gate
            square = slack * slack if slack > 0 else -1.0
            for k in range(np.searchsorted(line, x - slack), len(line)):
                if line[k] > x + slack:
                    break
                dx, dy = line[k] - x, across[k] - y
                distance = dx * dx + dy * dy
                if not distance <= square or label[k] != row_labels[i]:
                    continue
                j, distance = order[k], np.sqrt(distance)
                if distance > limit or (count == most and distance > far[most - 1]):
                    continue
                place = min(count, most - 1)
                while place > 0 and (distance < far[place - 1] or (distance == far[place - 1] and j < who[place - 1])):
                    far[place], who[place] = far[place - 1], who[place - 1]
                    place -= 1
                if count < most or place < most - 1 or distance < far[place] or j < who[place]:
                    far[place], who[place] = distance, j
                count = min(count + 1, most)
            found[i, :count] = who[:count]
            widest = max(widest, count)
    return found[:, :widest].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def observed(boxes, velocity_valid, scores, labels, egos, offsets, probability):  # type: ignore[no-untyped-def]
    """Observations float64 [N, 17] of the detections of frames offsets [F + 1] seen from ``egos`` [F, 4]."""
    out = np.zeros((len(boxes), COLUMNS))
    for f in range(len(offsets) - 1):
        for i in range(offsets[f], offsets[f + 1]):
            out[i, :9] = boxes[i]
            fine = velocity_valid[i] and abs(boxes[i, VX]) <= LARGEST and abs(boxes[i, VY]) <= LARGEST
            if not fine:
                out[i, VX], out[i, VY] = 0.0, 0.0
            score = scores[i]
            if probability:
                kept = min(max(score, 1e-3), 1 - 1e-3)
                score = np.log(kept / (1 - kept))
            out[i, VELOCITY_VALID], out[i, SCORE] = fine, score / 4.0
            out[i, EGO_X : EGO_YAW + 1] = egos[f]
            out[i, RIVAL], out[i, RIVAL + 1] = 1.0, 0.0
        _rivals(out, labels, offsets[f], offsets[f + 1])
    return out


@njit(cache=True, nogil=True)
def _rivals(out, labels, first, last):  # type: ignore[no-untyped-def]
    """Of each detection: distance to the nearest surer one of its class (1 = 4 m or more), and how much surer."""
    order = first + np.argsort(out[first:last, 0].copy(), kind="mergesort")
    for here in range(len(order)):
        i, best, least = order[here], -1, _RIVAL_M
        for step in (-1, 1):
            k = here + step
            while 0 <= k < len(order):
                j = order[k]
                dx, dy = out[j, 0] - out[i, 0], out[j, 1] - out[i, 1]
                if abs(dx) > least:
                    break
                if labels[i] == labels[j] and out[j, SCORE] > out[i, SCORE]:
                    distance = np.sqrt(dx * dx + dy * dy)
                    if distance < least or (distance == least and (best < 0 or j < best)):
                        best, least = j, distance
                k += step
        if best >= 0:
            out[i, RIVAL], out[i, RIVAL + 1] = least / _RIVAL_M, out[best, SCORE] - out[i, SCORE]
