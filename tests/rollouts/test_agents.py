"""Traffic that answers moves as vehicles can: no jumps, nobody inside another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.plans.baselines import ConstantVelocity
from drive.plans.corridor import boxes_touch
from drive.rollouts.config import ActorConfig, SimulationConfig
from drive.rollouts.simulate import simulate
from drive.samples.scene import Actors, Scene
from tests.samples.hand_made_scene import actors, drive, scene

IDM = SimulationConfig(tracking="perfect", actors=ActorConfig(mode="idm"))


def moved(given: Scene) -> Actors:
    (done,) = simulate([given], ConstantVelocity(), IDM)
    assert done.end == "end of the log"
    return done.actors


def recorded(speed: np.ndarray, start: float = 10.0) -> Actors:
    """One car in the next lane that had these speeds [81]."""
    one = actors((start, 3.5, 0.0, 0.0))
    one.box[0, :, 0] = start + 0.1 * np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]))])
    one.velocity[0, :, 0] = speed
    return one


def test_who_catches_up_with_the_recording_brakes_for_it() -> None:
    # 0 to 8 m/s in a second, which IDM (1 m/s^2) does not; from 2.5 s on 1 m/s. It is metres behind when the recording
    # slows down, and comes up to it with 2 m/s^2 (the recorded place alone would have stopped it within a step).
    speed = np.interp(0.1 * np.arange(81), [0.0, 1.0, 2.0, 2.5], [0.0, 8.0, 8.0, 1.0])
    log = recorded(speed)
    then = moved(scene(drive(1.0), log))
    behind = log.box[0, :, 0] - then.box[0, :, 0]
    assert behind.min() > -0.25  # places less than 0.25 m apart are one
    assert behind.max() > 4.0
    assert behind[-1] < 0.2
    change = np.diff(then.velocity[0, :, 0]) / 0.1
    assert change.min() > -2.2
    assert change[1:].max() <= 1.0 + 1e-9
    # Its speed is that of its places.
    between = 0.5 * (then.velocity[0, 1:, 0] + then.velocity[0, :-1, 0])
    np.testing.assert_allclose(np.diff(then.box[0, 3:, 0]) / 0.1, between[3:], atol=0.1)


def test_the_last_piece_of_a_way_is_driven_too() -> None:
    # 0.2 m in the last two steps, less than what makes a place of its own before.
    speed = np.full(81, 5.0)
    speed[-3:] = [5.0, 1.0, 1.0]
    log = recorded(speed)
    then = moved(scene(drive(1.0), log))
    assert abs(then.box[0, -1, 0] - log.box[0, -1, 0]) < 0.1


def test_a_first_speed_that_is_wrong_is_not_believed() -> None:
    log = recorded(np.full(81, 10.0))
    log.velocity[0, :2] = 0.0
    then = moved(scene(drive(1.0), log))
    np.testing.assert_allclose(then.box, log.box, atol=1e-6)


def test_nobody_appears_inside_another() -> None:
    # The ego stands. The first car stops a metre behind it, tail at -1.127, where the second one's track begins at 7 s;
    # in the recording the first one had gone on by then.
    log = actors((-40.0, 0.0, 0.0, 10.0), (-75.0, 0.0, 0.0, 10.0))
    log.valid[1, :70] = False
    given = scene(drive(0.0), log)
    then = moved(given)
    assert then.valid[0].all()
    assert then.box[0, -1, 0] == pytest.approx(-1.127 - 1.0 - 2.0, abs=1.5)
    assert not then.valid[1].any()
    # Beside them it is there from the first.
    beside = replace(log, box=log.box + np.array([[[0.0]], [[3.5]]]) * np.array([0.0, 1, 0, 0, 0]))
    then = moved(replace(given, actors=beside))
    assert then.valid[1].nonzero()[0][0] == 70
    for k in range(81):
        there = then.box[then.valid[:, k], k]
        assert len(there) < 2 or not boxes_touch(*there[0], *there[1])


def test_headings_are_wrapped() -> None:
    log = actors((10.0, 3.5, 3.0, 0.0))
    angle = 3.0 + 0.02 * np.arange(81)
    log.box[0, :, 0], log.box[0, :, 1] = 60 * np.sin(angle), 100 - 60 * np.cos(angle)
    log.box[0, :, 4] = (angle + np.pi) % (2 * np.pi) - np.pi
    then = moved(scene(drive(1.0), log))
    assert np.abs(then.box[0, :, 4]).max() <= np.pi
