"""The tracker of simulated drives with sensors in the loop (``drive simulate LOGS --sensors RUN``)."""

from __future__ import annotations

from dataclasses import replace

from configs import town_ab3dmot
from drive.experiment import TrackExperiment
from drive.samples.classes import NUSCENES_CLASSES
from drive.tracks.ab3dmot import Ab3dmotConfig
from drive.tracks.parameters import Ab3dmotClass

CONE = Ab3dmotClass("traffic_cone", "greedy", "distance", 1.0, 1, 2)
"""[inferred] Not published: nuScenes does not track cones. They stand; two in a row are no nearer than 1.8 m."""


def experiment() -> TrackExperiment:
    """As ``town_ab3dmot``, for driving by: cones too (what stands in the road must be told), and a filter that follows
    who brakes.

    The published noise (1 m2 a box, 0.01 of a velocity) lets a velocity change by 0.2 m/s a frame: a leader that has
    braked to 2.0 m/s is still told at 5.5. [inferred] Here a box is off by 0.3 m, and a speed may change by 1 m/s in
    the half second of a frame (2 m/s2), a quarter of a square metre.
    """
    base = town_ab3dmot.experiment()
    assert isinstance(base.tracker, Ab3dmotConfig)
    tracker = replace(
        base.tracker,
        classes=(*base.tracker.classes, CONE),
        process_variance=(0.1, 0.25),
        measurement_variance=0.1,
    )
    classes = NUSCENES_CLASSES.only((*town_ab3dmot.NAMES, CONE.name))
    return TrackExperiment(name="town_sensor_loop", tracker=tracker, classes=classes, min_score=base.min_score)
