"""The decoder against the published head itself (golden), against its literal form, and by hand."""

from __future__ import annotations

import copy
import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from published_head import PublishedHead
from torch import nn

from drive.errors import UserError
from drive.plans.anchors import AffineRange
from drive.plans.diffusion import DiffusionConfig, DiffusionHead
from drive.plans.diffusion_parts import CellValues, EgoAttention, MapRows, Taps
from drive.plans.schedule import true_ddim
from drive.plans.trunk import BevFrame, SceneFeatures

GOLDEN = Path(__file__).parent.parent / "golden" / "diffusiondrive_head.json"
SMALL = DiffusionConfig(modes=6, points=4, channels=32, heads=4, ffn=64)


def anchors_of(modes: int, points: int) -> torch.Tensor:
    speed, bend = torch.linspace(0, 14, modes), 0.02 * torch.arange(modes).sin()
    along = speed[:, None] * torch.arange(1, points + 1) * 0.5
    turn = bend[:, None] * along
    return torch.stack((along * turn.cos(), along * turn.sin()), dim=-1)


def head_of(config: DiffusionConfig, seed: int = 0) -> DiffusionHead:
    """A head with weights that make every part count."""
    torch.manual_seed(seed)
    head = config.build(BevFrame(), config.channels).eval()
    for layer in head.layers:
        nn.init.normal_(layer.spatial.weight.weight, 0, 0.2)
    head.anchors.copy_(anchors_of(config.modes, config.points))
    return head


def features_of(scenes: int, channels: int, agents: int = 5, size: int = 64, seed: int = 1) -> SceneFeatures:
    rng = torch.Generator().manual_seed(seed)
    return SceneFeatures(
        bev=torch.randn(scenes, channels, size, size, generator=rng),
        agents=torch.randn(scenes, agents, channels, generator=rng),
        agent_valid=None,
        ego=torch.randn(scenes, 1, channels, generator=rng),
        command=torch.zeros(scenes, dtype=torch.int64),
    )


@pytest.fixture(scope="module")
def made() -> ModuleType:
    """The module that made the published head's golden answer: weights, scene and noise."""
    spec = importlib.util.spec_from_file_location("diffusiondrive_head", GOLDEN.with_suffix(".py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published_weights(made: ModuleType, drawn: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The golden weights by our names."""
    ours: dict[str, torch.Tensor] = {}
    for theirs, name in made.OURS.items():
        ours |= {f"{name}.{kind}": drawn[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    for n in (0, 1):
        for theirs, name in (("cross_agent_attention", "agents"), ("cross_ego_attention", "ego")):
            at = f"diff_decoder.layers.{n}.{theirs}.in_proj"
            for kind in ("weight", "bias"):
                parts = dict(zip(("query", "key", "value"), drawn[f"{at}_{kind}"].chunk(3), strict=True))
                wanted = parts if name == "agents" else {"value": parts["value"]}
                ours |= {f"layers.{n}.{name}.{part}.{kind}": value for part, value in wanted.items()}
    return ours


def test_the_published_head_itself(made: ModuleType) -> None:
    """Poses and logits of hustvl/DiffusionDrive's own TrajectoryHead, same weights, scene and noise."""
    golden = json.loads(GOLDEN.read_text())
    drawn = {name: torch.from_numpy(value) for name, value in made.numbers().items()}
    head = DiffusionConfig().build(BevFrame(), 256).eval()
    span = {"anchors": drawn["anchors"], "span": head.span}
    head.load_state_dict({**published_weights(made, drawn), **span})  # strict: no weight of ours is left over
    features = SceneFeatures(drawn["bev"], drawn["agents"], None, drawn["ego"], torch.zeros(2, dtype=torch.int64))
    with torch.inference_mode():
        found = head.propose(features, drawn["noise"])
    # Sines of 2 pi x 50 m are good to 2e-5 in float32: the spread of the two computations is that of their rounding.
    assert torch.allclose(found.poses, torch.tensor(golden["poses"]), atol=2e-5)
    assert torch.allclose(found.logits, torch.tensor(golden["logits"]), atol=2e-5)
    assert torch.allclose(found.best(), torch.tensor(golden["best"]), atol=2e-5)
    assert (found.poses[..., :2] - head.anchors).abs().mean() > 0.1  # the answer is not just the anchors


@pytest.mark.parametrize("values", ["read", "dense"])
def test_same_trajectories_as_the_literal_form(values: str) -> None:
    head = head_of(DiffusionConfig(values=values))
    features, noise = features_of(1, 256, agents=30), head.noise(1, torch.Generator().manual_seed(2))
    published = PublishedHead.of(head)
    assert features.bev is not None
    with torch.inference_mode():
        found = head.propose(features, noise)
        poses, logits = published(features.bev, features.agents, features.ego, noise)
    assert (found.poses - poses).abs().max() < 1e-5
    assert (found.logits - logits).abs().max() < 1e-5
    assert poses[..., 0].max() > 40  # some points lie outside the map


def test_several_scenes_are_answered_as_one_by_one() -> None:
    head, features = head_of(SMALL), features_of(3, 32)
    noise = head.noise(3, torch.Generator().manual_seed(2))
    assert features.bev is not None
    assert features.agents is not None
    with torch.inference_mode():
        together = head.propose(features, noise)
        for b in range(3):
            row = slice(b, b + 1)
            one = replace(features, bev=features.bev[row], agents=features.agents[row], ego=features.ego[row])
            alone = head.propose(one, noise[row])
            assert torch.allclose(alone.poses[0], together.poses[b], atol=1e-5)
        none = head.propose(features_of(0, 32), noise[:0])
    assert none.poses.shape == (0, 6, 4, 3)


def test_only_cells_that_are_read_are_computed() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 8, 3, padding=1).to(memory_format=torch.channels_last)
    maps = MapRows(torch.randn(2, 8, 12, 16))
    frame = BevFrame((0.0, 12.0), (0.0, 16.0))
    read, dense = CellValues(maps, convolution, "read"), CellValues(maps, convolution, "dense")
    # (3.5, 4.5) is a cell's centre: one cell; (0.5, 9.0) lies between two; (-3, 2) outside; (12, 16) at the corner.
    places = torch.tensor([[3.5, 4.5], [0.5, 9.0], [-3.0, 2.0], [12.0, 16.0]])[None, :, None].expand(2, -1, -1, -1)
    taps = Taps.at(places, frame, 12, 16)
    assert taps.weight.sum(-1)[0, :, 0].tolist() == pytest.approx([1, 1, 0, 0.25])
    found, wanted = (torch.einsum("bktn,bktnc->bktc", taps.weight, v.read(taps)) for v in (read, dense))
    assert torch.allclose(found, wanted, atol=1e-6)
    assert torch.allclose(wanted[1, 0, 0], torch.relu(convolution(maps.bev))[1, :, 3, 4], atol=1e-6)
    assert len(read.values) == 1 + 2 * 4  # one, two, none and one cell a map
    read.read(taps)
    assert len(read.values) == 9  # nothing new
    read.read(Taps.at(places + 2, frame, 12, 16))
    assert len(read.values) > 9


def test_the_second_pass_computes_few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    head, counts = head_of(DiffusionConfig(modes=20, points=8, channels=32, heads=4, ffn=64)), []
    whole = MapRows.neighbours
    monkeypatch.setattr(MapRows, "neighbours", lambda self, cells: counts.append(len(cells)) or whole(self, cells))
    with torch.inference_mode():
        head.propose(features_of(1, 32), head.noise(1, torch.Generator().manual_seed(0)))
    first_layer = counts[0] + sum(counts[2::2])
    assert counts[0] < 640 < 64 * 64
    assert first_layer < 1.2 * counts[0]  # the published second pass looks where the first did


def test_ego_attention_is_attention_to_one_key() -> None:
    torch.manual_seed(0)
    whole, ours = nn.MultiheadAttention(16, 4, batch_first=True).eval(), EgoAttention(16, 0.1).eval()
    ours.value.weight.data.copy_(whole.in_proj_weight[32:])
    ours.value.bias.data.copy_(whole.in_proj_bias[32:])
    ours.out.load_state_dict(whole.out_proj.state_dict())
    feature, ego = torch.randn(2, 5, 16), torch.randn(2, 1, 16)
    assert torch.allclose(ours(feature, ours.answer(ego)), feature + whole(feature, ego, ego)[0], atol=1e-6)


def test_masked_agents_do_not_count() -> None:
    head, features = head_of(SMALL), features_of(2, 32, agents=5)
    assert features.agents is not None
    valid = torch.tensor([[True, True, True, False, False]] * 2)
    few = replace(features, agents=features.agents[:, :3])
    with torch.inference_mode():
        masked, cut = head.propose(replace(features, agent_valid=valid)), head.propose(few)
        whole = head.propose(features)
    assert torch.allclose(masked.poses, cut.poses, atol=1e-5)
    assert not torch.allclose(whole.poses, cut.poses, atol=1e-3)


def test_the_map_is_read_where_the_trajectory_goes() -> None:
    """Changing the map under one anchor changes that mode's answer alone."""
    head, features = head_of(replace(SMALL, layers=1)), features_of(1, 32)
    assert features.bev is not None
    path = head.anchors[3]
    row, column = (path[2] + 32).long().tolist()
    bev = features.bev.clone()
    bev[:, :, row, column] += 3
    with torch.inference_mode():
        change = (head.propose(replace(features, bev=bev)).poses - head.propose(features).poses).abs().amax((0, 2, 3))
    assert change[3] > 1e-3
    far = (head.anchors - path[2]).norm(dim=-1).amin(1) > 4
    assert far.any()
    assert change[far].max() < 1e-6


def test_without_noise_and_with_the_same_noise_the_answer_is_the_same() -> None:
    head, features = head_of(SMALL), features_of(2, 32)
    with torch.inference_mode():
        first, again = head.propose(features), head.propose(features)
        noise = head.noise(2, torch.Generator().manual_seed(5))
        noisy, other = head.propose(features, noise), head.propose(features, -noise)
    assert torch.equal(first.poses, again.poses)
    assert not torch.allclose(noisy.poses, other.poses, atol=1e-2)


def test_true_ddim_differs_from_the_published_schedule() -> None:
    head, features = head_of(SMALL), features_of(1, 32)
    other = head_of(replace(SMALL, schedule=true_ddim()))
    noise = head.noise(1, torch.Generator().manual_seed(5))
    with torch.inference_mode():
        assert not torch.allclose(head.propose(features, noise).poses, other.propose(features, noise).poses, atol=1e-2)


def test_bfloat16_is_near() -> None:
    head, features = head_of(SMALL), features_of(1, 32)
    narrow = copy.deepcopy(head).narrow()
    half = replace(features, **{name: getattr(features, name).bfloat16() for name in ("bev", "agents", "ego")})
    with torch.inference_mode():
        exact, found = head.propose(features), narrow.propose(half)
    assert found.poses.dtype == torch.float32
    assert narrow.anchors.dtype == torch.float32
    assert (exact.poses - found.poses).abs().max() < 0.1


def test_every_weight_learns() -> None:
    head, features = head_of(SMALL).train(), features_of(4, 32)
    torch.manual_seed(0)
    future = torch.cat((head.anchors[2] + 0.5, torch.zeros(4, 1)), dim=1).expand(4, -1, -1)
    terms = head.losses(head.answer(features), future, torch.ones(4, 4, dtype=torch.bool))
    (terms["score"] + terms["regression"]).backward()
    still = [name for name, weight in head.named_parameters() if weight.grad is None or not weight.grad.abs().any()]
    assert not still
    assert terms["l1_m"] < 3


def test_training_noise_stays_below_its_level() -> None:
    """Levels of 0 to 49 only: at most 0.0943 of the range, 2.7 m in x, on a clamped anchor."""
    head, seen = head_of(SMALL).train(), []
    head.places.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    torch.manual_seed(0)
    head.answer(features_of(64, 32, size=8))
    metres = (seen[0] - head.anchors)[..., 1]
    assert 0.5 < metres.std() < 0.0943 * 23
    assert seen[0][..., 0].max() <= 55.7 + 1e-4


def test_fit_sets_anchors_and_range() -> None:
    head = replace(SMALL, span=None).build(BevFrame(), 32)
    rng = np.random.default_rng(0)
    speed = rng.uniform(0, 10, (200, 1, 1))
    futures = speed * np.arange(1, 5)[:, None] * np.array([0.5, 0.0, 0.0]) + rng.normal(0, 0.1, (200, 4, 3))
    head.fit(futures, seed=0)
    assert head.anchors[:, -1, 0].tolist() == sorted(head.anchors[:, -1, 0].tolist())
    assert torch.allclose(head.span, torch.from_numpy(AffineRange.of_futures(futures).rows()).float())
    values = head.normalise(head.anchors)
    assert values.abs().max() <= 1
    assert torch.allclose(head.denormalise(values), head.anchors, atol=1e-5)
    fixed = SMALL.build(BevFrame(), 32)
    fixed.fit(futures, seed=0)
    assert torch.allclose(fixed.span[:, 1], torch.tensor([56.9, 46.0, 3.9]))
    with pytest.raises(UserError, match="2 different futures for 6 anchors"):
        head.fit(futures[:2], seed=0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="gives 64 channels"):
        SMALL.build(BevFrame(), 64)
    head, features = head_of(SMALL), features_of(1, 32)
    with pytest.raises(ValueError, match="bird's-eye map"):
        head.propose(replace(features, bev=None))


def test_headings_lie_within_half_a_turn() -> None:
    head = head_of(SMALL)
    with torch.inference_mode():
        assert head.propose(features_of(8, 32)).poses[..., 2].abs().max() <= math.pi
