"""What STT's network takes: tracks, the detections near them, and in training what is true. Padded and masked."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor


class TrackInputs(NamedTuple):
    """N tracks with histories of at most T observations and at most K detections each, D detections in all.

    history: float32 [N, T, F] of ``drive.tracks.history.describe``, newest first; history_s: float32 [N, T], seconds
        from the present, <= 0; history_valid: bool [N, T], the first of each row True.
    nearby: float32 [N, K, F]; nearby_valid: bool [N, K]. K may be 0.
    alone: float32 [D, F], the detections that are asked about, as seen from themselves: may a track begin here?
    """

    history: Tensor
    history_s: Tensor
    history_valid: Tensor
    nearby: Tensor
    nearby_valid: Tensor
    alone: Tensor


@dataclass(frozen=True, eq=False)
class TrackBatch:
    """A training batch: TrackInputs' fields, and the truth.

    Vectors are in the frame of ``extrapolate``'s pose: x along its yaw.

    Attributes:
        match: int64 [N], 0 = no detection is this track's, else 1 + its place in ``nearby``.
        state, state_before: float32 [N, 4]: velocity less the extrapolated one (m/s), acceleration (m/s^2), now and at
            the last observation; state_valid, before_valid: bool [N, 2], of velocity and acceleration.
        box: float32 [N, 7], from the matched detection (or the extrapolated box) to the labelled box: metres in the
            former's frame, log size, turn up to a half turn; box_valid: bool [N].
        exists: float32 [N]: 1 where the matched detection (or the extrapolated box) is an object of the track's class.
        exists_weight: float32 [N], 0 where it cannot be known.
        born: float32 [D]: 1 where the detection is an object of its class; born_weight: float32 [D].
        frame_ids: One a frame.
    """

    history: Tensor
    history_s: Tensor
    history_valid: Tensor
    nearby: Tensor
    nearby_valid: Tensor
    alone: Tensor
    match: Tensor
    state: Tensor
    state_valid: Tensor
    state_before: Tensor
    before_valid: Tensor
    box: Tensor
    box_valid: Tensor
    exists: Tensor
    exists_weight: Tensor
    born: Tensor
    born_weight: Tensor
    frame_ids: list[str]

    @property
    def inputs(self) -> TrackInputs:
        """What the network sees."""
        return TrackInputs(*(getattr(self, name) for name in TrackInputs._fields))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its field's name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TrackBatch:
        """The same batch on another device."""
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self.tensors().items()}
        return TrackBatch(**moved, frame_ids=self.frame_ids)
