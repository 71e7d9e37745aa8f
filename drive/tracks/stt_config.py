"""Every number of STT that changes what it does: sizes, losses, when tracks are born, shown and dropped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drive.tracks.history import HistoryConfig

if TYPE_CHECKING:
    from drive.tracks.stt import Stt


@dataclass(frozen=True)
class SttLossConfig:
    """Weights of the joint loss; spec 2.1, all [inferred] (the paper's are not known to us).

    Attributes:
        association: Cross-entropy over "no match" and the detections: 1.
        velocity, acceleration: Huber, 1 and 0.5.
        huber_mps: Where Huber turns linear: 0.5.
        before: The same states at the last observation: 0.5 of the above.
        spread: Negative log likelihood of the states' errors, which teaches the log-variances (ours).
        existence: Is there an object where the track is said to be (ours)?
        box: Correction of the detected box (ours; the spec's optional "refined box residual").
    """

    association: float = 1.0
    velocity: float = 1.0
    acceleration: float = 0.5
    huber_mps: float = 0.5
    before: float = 0.5
    spread: float = 0.1
    existence: float = 1.0
    box: float = 1.0


@dataclass(frozen=True)
class SttLife:
    """When a track begins, is reported and ends. The spec's rules count hits and scores of the detector; ours ask the
    network how sure it is that the object exists, which it learns from histories ("learned" below). [inferred] = spec.

    Attributes:
        birth: An unmatched detection starts a track where the network's belief is at least this.
        report: A matched track is reported where the network's belief in it, now, is at least this; 0.5 [inferred] is
            where a reported box adds as much to MOTA as it costs, if every false one costs.
        report_new: The same for a track that begins in this frame: 0.5 [inferred].
        report_unseen: The same for a track without a detection in this frame: 0.5 [inferred].
        match: Pairs under this share of the association are never matched: 0.3 [inferred].
        no_match: What a track's share of "no match" is multiplied with before it is matched: below 1 it says
            that a detection which could be a track's is seldom a new object; 1 is the network's word (ours).
        max_unseen_s: A track ends after this time without a detection: 0.5 s at 10 Hz (5 frames), 1.5 s at 2 Hz
            (3 frames) [inferred].
        forget: A track ends where the belief in it falls below this.
        max_gap_s: After a longer pause between frames all tracks end.
        detector_share: A reported score is the log-odds of the belief plus this share of the detection's own (of the
            last one where there is none now); as a probability where the detector gives probabilities. 0: belief alone.
        correct_boxes: Report the box that the network corrected, else the detection's own.
    """

    birth: float = 0.05
    report: float = 0.5
    report_new: float = 0.5
    report_unseen: float = 0.5
    match: float = 0.3
    no_match: float = 1.0
    max_unseen_s: float = 0.5
    forget: float = 0.02
    max_gap_s: float = 2.0
    detector_share: float = 0.0
    correct_boxes: bool = True


@dataclass(frozen=True)
class SttConfig:
    """STT (Jing et al., ICRA 2024, arXiv 2405.00236), in the form of spec 2.1, whose sizes are [inferred].

    Attributes:
        class_names: In label order.
        history: What is kept and shown of tracks and detections.
        width: Channels of every token: 256 in the spec.
        heads: Of every attention: 4.
        feedforward: Hidden channels of a transformer layer: 512.
        fusion_layers: Temporal fusion: 2. interaction_layers: track-detection interaction: 2.
        frequencies: Fourier frequencies of the time embedding: 16.
        loss, life: See there.
    """

    class_names: tuple[str, ...]
    history: HistoryConfig = field(default_factory=HistoryConfig)
    width: int = 256
    heads: int = 4
    feedforward: int = 512
    fusion_layers: int = 2
    interaction_layers: int = 2
    frequencies: int = 16
    loss: SttLossConfig = field(default_factory=SttLossConfig)
    life: SttLife = field(default_factory=SttLife)

    def __post_init__(self) -> None:
        if len(self.history.gate_m) != len(self.class_names):
            raise ValueError(f"{len(self.class_names)} classes, but {len(self.history.gate_m)} gates")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")

    def build(self) -> Stt:
        """The network."""
        from drive.tracks.stt import Stt

        return Stt(self)
