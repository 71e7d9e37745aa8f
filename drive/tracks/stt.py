"""STT: association and state of tracks in one network (Jing et al., ICRA 2024, arXiv 2405.00236; form: spec 2.1).

::

    history ----> detection encoder --> temporal fusion --> track feature --> state decoder --> state at t-1
                                                                |
    detections -> detection encoder --------------------> track-detection --> association over {no match, detections}
                                                          interaction     \\-> of the chosen pair: state at t, belief
                                                                               that it exists, correction of its box

Positions are no part of the state vector: they are the chosen detection's box with its correction.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from drive.tracks.stt_batch import TrackBatch, TrackInputs
from drive.tracks.stt_config import SttConfig
from drive.tracks.stt_layers import CrossLayer, Mlp, PairMlp, SelfLayer, mlp
from drive.tracks.stt_loss import stt_losses
from drive.tracks.stt_prepared import PreparedStt


class Association(NamedTuple):
    """track: [N, C] temporal feature; pairs: [N, 1 + K, C], ``PairMlp``'s hidden layer of the track with none and
    with each detection; logits: [N, 1 + K], -inf where there is no detection."""

    track: Tensor
    pairs: Tensor
    logits: Tensor


class Estimate(NamedTuple):
    """state: [N, 4] velocity less the extrapolated one, acceleration (frame of the extrapolated pose).

    log_variance: [N, 4]; exists: [N] logit; box: [N, 7] correction of the pair's box.
    """

    state: Tensor
    log_variance: Tensor
    exists: Tensor
    box: Tensor


class SttOutput(NamedTuple):
    """What training sees of a forward pass; ``now`` is of the true pair. before: [N, 8]; born: [D] logits."""

    association: Association
    now: Estimate
    before: Tensor
    born: Tensor


class Stt(nn.Module):
    """The network. Training: ``forward``, ``losses``; tracking: ``associate``, then ``estimate`` and ``newborn``."""

    frequency: Tensor

    def __init__(self, config: SttConfig) -> None:
        super().__init__()
        self.config = config
        width, sizes = config.width, (config.width, config.heads, config.feedforward)
        channels = config.history.channels
        self.detection_encoder = mlp(channels, width, width)
        self.time_embedding = nn.Linear(2 * config.frequencies, width)
        periods = torch.logspace(math.log10(0.1), math.log10(10.0), config.frequencies)  # seconds
        self.register_buffer("frequency", 2 * math.pi / periods, persistent=False)
        self.track_query = nn.Parameter(torch.randn(width) * 0.02)
        self.fusion = nn.ModuleList(SelfLayer(*sizes) for _ in range(config.fusion_layers - 1))
        self.pool = CrossLayer(*sizes)
        self.no_match = nn.Parameter(torch.randn(width) * 0.02)
        self.interaction = nn.ModuleList(CrossLayer(*sizes) for _ in range(config.interaction_layers))
        self.pair = PairMlp(width)
        self.association_head = nn.Linear(width, 1)
        self.state_head = Mlp(width, width, 8)
        self.state_decoder = Mlp(width, width, 8)
        self.existence_head = Mlp(width, width, 1)
        self.birth_head = Mlp(width, width, 1)
        self.box_head = Mlp(width, width, 7)
        for head in (self.state_head, self.state_decoder, self.box_head):
            head.start_at_zero()  # an untrained track moves as extrapolated, and its boxes are the detector's

    def forward(self, batch: TrackBatch) -> SttOutput:
        """The heads on the true pairs of a training batch."""
        association = self.associate(batch.inputs)
        now = self.estimate(association, batch.match)
        return SttOutput(association, now, self.state_decoder(association.track), self.newborn(batch.alone))

    def losses(self, output: SttOutput, batch: TrackBatch) -> dict[str, Tensor]:
        """The joint loss and its parts."""
        association, now = output.association.logits, output.now
        return stt_losses(association, now, output.before, output.born, batch, self.config.loss)

    def associate(self, x: TrackInputs) -> Association:
        """Every track with every detection that it looks at."""
        history = self.detection_encoder(x.history) + self.time_embedding(self.fourier(x.history_s))
        track = self.temporal_fusion(history, x.history_valid)
        detections = self.detection_encoder(x.nearby)
        query, choices, there = self.track_detection_interaction(track, detections, x.nearby_valid)
        pairs = self.pair(query, choices)
        logits = self.pair.scored(pairs, self.association_head).masked_fill(~there, float("-inf"))
        return Association(track, pairs, logits)

    def estimate(self, association: Association, choice: Tensor) -> Estimate:
        """State, belief and box of each track with its choice int64 [N]: 0 = no match, else 1 + a place."""
        pair = self.pair.last(association.pairs[torch.arange(len(choice), device=choice.device), choice])
        state = self.state_head(pair)
        return Estimate(state[:, :4], state[:, 4:], self.existence_head(pair)[:, 0], self.box_head(pair))

    def newborn(self, alone: Tensor) -> Tensor:
        """Logits [D]: is the detection an object? For those that no track takes."""
        return self.birth_head(self.detection_encoder(alone))[:, 0]

    def prepared(self) -> PreparedStt:
        """The same weights made ready for tracking: `associate`, `estimate` and `newborn` in less time."""
        return PreparedStt(self)

    def temporal_fusion(self, history: Tensor, valid: Tensor) -> Tensor:
        """Encoded histories [N, T, C] -> track features [N, C]."""
        for layer in self.fusion:
            history = layer(history, valid)
        return self.pool(self.track_query.expand(len(history), -1), history, valid)

    def track_detection_interaction(
        self, track: Tensor, detections: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Track features, having looked at the detections: [N, C]; the choices [N, 1 + K, C], "no match" first; which
        of them are there, bool [N, 1 + K]."""
        choices = torch.cat((self.no_match.expand(len(track), 1, -1), detections), dim=1)
        there = torch.cat((valid.new_ones(len(track), 1), valid), dim=1)
        for layer in self.interaction:
            track = layer(track, choices, there)
        return track, choices, there

    def fourier(self, seconds: Tensor) -> Tensor:
        """[...] -> [..., 2 * frequencies]."""
        angle = seconds[..., None] * self.frequency
        return torch.cat((angle.sin(), angle.cos()), dim=-1)
