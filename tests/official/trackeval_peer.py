"""TrackEval's HOTA of two sides, sequence by sequence and combined (``pip install trackeval==1.3.0 scipy``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from drive.scores.clear_mot_boxes import MotBoxes
from drive.scores.nuscenes_tracking_match import Pairs


def sequence_data(
    truth: MotBoxes, tracks: MotBoxes, pairs: Pairs, similarity: np.ndarray, frames: range
) -> dict[str, Any]:
    """What its metrics take, of some frames: ids from 0 without gaps, dense similarities."""
    rows = [slice(side.start[frames.start], side.start[frames.stop]) for side in (truth, tracks)]
    names = [np.unique(side.track[part]) for side, part in zip((truth, tracks), rows, strict=True)]
    data: dict[str, Any] = {
        "num_gt_dets": rows[0].stop - rows[0].start,
        "num_tracker_dets": rows[1].stop - rows[1].start,
        "num_gt_ids": len(names[0]),
        "num_tracker_ids": len(names[1]),
        "num_timesteps": len(frames),
        "gt_ids": [],
        "tracker_ids": [],
        "similarity_scores": [],
    }
    for f in frames:
        low, high = truth.start[f], truth.start[f + 1]
        first, end = tracks.start[f], tracks.start[f + 1]
        dense = np.zeros((high - low, end - first))
        for g in range(low, high):
            own = slice(pairs.offsets[g], pairs.offsets[g + 1])
            dense[g - low, pairs.prediction[own] - first] = similarity[own]
        data["gt_ids"].append(np.searchsorted(names[0], truth.track[low:high]))
        data["tracker_ids"].append(np.searchsorted(names[1], tracks.track[first:end]))
        data["similarity_scores"].append(dense)
    return data


def hota(
    truth: MotBoxes, tracks: MotBoxes, pairs: Pairs, similarity: np.ndarray, sequences: list[range]
) -> dict[str, Any]:
    """Its fields, combined over the sequences."""
    from trackeval.metrics import HOTA

    metric = HOTA()
    each = {
        str(i): metric.eval_sequence(sequence_data(truth, tracks, pairs, similarity, frames))
        for i, frames in enumerate(sequences)
    }
    return {name: np.asarray(value).tolist() for name, value in metric.combine_sequences(each).items()}
