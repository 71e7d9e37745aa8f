"""Class-balanced order of an epoch (CBGS, Zhu et al. 2019, arXiv 1908.09492, section 3.1).

Every class gets the same share of the epoch: of the frames that show it, as many are drawn as that share holds. A
frame of a rare class is repeated, a frame that shows only the commonest class is seen less often. Unlike the paper
the epoch keeps its length, so a schedule in epochs means the same with and without balancing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def balanced_order(presence: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Frames of one epoch in a random order.

    Args:
        presence: bool [F, K], which classes each frame shows. A class that no frame shows takes no share; a frame that
            shows no class is never drawn (unless no frame shows any: then the order is a plain permutation).
        rng: Fixed by (seed, epoch).

    Returns:
        int64 [F] frame indices; per class, frames repeat only once all of its frames are used equally often.
    """
    total, _ = presence.shape
    classes = np.flatnonzero(presence.any(axis=0))
    if not len(classes):
        return rng.permutation(total)
    shares = np.full(len(classes), total // len(classes))
    shares[: total % len(classes)] += 1
    drawn = []
    for share, k in zip(shares, rng.permutation(classes), strict=True):
        frames = np.flatnonzero(presence[:, k])
        rounds = [rng.permutation(frames) for _ in range(-(-int(share) // len(frames)))]
        drawn.append(np.concatenate([np.zeros(0, np.int64), *rounds])[:share])
    return rng.permutation(np.concatenate(drawn))


def occurrence(order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64 [F]: how often each entry's frame came before in the order; tells repeated frames apart."""
    sort = np.argsort(order, kind="stable")
    grouped = order[sort]
    first = np.flatnonzero(np.concatenate([[True], grouped[1:] != grouped[:-1]])) if len(order) else np.zeros(0, int)
    sizes = np.diff(np.concatenate([first, [len(order)]]))
    out = np.empty(len(order), np.int64)
    out[sort] = np.arange(len(order)) - np.repeat(first, sizes)
    return out
