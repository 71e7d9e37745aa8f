"""PVTransformer's point encoder on the synthetic town, beside ``town_swformer``."""

from __future__ import annotations

from dataclasses import replace

from configs import town_swformer
from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment
from drive.features.point_encoder import PointEncoderConfig


def experiment() -> Experiment:
    """As ``town_swformer`` in everything but the encoder: attention in place of the maximum, without the point MLP."""
    base = town_swformer.experiment()
    assert isinstance(base.model, SWFormerConfig)
    encoder = PointEncoderConfig("pvt", heads=4, point_mlp=False, scale_xy=base.model.encoder.scale_xy)
    return replace(base, name="town_pvtransformer", model=replace(base.model, encoder=encoder))
