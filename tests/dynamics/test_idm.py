from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.dynamics.idm import IdmParameters, advance, idm_acceleration

CAR = IdmParameters()


def accelerate(speed: float, desired: float, gap: float, leader: float) -> float:
    return float(idm_acceleration(np.array([speed]), np.array([desired]), np.array([gap]), np.array([leader]), CAR)[0])


def test_hand_made_numbers() -> None:
    # Equation 2 by hand: v = v0, no leader -> 0; standing, no leader -> a; equilibrium gap -> 0 at small speed.
    assert accelerate(10.0, 10.0, np.inf, 0.0) == pytest.approx(0.0)
    assert accelerate(0.0, 10.0, np.inf, 0.0) == pytest.approx(1.5)
    wanted = 2.0 + 5.0 * 1.2  # equal speeds: s0 + v T
    assert accelerate(5.0, 10.0, wanted, 5.0) == pytest.approx(1.5 * (1 - 0.5**4 - 1))
    approach = 2.0 + 5.0 * 1.2 + 5.0 * 5.0 / (2 * np.sqrt(1.5 * 2.0))
    assert accelerate(5.0, 10.0, 20.0, 0.0) == pytest.approx(1.5 * (1 - 0.5**4 - (approach / 20.0) ** 2))


def test_empty() -> None:
    nothing = np.zeros(0)
    assert idm_acceleration(nothing, nothing, nothing, nothing, CAR).shape == (0,)


@given(st.floats(0.0, 20.0), st.floats(1.0, 20.0), st.floats(-1.0, 200.0), st.floats(0.0, 20.0))
def test_bounded(speed: float, desired: float, gap: float, leader: float) -> None:
    assert -8.0 <= accelerate(speed, desired, gap, leader) <= 1.5


@settings(max_examples=15, deadline=None)
@given(st.floats(0.0, 14.0), st.floats(5.0, 15.0), st.floats(45.0, 120.0))
def test_stops_before_a_standing_leader(speed: float, desired: float, gap: float) -> None:
    position, velocity = np.zeros(1), np.array([speed])
    for _ in range(600):
        force = idm_acceleration(velocity, np.array([desired]), gap - position, np.zeros(1), CAR)
        position, velocity = advance(position, velocity, force, 0.1)
        assert position[0] < gap
    assert velocity[0] < 0.05
    assert 1.0 < gap - position[0] < 4.0


def test_advance_stops_inside_the_step_and_never_reverses() -> None:
    position, speed = advance(np.array([0.0, 0.0]), np.array([1.0, 1.0]), np.array([-4.0, 2.0]), 0.5)
    np.testing.assert_allclose(position, [1.0 / 8.0, 0.5 + 0.25])
    np.testing.assert_allclose(speed, [0.0, 2.0])
