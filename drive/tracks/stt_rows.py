"""The loops of ``drive.tracks.stt_prepared``, compiled. float32; sums may be taken in another order, nothing else."""

from __future__ import annotations

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True)
def rows_of(valid):  # type: ignore[no-untyped-def]
    """Of bool [N, K]: flat places of the true ones int64 [R], whose row each is [R], where rows begin [N + 1]."""
    n, k = valid.shape
    places, owner, offsets = np.empty(n * k, np.int64), np.empty(n * k, np.int64), np.zeros(n + 1, np.int64)
    used = 0
    for i in range(n):
        for j in range(k):
            if valid[i, j]:
                places[used], owner[used] = i * k + j, i
                used += 1
        offsets[i + 1] = used
    return places[:used], owner[:used], offsets


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_norm(x, shift, weight, bias, eps, out):  # type: ignore[no-untyped-def]
    """x [R, C] += shift [C]; out [R, C] = LayerNorm(x). ``out`` may be x."""
    count, channels = x.shape
    share = np.float32(1.0 / channels)
    for r in range(count):
        total = np.float32(0)
        for c in range(channels):
            x[r, c] += shift[c]
            total += x[r, c]
        mean, square = total * share, np.float32(0)
        for c in range(channels):
            apart = x[r, c] - mean
            square += apart * apart
        scale = np.float32(1) / np.sqrt(square * share + eps)
        for c in range(channels):
            out[r, c] = (x[r, c] - mean) * scale * weight[c] + bias[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def look_once(asked, first, tokens, offsets, out):  # type: ignore[no-untyped-def]
    """Softmax attention of one query a row over its tokens, which are keys and values at once.

    asked [N or 1, H, C] (one: every row asks the same); first [1 or 0, C], a token that every row has before its own;
    tokens [R, C] with offsets [N + 1]; out [H, N, C].
    """
    heads, channels, common = asked.shape[1], asked.shape[2], len(first)
    longest = common
    for i in range(len(offsets) - 1):
        longest = max(longest, common + offsets[i + 1] - offsets[i])
    share = np.empty(longest, np.float32)
    for i in range(len(offsets) - 1):
        begin, count = offsets[i] - common, common + offsets[i + 1] - offsets[i]
        for h in range(heads):
            query, mixed = asked[i if len(asked) > 1 else 0, h], out[h, i]
            top = np.float32(-np.inf)
            for t in range(count):
                token, dot = first[0] if t < common else tokens[begin + t], np.float32(0)
                for c in range(channels):
                    dot += query[c] * token[c]
                share[t] = dot
                top = max(top, dot)
            total = np.float32(0)
            for t in range(count):
                share[t] = np.exp(share[t] - top)
                total += share[t]
            for t in range(count):
                token, weight = first[0] if t < common else tokens[begin + t], share[t] / total
                if t == 0:
                    for c in range(channels):
                        mixed[c] = weight * token[c]
                else:
                    for c in range(channels):
                        mixed[c] += weight * token[c]


@njit(cache=True, nogil=True)
def pair_rows(tracks, own, tokens, owner, product, hidden):  # type: ignore[no-untyped-def]
    """Of each token [R, C] and the track that looks at it: product = token * track, hidden = the track's ``own``."""
    for r in range(len(tokens)):
        i = owner[r]
        for c in range(tokens.shape[1]):
            product[r, c] = tokens[r, c] * tracks[i, c]
            hidden[r, c] = own[i, c]


@njit(cache=True, nogil=True)
def laid_out(valid, scores):  # type: ignore[no-untyped-def]
    """Scores of R pairs and N "no match" [R + N] -> logits [N, 1 + K], -inf where there is no pair; the row of each."""
    n, k = valid.shape
    logits, rows = np.full((n, 1 + k), -np.inf, np.float32), np.zeros((n, 1 + k), np.int64)
    used, pairs = 0, len(scores) - n
    for i in range(n):
        logits[i, 0], rows[i, 0] = scores[pairs + i], pairs + i
        for j in range(k):
            if valid[i, j]:
                logits[i, 1 + j], rows[i, 1 + j] = scores[used], used
                used += 1
    return logits, rows
