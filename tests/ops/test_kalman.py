"""Batched Kalman filters, against the textbook's formulas in float64 and by hand."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator

import pytest
import torch

import ops
from ops import kalman
from ops.kalman import (
    AB3DMOT,
    CONSTANT_ACCELERATION,
    CONSTANT_VELOCITY,
    Model,
    Tracks,
    innovation_covariance,
    predict,
    predict_update,
    reference,
    update,
    white_noise,
)
from ops.kalman.bench import example, with_filterpy


def random_tracks(model: Model, count: int) -> tuple[Tracks, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    D, m = model.states, model.measured
    roots = [torch.randn(count, n, n, dtype=torch.float64) for n in (D, D, m)]
    P, Q, R = (a @ a.mT + torch.eye(a.shape[1]).double() for a in roots)
    P, Q, R = ((a + a.mT) / 2 for a in (P, Q, R))
    return Tracks(torch.randn(count, D).double(), P), torch.rand(count).double(), Q, torch.randn(count, m).double(), R


def test_numbers_by_hand(pure) -> None:
    # One dimension: x 0 with variance 1, v 2; one second on, then measured at 5 with variance 2.
    model = Model(2, 1, (1, -1))
    tracks = Tracks(torch.tensor([[0.0, 2.0]]).double(), torch.eye(2).double()[None])
    ahead = pure(lambda x, P: predict(model, Tracks(x, P), torch.ones(1).double(), torch.zeros(2, 2).double()), *tracks)
    assert ahead.mean.tolist() == [[2.0, 2.0]]
    assert ahead.covariance.tolist() == [[[2.0, 1.0], [1.0, 1.0]]]
    z, R = torch.tensor([[5.0]]).double(), torch.tensor([[2.0]]).double()
    after = pure(lambda x, P: update(model, Tracks(x, P), torch.tensor([0]), z, R), *ahead)
    assert after.mean.tolist() == [[3.5, 2.75]]
    torch.testing.assert_close(after.covariance, torch.tensor([[[1.0, 0.5], [0.5, 0.75]]]).double(), rtol=0, atol=1e-15)
    assert innovation_covariance(model, ahead, R).tolist() == [[[4.0]]]
    given = torch.ones(1).double(), torch.zeros(2, 2).double(), torch.tensor([0]), z, R
    both = pure(lambda x, P: predict_update(model, Tracks(x, P), *given), *tracks)
    assert both.mean.tolist() == [[3.5, 2.75]]
    torch.testing.assert_close(both.covariance, after.covariance, rtol=0, atol=1e-15)


@pytest.fixture(params=[False, True], ids=["numba", "native"])
def either_kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    """numba, then C where this machine can compile it (numba again where it cannot)."""
    ops.use_native(request.param)
    yield
    ops.use_native(True)


@pytest.mark.parametrize("model", [AB3DMOT, CONSTANT_VELOCITY, CONSTANT_ACCELERATION, Model(16, 16, (-1,) * 16)])
@pytest.mark.parametrize("count", [1, 9, 300])
def test_kernel_equals_reference(model: Model, count: int, pure, either_kernel: None) -> None:
    tracks, dt, Q, z, R = random_tracks(model, count)
    derivative = list(model.derivative)
    for noise in (Q, Q[:1]):
        given = *tracks, dt, noise, derivative
        ahead = pure(kalman._predict, *given)
        for ours, exact in zip(ahead, reference.predict(*given), strict=True):
            torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)
    rows = torch.randperm(count)[: (count + 1) // 2]
    for noise in (R[rows], R[:1]):
        step = *ahead, rows, z[rows], noise, model.heading
        found, exact = pure(kalman._update, *step), reference.update(*step)
        for ours, theirs in zip(found, exact[:2], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        assert torch.equal(found[1], found[1].mT) or count > 1
        assert bool((torch.linalg.eigvalsh(found[1]) > 0).all())
        others = torch.ones(count, dtype=torch.bool).index_fill(0, rows, False)
        assert torch.equal(found[0][others], ahead[0][others])


@pytest.mark.parametrize("model", [AB3DMOT, CONSTANT_ACCELERATION, Model(1, 1, (-1,)), Model(16, 16, (-1,) * 16)])
@pytest.mark.parametrize("count", [1, 8, 9, 300])
def test_one_pass_equals_two(model: Model, count: int, pure, either_kernel: None) -> None:
    tracks, dt, Q, z, R = random_tracks(model, count)
    chosen = torch.randperm(count)
    for rows in (chosen, chosen[: count // 3], chosen[:0]):
        for process, noise in ((Q, R[rows]), (Q[0], R[0]), (Q[0], R[rows])):
            given = dt, process, rows, z[rows], noise
            found = pure(lambda x, P, *rest: predict_update(model, Tracks(x, P), *rest), *tracks, *given)
            ahead = predict(model, tracks, dt, process)
            for ours, theirs in zip(found, update(model, ahead, *given[2:]), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
            Qs, Rs = (one if one.dim() == 3 else one[None] for one in (process, noise))
            both = reference.predict_update(*tracks, dt, Qs, list(model.derivative), *given[2:4], Rs, model.heading)
            for ours, theirs in zip(found, both[:2], strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
            assert bool((torch.linalg.eigvalsh(found.covariance) > 0).all())


@pytest.mark.parametrize("sharp", [1e-12, 1e-6, 1e9])
def test_any_ratio_of_noises(sharp: float, pure, either_kernel: None) -> None:
    # Measurements far better or worse than the track: exact to the rounding of P, and positive.
    tracks, _, _, z, R = random_tracks(AB3DMOT, 20)
    rows, noise = torch.arange(20), sharp * R
    found = pure(lambda x, P, *rest: update(AB3DMOT, Tracks(x, P), *rest), *tracks, rows, z, noise)
    exact = reference.update(*tracks, rows, z, noise, AB3DMOT.heading)
    scale = float(tracks.covariance.abs().max())
    torch.testing.assert_close(found.covariance, exact[1], rtol=0, atol=1e-14 * scale)
    assert bool((torch.linalg.eigvalsh(found.covariance) > 0).all())


def test_filterpy_gives_the_same(either_kernel: None) -> None:
    if importlib.util.find_spec("filterpy") is None:
        pytest.skip("filterpy is not installed")
    given = example(50)
    rows = torch.arange(50)
    apart = update(AB3DMOT, predict(AB3DMOT, *given[:3]), rows, *given[3:])
    for found in (apart, predict_update(AB3DMOT, *given[:3], rows, *given[3:])):
        for ours, theirs in zip(found, with_filterpy(*given)(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12 * 10_000)  # variances of 10,000 before


def test_heading_turns_by_half_and_stays_in_range() -> None:
    tracks, _, _, z, _ = random_tracks(AB3DMOT, 4)
    tracks.mean[:, 3] = torch.tensor([0.1, 3.1, -3.1, 0.0])
    z[:, 3] = torch.tensor([0.1 + math.pi, -3.1, 3.1 - math.pi, math.pi / 2])
    sharp = torch.eye(7).double() * 1e-12
    found = update(AB3DMOT, tracks, torch.arange(4), z, sharp).mean[:, 3]
    wrapped = (z[:, 3] + math.pi) % (2 * math.pi) - math.pi
    torch.testing.assert_close(found, wrapped, rtol=0, atol=1e-6)
    assert bool(((found >= -math.pi) & (found < math.pi)).all())


def test_white_noise_equals_the_textbook() -> None:
    dt = torch.tensor([0.5, 2.0]).double()
    Q = white_noise(CONSTANT_ACCELERATION, dt, torch.tensor([0, 0, 0, 0, 3.0, 0.0]).double())
    for n, t in enumerate(dt.tolist()):
        wanted = 3 * torch.tensor(
            [[t**5 / 20, t**4 / 8, t**3 / 6], [t**4 / 8, t**3 / 3, t**2 / 2], [t**3 / 6, t**2 / 2, t]]
        )
        torch.testing.assert_close(Q[n][::2, ::2], wanted.double(), rtol=1e-6, atol=0)
        assert not Q[n][1::2].any()
    # Two half steps grow by as much as a whole one.
    density = torch.tensor([0, 0, 1.0, 1.0]).double()
    half, whole = white_noise(CONSTANT_VELOCITY, torch.tensor([1.0, 2.0]).double(), density)
    F = reference.transition(torch.ones(1).double(), list(CONSTANT_VELOCITY.derivative))[0]
    torch.testing.assert_close(F @ half @ F.mT + half, whole, rtol=1e-12, atol=1e-12)


def test_threads_strides_and_empty(opcheck) -> None:
    tracks, dt, Q, z, R = random_tracks(AB3DMOT, 700)
    rows = torch.arange(700)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            both = predict_update(AB3DMOT, tracks, dt, Q, rows, z, R)
            results.append([*update(AB3DMOT, predict(AB3DMOT, tracks, dt, Q), rows, z, R), *both])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))
    turned = Tracks(tracks.mean.T.contiguous().T, tracks.covariance.mT)
    assert torch.equal(predict(AB3DMOT, turned, dt, Q).mean, predict(AB3DMOT, tracks, dt, Q).mean)
    none = Tracks(tracks.mean[:0], tracks.covariance[:0])
    assert predict(AB3DMOT, none, dt[:0], Q[0]).mean.shape == (0, 10)
    assert predict_update(AB3DMOT, none, dt[:0], Q[0], rows[:0], z[:0], R[0]).covariance.shape == (0, 10, 10)
    given = dt, Q, rows, z, R
    turned_both, both = predict_update(AB3DMOT, turned, *given), predict_update(AB3DMOT, tracks, *given)
    assert torch.equal(turned_both.covariance, both.covariance)
    kept = update(AB3DMOT, tracks, rows[:0], z[:0], R[0])
    assert torch.equal(kept.covariance, tracks.covariance)
    one = [t[:2] for t in tracks]
    opcheck(kalman._predict, *one, dt[:2], Q[:2], list(AB3DMOT.derivative))
    opcheck(kalman._update, *one, rows[:2], z[:2], R[:1], 3)
    opcheck(kalman._predict_update, *one, dt[:2], Q[:2], list(AB3DMOT.derivative), rows[:2], z[:2], R[:1], 3)


def test_wrong_step_is_refused_by_name(either_kernel: None) -> None:
    tracks, dt, Q, z, R = random_tracks(CONSTANT_VELOCITY, 20)
    rows = torch.arange(20)
    good = {"dt_s": dt, "process_noise": Q, "rows": rows, "measured": z, "measured_noise": R}
    predict_update(CONSTANT_VELOCITY, tracks, **good)
    last = torch.full_like(z, 0.5).index_fill(0, torch.tensor([17]), math.nan)
    for changed, said in (
        ({"dt_s": dt.float()}, "dt_s"),
        ({"dt_s": dt[:3]}, "dt_s"),
        ({"process_noise": Q[:2]}, "noise"),
        ({"rows": rows.int()}, "rows"),
        ({"rows": rows[:2]}, "measured"),
        ({"measured": z.float()}, "measured"),
        ({"measured_noise": R[:2]}, "noise"),
        ({"rows": rows * 0}, "twice"),
        ({"rows": rows + 1}, "0..19"),
        ({"rows": rows - 1}, "0..19"),
        ({"measured": last}, "measurement 17"),
        ({"measured_noise": -1e3 * R[0]}, "measurement 0"),
    ):
        with pytest.raises(ValueError, match=f"^kalman.predict_update: .*{said}"):
            predict_update(CONSTANT_VELOCITY, tracks, **{**good, **changed})
    with pytest.raises(ValueError, match="kalman.predict_update: mean"):
        predict_update(AB3DMOT, tracks, **good)


def test_wrong_arguments(either_kernel: None) -> None:
    tracks, dt, Q, z, R = random_tracks(CONSTANT_VELOCITY, 3)
    rows = torch.arange(3)
    for call in (
        lambda: Model(4, 5, (-1,) * 4),
        lambda: Model(2, 1, (-1, 0)),
        lambda: Model(2, 1, (-1, -1), heading=1),
        lambda: Model(17, 1, (-1,) * 17),
        lambda: predict(AB3DMOT, tracks, dt, Q),
        lambda: predict(CONSTANT_VELOCITY, tracks, dt.float(), Q),
        lambda: predict(CONSTANT_VELOCITY, tracks, dt, Q[:2]),
        lambda: update(CONSTANT_VELOCITY, tracks, rows, z[:2], R),
        lambda: update(CONSTANT_VELOCITY, tracks, rows, z.float(), R),
        lambda: update(CONSTANT_VELOCITY, tracks, rows * 0, z, R),
        lambda: update(CONSTANT_VELOCITY, tracks, rows + 1, z, R),
        lambda: update(CONSTANT_VELOCITY, tracks, rows, z * math.nan, R),
        lambda: update(CONSTANT_VELOCITY, tracks, rows, z, -1e3 * R),
        lambda: innovation_covariance(AB3DMOT, tracks, R),
        lambda: white_noise(CONSTANT_VELOCITY, dt, torch.zeros(3)),
    ):
        with pytest.raises(ValueError, match="kalman"):
            call()
