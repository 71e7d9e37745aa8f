"""STT's network: what is masked does not count, nothing at all is fine, every weight learns, losses by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from drive.tracks.history_data import TrackDataset
from drive.tracks.stt_batch import TrackBatch, TrackInputs
from drive.tracks.stt_config import SttConfig
from drive.tracks.stt_layers import CrossLayer, PairMlp
from tests.tracks.stt_world import HISTORY, NAMES, experiment, network, small


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> TrackBatch:
    made = experiment(tmp_path_factory.mktemp("stt"))
    dataset = TrackDataset.of(made.data, [Path(made.data.train_logs[0])], HISTORY, 0)  # type: ignore[arg-type]
    return dataset.collate([dataset.item(k) for k in range(3)])


def test_what_is_masked_does_not_count(batch: TrackBatch) -> None:
    net = network(small())
    x = batch.inputs
    assert not x.history_valid.all()  # else nothing is tested
    assert not x.nearby_valid.all()
    noise = torch.randn_like(x.history) * 100
    spoiled = x._replace(
        history=torch.where(x.history_valid[..., None], x.history, noise),
        nearby=torch.where(x.nearby_valid[..., None], x.nearby, torch.full_like(x.nearby, 7.0)),
    )
    one, other = net.associate(x), net.associate(spoiled)
    torch.testing.assert_close(one.track, other.track)
    torch.testing.assert_close(one.logits, other.logits)
    assert torch.isinf(one.logits[:, 1:][~x.nearby_valid]).all()


def test_detections_have_no_order(batch: TrackBatch) -> None:
    net = network(small())
    x = batch.inputs
    order = torch.randperm(x.nearby.shape[1])
    one, other = (
        net.associate(x),
        net.associate(x._replace(nearby=x.nearby[:, order], nearby_valid=x.nearby_valid[:, order])),
    )
    torch.testing.assert_close(one.logits[:, 0], other.logits[:, 0])
    torch.testing.assert_close(one.logits[:, 1:][:, order], other.logits[:, 1:])


@pytest.mark.parametrize(("tracks", "near", "alone"), [(0, 0, 0), (0, 0, 3), (2, 0, 0), (2, 3, 4)])
def test_few_or_none(tracks: int, near: int, alone: int) -> None:
    net, channels = network(small()), HISTORY.channels
    valid = torch.zeros(tracks, 4, dtype=torch.bool)
    valid[:, 0] = True
    x = TrackInputs(
        torch.randn(tracks, 4, channels), torch.zeros(tracks, 4), valid, torch.randn(tracks, near, channels),
        torch.zeros(tracks, near, dtype=torch.bool), torch.randn(alone, channels),
    )  # fmt: skip
    association = net.associate(x)
    estimate = net.estimate(association, torch.zeros(tracks, dtype=torch.int64))
    assert association.logits.shape == (tracks, 1 + near)
    assert all(bool(part.isfinite().all()) for part in estimate)
    assert net.newborn(x.alone).shape == (alone,)


def test_short_cuts_change_no_number() -> None:
    """One query that never makes keys and values, and pairs without the long vector, against the plain forms."""
    torch.manual_seed(0)
    layer, pair = CrossLayer(16, 4, 32).double(), PairMlp(16).double()
    query, tokens = torch.randn(5, 16).double(), torch.randn(5, 7, 16).double()
    valid = torch.rand(5, 7) < 0.6
    valid[:, 0] = True
    plain = layer.attend(query[:, None], tokens, valid)[:, 0]
    torch.testing.assert_close(layer.attend_once(query, tokens, valid), plain, rtol=0, atol=1e-12)
    tracks = query[:, None].expand_as(tokens)
    long = pair.last(F.gelu(pair.first(torch.cat((tracks, tokens, tracks * tokens), dim=2))))
    torch.testing.assert_close(pair.last(pair(query, tokens)), long, rtol=0, atol=1e-12)
    head = torch.nn.Linear(16, 1).double()
    torch.testing.assert_close(pair.scored(pair(query, tokens), head), head(long)[..., 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("tracks", "near", "alone"), [(0, 0, 0), (0, 0, 3), (2, 0, 0), (1, 3, 4), (9, 5, 40)])
def test_prepared_for_tracking_it_says_the_same(tracks: int, near: int, alone: int) -> None:
    """Random norms too, and buffers that hold the numbers of a larger call; one track without any detection."""
    torch.manual_seed(1)
    net, channels = network(small()), HISTORY.channels
    for weight in net.parameters():
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, mean=float(weight.detach().mean()), std=0.3)
    there, close = torch.rand(tracks, 4) < 0.6, torch.rand(tracks, near) < 0.6
    there[:, 0], close[:1] = True, False
    x = TrackInputs(
        torch.randn(tracks, 4, channels), -torch.rand(tracks, 4), there, torch.randn(tracks, near, channels), close,
        torch.randn(alone, channels),
    )  # fmt: skip
    choice = torch.where(close.any(dim=1), 1 + close.float().argmax(dim=1), 0) if near else torch.zeros(tracks).long()
    with torch.inference_mode():
        prepared = net.prepared()
        large = torch.randn(60, 4, channels), torch.zeros(60, 4), torch.ones(60, 4, dtype=torch.bool)
        prepared.associate(TrackInputs(*large, torch.full((60, 5, channels), 1e6), large[2][:, [0] * 5], x.alone))
        association, pairs = net.associate(x), prepared.associate(x)
        torch.testing.assert_close(pairs.logits, association.logits, rtol=1e-5, atol=1e-6)
        for mine, wanted in zip(prepared.estimate(pairs, choice), net.estimate(association, choice), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(prepared.newborn(x.alone), net.newborn(x.alone), rtol=1e-5, atol=1e-6)


def test_every_weight_learns(batch: TrackBatch) -> None:
    net = network(small()).train()
    losses = net.losses(net(batch), batch)
    losses["loss"].backward()
    parts = [float(v.detach()) for k, v in losses.items() if k != "loss"]
    assert float(losses["loss"].detach()) == pytest.approx(sum(parts), rel=1e-5)
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_an_untrained_track_moves_as_extrapolated(batch: TrackBatch) -> None:
    torch.manual_seed(0)
    output = small().build()(batch)
    assert not any(bool(t.any()) for t in (output.now.state, output.now.box, output.before))


def test_losses_of_perfect_answers(batch: TrackBatch) -> None:
    net = network(small())
    output = net(batch)
    logits = torch.full_like(output.association.logits, -50.0)
    logits[torch.arange(len(logits)), batch.match] = 50.0
    sure = torch.where(batch.exists > 0, 50.0, -50.0)
    now = output.now._replace(state=batch.state, box=batch.box, exists=sure, log_variance=torch.zeros(len(sure), 4))
    before = torch.cat([batch.state_before, torch.zeros(len(sure), 4)], dim=1)
    born = torch.where(batch.born > 0, 50.0, -50.0)
    perfect = output._replace(association=output.association._replace(logits=logits), now=now, before=before, born=born)
    assert {k: float(v.detach()) for k, v in net.losses(perfect, batch).items() if float(v.detach()) > 1e-6} == {}


def test_losses_by_hand(batch: TrackBatch) -> None:
    """One number off: association by log 2, velocity by Huber outside its parabola, existence unsure."""
    net = network(small())
    output = net(batch)
    state = batch.state.clone()
    state[:, 0] += 2.0
    even = torch.where(batch.nearby_valid, 0.0, float("-inf"))
    logits = torch.cat([torch.zeros(len(state), 1), even], dim=1)
    now = output.now._replace(state=state, exists=torch.zeros(len(state)))
    losses = net.losses(output._replace(association=output.association._replace(logits=logits), now=now), batch)
    choices = (1 + batch.nearby_valid.sum(dim=1)).double().log().mean()
    assert float(losses["association"].detach()) == pytest.approx(float(choices), rel=1e-5)
    huber = 0.5 * (2.0 - 0.25)
    assert float(losses["velocity"].detach()) == pytest.approx(huber / 2, rel=1e-5)  # the mean is over vx and vy
    assert float(losses["existence"].detach()) == pytest.approx(math.log(2), rel=1e-5)


def test_a_batch_of_nothing_known(batch: TrackBatch) -> None:
    """No valid state, box or existence: the losses are 0 and finite, not NaN."""
    blind = replace(
        batch,
        state_valid=torch.zeros_like(batch.state_valid),
        before_valid=torch.zeros_like(batch.before_valid),
        box_valid=torch.zeros_like(batch.box_valid),
        exists_weight=torch.zeros_like(batch.exists_weight),
        born_weight=torch.zeros_like(batch.born_weight),
    )
    net = network(small())
    losses = net.losses(net(blind), blind)
    assert float(losses["loss"].detach()) == pytest.approx(float(losses["association"].detach()))
    losses["loss"].backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in net.parameters())


def test_the_specs_size() -> None:
    """About 3 million parameters at 256 channels."""
    count = sum(p.numel() for p in SttConfig(NAMES, HISTORY).build().parameters())
    assert 2.0e6 < count < 4.0e6


def test_configurations_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="2 classes, but 3 gates"):
        SttConfig(NAMES)
    with pytest.raises(ValueError, match="not divisible"):
        SttConfig(NAMES, HISTORY, width=30)


def test_batches_move_whole(batch: TrackBatch) -> None:
    moved = batch.to("cpu")
    assert moved.frame_ids == batch.frame_ids == ["world/0-4", "world/5-9", "world/10-14"]
    assert np.array_equal(moved.match.numpy(), batch.match.numpy())
