"""Boxes to regression rows and back."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from drive.boxes.coder import (
    BIN_LOGITS,
    BIN_WIDTH,
    HEADING_BINS,
    LOG_SIZE,
    OFFSET,
    REGRESSION_CHANNELS,
    RESIDUALS,
    VELOCITY,
    decode_boxes,
    encode_boxes,
)

metres = st.floats(-80, 80, width=32)
sizes = st.floats(0.125, 20, width=32)
boxes = st.tuples(metres, metres, metres, sizes, sizes, sizes, st.floats(-3.125, 3.125, width=32), metres, metres)


def perfect_regression(box: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    code = encode_boxes(box, centres)
    rows = torch.zeros(len(box), REGRESSION_CHANNELS)
    rows[:, OFFSET], rows[:, LOG_SIZE], rows[:, VELOCITY] = code.offset, code.log_size, code.velocity
    rows[torch.arange(len(box)), BIN_LOGITS.start + code.bin] = 1
    rows[torch.arange(len(box)), RESIDUALS.start + code.bin] = code.residual
    return rows


def test_heading_by_hand() -> None:
    box = torch.zeros(4, 9)
    box[:, 3:6] = 1
    box[:, 6] = torch.tensor([0.0, math.radians(44), math.radians(46), math.radians(-16)])
    code = encode_boxes(box, torch.zeros(4, 3))
    assert code.bin.tolist() == [0, 1, 2, 11]
    torch.testing.assert_close(code.residual, torch.tensor([0.0, 14 / 30, -14 / 30, 14 / 30]), atol=1e-6, rtol=0)


@given(st.lists(boxes, min_size=1, max_size=8), metres)
def test_round_trip(rows: list[tuple[float, ...]], shift: float) -> None:
    box = torch.tensor(rows)
    centres = torch.full((len(rows), 3), shift)
    back = decode_boxes(perfect_regression(box, centres), centres)
    torch.testing.assert_close(back[:, :6], box[:, :6], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(back[:, 7:], box[:, 7:])
    turn = (back[:, 6] - box[:, 6]).sin().abs()
    assert float(turn.max()) < 1e-4
    assert bool((back[:, 6] > -math.pi - 1e-6).all() and (back[:, 6] <= math.pi).all())


def test_residuals_stay_within_half_a_bin() -> None:
    box = torch.ones(1000, 9)
    box[:, 6] = torch.linspace(-math.pi, math.pi, 1000)
    code = encode_boxes(box, torch.zeros(1000, 3))
    assert float(code.residual.abs().max()) <= 0.5 + 1e-5
    assert sorted(code.bin.unique().tolist()) == list(range(HEADING_BINS))
    assert math.isclose(BIN_WIDTH * HEADING_BINS, 2 * math.pi)


def test_a_wild_size_does_not_overflow() -> None:
    rows = torch.zeros(1, REGRESSION_CHANNELS)
    rows[:, LOG_SIZE] = 1000.0
    assert bool(decode_boxes(rows, torch.zeros(1, 3)).isfinite().all())


def test_no_boxes() -> None:
    assert decode_boxes(torch.zeros(0, REGRESSION_CHANNELS), torch.zeros(0, 3)).shape == (0, 9)
