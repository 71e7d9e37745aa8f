"""The sensor-level trunk under every head: what it gives, what it is taught, what it does not listen to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds import drive_scene, one_actor

from drive.features.transfuser import TransFuserConfig
from drive.plans.diffusion import DiffusionConfig
from drive.plans.learned import TAUGHT, PlannerConfig, PlannerModel
from drive.plans.learned_planner import LearnedPlanner
from drive.plans.mlp_head import MlpHeadConfig
from drive.plans.planner import own_sensors
from drive.plans.schedule import from_white_noise
from drive.plans.trunk import SensorInput
from drive.plans.trunk_sensor import SensorTrunkConfig, vehicles
from drive.plans.vanilla_diffusion import VanillaConfig
from drive.samples.plan_sample import PlanFeatures, PlanSample
from drive.samples.plan_sample_batch import PlanBatch, collate_plans
from drive.samples.plan_sample_data import scene_samples, semantic_targets
from drive.samples.plan_sample_raster import RasterGrid
from drive.samples.plan_sample_sensors import PlanSensorInput, PlanSensors
from drive.samples.scene import PEDESTRIAN, Actors

SENSORS = PlanSensors(image=(32, 128), cell_m=1.0, semantic_cell_m=1.0)
FEATURES = PlanFeatures(raster=RasterGrid(cell_m=2.0), most_lines=8, sensors=SENSORS)
TRUNK = SensorTrunkConfig(
    transfuser=TransFuserConfig(
        backbone="plain", widths=(4, 8, 8, 12), image_tokens=(2, 8), lidar_tokens=(4, 4), layers=1, heads=2, ratio=2,
        dropout=0.0, map_channels=8, map_size=(16, 16),
    ),
    sensors=SENSORS, channels=16, layers=1, heads=2, ffn=32, agents=4,
)  # fmt: skip
DIFFUSION = DiffusionConfig(modes=3, channels=16, heads=2, ffn=32, dropout=0.0, span=None, train_levels=2, noise=False)
HEADS = {
    "diffusion": DIFFUSION,
    "mlp": MlpHeadConfig(hidden=32),
    "vanilla": VanillaConfig(modes=2, channels=16, widths=(8, 8, 8), span=None, schedule=from_white_noise(3)),
}


def samples() -> list[PlanSample]:
    rng = np.random.default_rng(0)
    found: list[PlanSample] = []
    for speed in (5.0, 9.0):
        scene = drive_scene(speed, speed > 6, f"s{speed}", actors=one_actor(81, (30.0, 4.0), (-speed, 0.0)))
        made = scene_samples(scene, [5, 25, 40], FEATURES)
        for sample, target in zip(made, semantic_targets(scene, made, SENSORS), strict=True):
            seen = PlanSensorInput(
                rng.integers(0, 256, (32, 128, 3), np.uint8), rng.integers(0, 6, (64, 64)).astype(np.uint8)
            )
            found.append(replace(sample, sensors=seen, semantic=target))
    return found


@pytest.fixture(scope="module")
def made() -> list[PlanSample]:
    return samples()


@pytest.fixture(scope="module")
def batch(made: list[PlanSample]) -> PlanBatch:
    return collate_plans(made)


def model_of(head: str, made: list[PlanSample]) -> PlannerModel:
    torch.manual_seed(0)
    model = PlannerConfig(TRUNK, HEADS[head]).build()
    model.fit(np.array([s.future for s in made], np.float64), 0)
    return model.eval()


@pytest.mark.parametrize("head", HEADS)
def test_heads_on_the_sensor_trunk(head: str, made: list[PlanSample], batch: PlanBatch) -> None:
    model = model_of(head, made)
    found = model.propose(batch)
    assert found.poses.shape == (6, {"diffusion": 3, "mlp": 1, "vanilla": 2}[head], 8, 3)
    assert torch.equal(model.propose(batch).poses, found.poses)
    alone = model.propose(collate_plans(made[1:2]))
    assert torch.allclose(alone.poses[0], found.poses[1], atol=1e-4)
    terms = model.train().losses(model(batch), batch)
    parts = torch.stack([terms[name] for name in TAUGHT if name in terms])
    assert {"regression", "semantic", "agent_class", "agent_box"} <= set(terms)
    assert float(terms["loss"].detach()) == pytest.approx(float(parts.sum()), rel=1e-5)
    terms["loss"].backward()
    unread = () if head == "diffusion" else ("trunk.to_map", "trunk.map_norm")
    quiet = {n for n, p in model.named_parameters() if p.grad is None and not n.startswith(unread)}
    assert not quiet


def test_a_step_of_training_lowers_the_loss(made: list[PlanSample], batch: PlanBatch) -> None:
    model = model_of("mlp", made).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    seen = []
    for _ in range(3):
        terms = model.losses(model(batch), batch)
        seen.append({name: float(term.detach()) for name, term in terms.items()})
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
    assert seen[1]["loss"] < seen[0]["loss"]
    assert seen[2]["loss"] < seen[1]["loss"]
    for name in ("regression", "semantic"):
        assert seen[2][name] < seen[0][name]


def test_features(made: list[PlanSample], batch: PlanBatch) -> None:
    trunk = model_of("mlp", made).trunk
    features = trunk(batch)
    assert (features.bev.shape, features.agents.shape, features.ego.shape) == ((6, 16, 16, 16), (6, 4, 16), (6, 1, 16))
    assert features.taught is None
    assert (features.frame.x, features.frame.y) == ((-32.0, 64.0), (-32.0, 64.0))
    given = SensorInput.of(batch)
    assert given.camera.max() == 1.0
    assert given.lidar.max() == 1.0
    assert torch.equal(trunk.sense(given).bev, features.bev)
    taught = trunk.train()(batch).taught
    assert (taught.semantic.shape, taught.boxes.shape, taught.exists.shape) == ((6, 7, 32, 64), (6, 4, 5), (6, 4))
    trunk.eval()


def test_it_sees_and_is_told_nothing(made: list[PlanSample], batch: PlanBatch) -> None:
    """Pixels, returns and the ego's own state change a plan; objects, lines, map, route and past do not."""
    model = model_of("diffusion", made)
    before = model.propose(batch).poses
    assert batch.camera is not None
    assert batch.lidar is not None
    for told in ("actors", "lines", "line_about", "raster", "route", "past"):
        changed = replace(batch, **{told: torch.zeros_like(getattr(batch, told))})
        assert torch.equal(model.propose(changed).poses, before), told
    for seen in ({"camera": 255 - batch.camera}, {"lidar": 5 - batch.lidar}, {"status": batch.status + 1}):
        assert not torch.allclose(model.propose(replace(batch, **seen)).poses, before, atol=1e-6), seen.keys()
    dark = replace(batch, camera=torch.zeros_like(batch.camera), lidar=torch.zeros_like(batch.lidar))
    assert torch.isfinite(model.propose(dark).poses).all()


def test_what_cannot_be_sensed(made: list[PlanSample], batch: PlanBatch) -> None:
    model = model_of("mlp", made)
    blind = collate_plans([replace(s, sensors=None) for s in made])
    with pytest.raises(ValueError, match="the batch has no sensors"):
        model.propose(blind)
    assert batch.camera is not None
    with pytest.raises(ValueError, match=r"takes \(32, 128\) pixels and 64 x 64 cells, got \(32, 64\)"):
        model.propose(replace(batch, camera=batch.camera[..., :64]))
    with pytest.raises(ValueError, match="no semantic targets"):
        model.losses(model.train()(batch), replace(batch, semantic=None))
    with pytest.raises(ValueError, match="camera"):
        SensorInput(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8), torch.zeros(2, 8), torch.zeros(2))


def test_vehicles_to_learn(made: list[PlanSample]) -> None:
    """The nearest cars inside +-32 m, as many as there are tokens."""
    scene = drive_scene(5.0, turn=False)
    steps = len(scene.ego)
    x, y = scene.ego[20, :2]
    places = [(4.0, 1.0), (-8.0, 2.0), (33.0, 0.0), (12.0, -3.0), (16.0, 0.0), (6.0, 6.0)]
    box = np.zeros((6, steps, 5))
    for a, (ahead, left) in enumerate(places):
        box[a] = [x + ahead, y + left, 4.0 + a, 2.0, 0.1 * a]
    kind = np.array([0, 0, 0, 0, 0, PEDESTRIAN])
    many = Actors(box, np.zeros((6, steps, 2)), np.ones((6, steps), bool), kind, tuple("abcdef"), np.zeros((6, steps)))
    crowded = scene_samples(replace(scene, actors=many), [20], FEATURES)[0]
    nobody = scene_samples(replace(scene, actors=Actors.none(steps)), [20], FEATURES)[0]
    truth, offsets = vehicles(collate_plans([nobody, crowded, nobody, crowded]), 32.0, 3)
    assert offsets.tolist() == [0, 0, 3, 3, 6]
    np.testing.assert_allclose(truth[:3, :2], [(4, 1), (-8, 2), (12, -3)], atol=1e-5)
    np.testing.assert_allclose(truth[:3, 2], [0.0, 0.1, 0.3], atol=1e-5)
    np.testing.assert_allclose(truth[:3, 3:], [(4, 2), (5, 2), (7, 2)])
    empty, none = vehicles(collate_plans([nobody]), 32.0, 3)
    assert (empty.shape, none.tolist()) == ((0, 5), [0, 0])


def test_parameters_as_published() -> None:
    """Spec 1.10: 56 M with the perceptron's head, 60 M with the diffusion's. Counted without making the numbers."""
    pytest.importorskip("timm", reason="extra camera")
    with torch.device("meta"):
        made = [PlannerConfig(SensorTrunkConfig(), head).build() for head in (MlpHeadConfig(), DiffusionConfig())]
    counts = [sum(p.numel() for p in model.parameters()) / 1e6 for model in made]
    assert counts == [pytest.approx(56.0, abs=0.5), pytest.approx(60.0, abs=0.5)]


def test_a_planner_that_sees_says_so(made: list[PlanSample]) -> None:
    assert own_sensors(LearnedPlanner("seeing", model_of("mlp", made), FEATURES)) == SENSORS
    assert own_sensors(LearnedPlanner("told", model_of("mlp", made), replace(FEATURES, sensors=None))) is None
