"""States of road users out of a log, back in the source's global frame: for the tests of every motion data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive.geometry.angles import wrap_angle
from drive.geometry.box import transform_boxes
from drive.logs.store import Log


@dataclass(frozen=True)
class States:
    """By track token: arrays over all T steps, zeros where the track has no box. Global coordinates."""

    position: dict[str, np.ndarray]
    size: dict[str, np.ndarray]
    heading: dict[str, np.ndarray]
    velocity: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    category: dict[str, str]


def states_of(log: Log) -> States:
    """All boxes moved from the ego frame of their step to the global frame."""
    steps = log.num_frames
    tokens = log.track_tokens
    position = {token: np.zeros((steps, 3)) for token in tokens}
    size = {token: np.zeros((steps, 3)) for token in tokens}
    heading = {token: np.zeros(steps) for token in tokens}
    velocity = {token: np.zeros((steps, 2)) for token in tokens}
    valid = {token: np.zeros(steps, bool) for token in tokens}
    category = {}
    for step in range(steps):
        found = log.boxes(step)
        moved = transform_boxes(log.frame(step).global_from_ego, found.boxes)
        for row, token in enumerate(found.track_token):
            position[token][step], size[token][step] = moved[row, :3], moved[row, 3:6]
            heading[token][step], velocity[token][step] = moved[row, 6], moved[row, 7:9]
            valid[token][step] = True
            category[token] = found.category[row]
        # The source columns hold the same, exactly.
        np.testing.assert_allclose(found.source_translation, moved[:, :3], atol=1e-6)
        turn = wrap_angle(np.array(found.extra["source_heading"]) - moved[:, 6])
        np.testing.assert_allclose(turn, 0, atol=1e-6)
    return States(position, size, heading, velocity, valid, category)


def assert_same(found: np.ndarray, given: np.ndarray, valid: np.ndarray) -> None:
    """Equal to 1e-6 where valid."""
    np.testing.assert_allclose(found[valid], np.asarray(given, np.float64)[valid], rtol=0, atol=1e-6)
