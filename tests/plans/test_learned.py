"""Trunks, heads and the planner made of them: small networks on scenes by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import drive_scene, one_actor

from drive.errors import UserError
from drive.experiment import Experiment
from drive.plan import load_planner, plan_command
from drive.plans.anchors import AffineRange
from drive.plans.diffusion import DiffusionConfig
from drive.plans.learned import PlannerConfig, PlannerModel
from drive.plans.learned_planner import path_headings
from drive.plans.losses import PlanLossConfig, l1_of_modes, positive_modes
from drive.plans.mlp_head import MlpHeadConfig
from drive.plans.planner import HISTORY, BatchPlanner, Observation
from drive.plans.schedule import from_white_noise
from drive.plans.trunk import SceneFeatures, SensorInput
from drive.plans.trunk_object import EgoTrunkConfig, ObjectTrunkConfig
from drive.plans.vanilla_diffusion import VanillaConfig
from drive.samples.plan_sample import PlanFeatures, PlanSample
from drive.samples.plan_sample_batch import collate_plans
from drive.samples.plan_sample_data import PlanDataConfig, PlanDataset, scene_samples
from drive.samples.plan_sample_raster import RasterGrid
from drive.samples.route import command
from drive.samples.scene import Actors, Lights, Scene
from drive.train.config import TrainConfig
from drive.train.loop import train

RASTER = RasterGrid(cell_m=2.0)
FEATURES = PlanFeatures(raster=RASTER, most_lines=24)
TRUNK = ObjectTrunkConfig(channels=32, layers=1, heads=2, ffn=64, dropout=0.0, map_channels=(16, 16, 16), raster=RASTER)
DIFFUSION = DiffusionConfig(modes=8, channels=32, heads=2, ffn=64, dropout=0.0, span=None, train_levels=2, noise=False)
HEADS = {
    "diffusion": DIFFUSION,
    "mlp": MlpHeadConfig(hidden=64),
    "vanilla": VanillaConfig(modes=3, channels=32, widths=(16, 16, 32), span=None, schedule=from_white_noise(5)),
}


def samples() -> list[PlanSample]:
    found: list[PlanSample] = []
    for speed in (0.0, 5.0, 9.0, 12.0):
        for turn in (False, True) if speed else (False,):
            actors = one_actor(81, (40.0, 4.0), (-speed, 0.0)) if turn else None
            scene = drive_scene(speed, turn, f"s{speed}{turn}", actors=actors)
            found += scene_samples(scene, [5, 15, 25, 35], FEATURES)
    return found


@pytest.fixture(scope="module")
def dataset() -> PlanDataset:
    return PlanDataset(samples())


def model_of(config: PlannerConfig, dataset: PlanDataset) -> PlannerModel:
    torch.manual_seed(0)
    model = config.build()
    model.fit(dataset.futures(), 0)
    return model.eval()


@pytest.mark.parametrize("head", HEADS)
def test_heads_on_the_object_trunk(head: str, dataset: PlanDataset) -> None:
    model = model_of(PlannerConfig(TRUNK, HEADS[head]), dataset)
    batch = collate_plans(dataset.samples[::6])
    found = model.propose(batch)
    modes = {"diffusion": 8, "mlp": 1, "vanilla": 3}[head]
    assert found.poses.shape == (5, modes, 8, 3)
    assert found.logits.shape == (5, modes)
    assert torch.isfinite(found.poses).all()
    assert found.best().shape == (5, 8, 3)
    terms = model.train().losses(model(batch), batch)
    terms["loss"].backward()
    parts = [terms[name] for name in ("score", "regression") if name in terms]
    assert float(terms["loss"].detach()) == pytest.approx(float(torch.stack(parts).sum()), rel=1e-5)
    quiet = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()}
    unread = ("trunk.fine", "trunk.middle", "trunk.coarse", "trunk.to_map", "trunk.map_norm")
    assert not {name for name in quiet if head == "diffusion" or not name.startswith(unread)}


def test_the_guess_teaches_the_trunk_and_changes_no_answer(dataset: PlanDataset) -> None:
    told = replace(DIFFUSION, with_ego=True, loss=PlanLossConfig(score=2.0, softmax=True))
    model = model_of(PlannerConfig(TRUNK, told, guess=3.0), dataset)
    batch = collate_plans(dataset.samples[::6])
    terms = model.train().losses(model(batch), batch)
    parts = [terms[name] for name in ("score", "regression", "guess")]
    assert float(terms["loss"].detach()) == pytest.approx(float(torch.stack(parts).sum()), rel=1e-5)
    features = model.trunk(batch)
    assert model.guess is not None
    by_hand = (model.guess.propose(features).poses[:, 0] - batch.future).abs().mean()
    assert float(terms["guess"]) == pytest.approx(3 * float(by_hand.detach()), rel=1e-4)
    terms["loss"].backward()
    assert not {n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()}
    model.eval()
    before = model.propose(batch).poses
    torch.nn.init.zeros_(model.guess.outer.weight)
    assert torch.equal(model.propose(batch).poses, before)
    # The ego's own speed changes the scores, at once.
    faster = replace(batch, status=batch.status + 1.0)
    assert (model.propose(faster).logits - model.propose(batch).logits).abs().max() > 1e-3


def test_no_map_and_no_past_where_they_are_not_asked_for(dataset: PlanDataset) -> None:
    trunk = replace(TRUNK, map_channels=None, past=False)
    model = model_of(PlannerConfig(trunk, MlpHeadConfig(hidden=64)), dataset)
    assert not [name for name, _ in model.named_parameters() if "fine" in name or "map" in name]
    batch = collate_plans(dataset.samples[::6])
    assert model.trunk(batch).bev is None
    told = model.propose(batch).poses
    status = batch.status.clone()
    status[:, -2:] += 2.0  # accelerations
    again = model.propose(replace(batch, past=batch.past + 1.0, status=status)).poses
    assert torch.equal(told, again)
    with pytest.raises(ValueError, match="needs a bird's-eye map"):
        model_of(PlannerConfig(trunk, DIFFUSION), dataset).propose(batch)


def test_headings_of_a_path() -> None:
    """On a circle of 20 m, evenly: exact in between; at the last place half a piece behind."""
    angle = np.arange(1, 9) * 0.1
    circle = 20 * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1)
    standing = np.zeros((8, 2))
    stops = np.array([[2.0, 0.0], [4.0, 2.0], [4.1, 2.2], [4.1, 2.3], [4.1, 2.3], [4.1, 2.3], [4.1, 2.3], [4.1, 2.3]])
    found = path_headings(np.stack([circle, standing, stops]))
    np.testing.assert_allclose(found[0, :-1], angle[:-1], atol=1e-9)
    assert found[0, -1] == pytest.approx(0.75)
    assert not found[1].any()
    np.testing.assert_allclose(found[2, 1:], np.pi / 4, atol=1e-9)
    # Backwards is a turn by pi, the shorter way round, and then goes on.
    assert path_headings(np.array([[[-1.0, 0.0], [-2.0, 0.1]]]))[0, 1] == pytest.approx(
        np.pi - np.arctan(0.1), abs=1e-6
    )
    assert path_headings(np.zeros((0, 8, 2))).shape == (0, 8)


def test_several_noises_a_step(dataset: PlanDataset) -> None:
    often = VanillaConfig(modes=1, channels=32, widths=(16, 16, 32), span=None, levels_a_step=3)
    model = model_of(PlannerConfig(TRUNK, often), dataset).train()
    batch = collate_plans(dataset.samples[::6])
    terms = model.losses(model(batch), batch)
    assert torch.isfinite(terms["loss"])
    terms["loss"].backward()


def test_a_scene_is_answered_alike_in_any_batch(dataset: PlanDataset) -> None:
    for head in (replace(DIFFUSION, noise=True), HEADS["vanilla"]):
        model = model_of(PlannerConfig(TRUNK, head), dataset)
        together = model.propose(collate_plans(dataset.samples[::3]), seed=7)
        alone = model.propose(collate_plans(dataset.samples[3:4]), seed=7)
        assert torch.allclose(together.poses[1], alone.poses[0], atol=1e-4)
        other = model.propose(collate_plans(dataset.samples[3:4]), seed=8)
        assert not torch.allclose(other.poses, alone.poses, atol=1e-3)


def test_road_users_lines_and_raster_are_looked_at(dataset: PlanDataset) -> None:
    model = model_of(PlannerConfig(TRUNK, DIFFUSION), dataset)
    batch = collate_plans([s for s in dataset.samples if len(s.actors)][:2])
    before = model.propose(batch, None).poses
    for change in (
        {"actors": batch.actors + 1.0},
        {"lines": batch.lines + 1.0},
        {"raster": torch.zeros_like(batch.raster)},
        {"status": batch.status + 1.0},
    ):
        assert not torch.allclose(model.propose(replace(batch, **change), None).poses, before, atol=1e-5), change.keys()


def test_an_empty_place(dataset: PlanDataset) -> None:
    model = model_of(PlannerConfig(TRUNK, DIFFUSION), dataset)
    empty = replace(
        dataset.samples[0],
        actors=dataset.samples[0].actors[:0],
        lines=dataset.samples[0].lines[:0],
        line_about=dataset.samples[0].line_about[:0],
    )
    assert torch.isfinite(model.propose(collate_plans([empty])).poses).all()


def test_the_ego_alone(dataset: PlanDataset) -> None:
    model = model_of(PlannerConfig(EgoTrunkConfig(32), MlpHeadConfig(hidden=64)), dataset)
    batch = collate_plans(dataset.samples[:3])
    before = model.propose(batch).poses
    blind = replace(batch, raster=torch.zeros_like(batch.raster), lines=batch.lines + 9, actors=batch.actors + 9)
    assert torch.equal(model.propose(blind).poses, before)
    assert not torch.equal(model.propose(replace(batch, past=batch.past + 1)).poses, before)
    with pytest.raises(ValueError, match="bird's-eye map"):
        model_of(PlannerConfig(EgoTrunkConfig(32), DIFFUSION), dataset).propose(batch)


def test_training_mode_is_refused(dataset: PlanDataset) -> None:
    model = model_of(PlannerConfig(TRUNK, DIFFUSION), dataset).train()
    with pytest.raises(ValueError, match="training mode"):
        model.propose(collate_plans(dataset.samples[:1]))


def test_vanilla_denoises_to_its_own_answer() -> None:
    """A network that always answers one trajectory ends there, whatever the noise."""
    head = VanillaConfig(modes=2, channels=8, widths=(8, 8, 8), span=AffineRange()).build(TRUNK.frame, 8).eval()
    torch.nn.init.zeros_(head.out.weight)
    torch.nn.init.constant_(head.out.bias, 0.5)
    features = SceneFeatures(None, None, None, torch.zeros(3, 1, 8), torch.zeros(3, dtype=torch.int64))
    with torch.inference_mode():
        found = head.propose(features, head.noise(3))
    wanted = torch.from_numpy(AffineRange().denormalise(np.full(3, 0.5))).float()
    assert torch.allclose(found.poses, wanted.expand_as(found.poses), atol=1e-5)


def test_sensor_input_has_one_shape() -> None:
    status, commands = torch.zeros(2, 8), torch.zeros(2)
    SensorInput(torch.zeros(2, 3, 256, 1024), torch.zeros(2, 1, 256, 256), status, commands)
    with pytest.raises(ValueError, match="lidar"):
        SensorInput(torch.zeros(2, 3, 256, 1024), torch.zeros(2, 2, 256, 256), status, commands)


def experiment_of(head: object, steps: int) -> Experiment:
    return Experiment(
        name="hand",
        model=PlannerConfig(TRUNK, head),  # type: ignore[arg-type]
        data=PlanDataConfig(features=FEATURES, batch_size=10),
        train=TrainConfig(
            steps=steps, learning_rate=5e-3, weight_decay=1e-2, schedule="cosine", warmup=0.02, ema=0.0, device="cpu"
        ),
    )


def test_a_short_training_learns(dataset: PlanDataset, tmp_path: Path) -> None:
    dataset = PlanDataset(dataset.samples[::3])
    experiment = experiment_of(replace(DIFFUSION, modes=3, train_levels=1), 220)
    assert Experiment.read(_written(experiment, tmp_path)) == experiment
    train(experiment, tmp_path / "run", dataset=dataset)
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()][1:]
    assert entries[-1]["loss"] < 0.3 * entries[0]["loss"]
    assert json.loads((tmp_path / "run" / "anchors.json").read_text())["futures"] == len(dataset)

    planner = load_planner(tmp_path / "run")
    batch = collate_plans(dataset.samples)
    found = planner.model.propose(batch)
    anchors = planner.model.head.anchors.expand(len(dataset), -1, -1, -1)
    modes = positive_modes(anchors, batch.future, batch.future_valid)
    before, after = (l1_of_modes(p, modes, batch.future, batch.future_valid) for p in (anchors, found.poses[..., :2]))
    assert float(after) < 0.5
    assert float(before) > 2  # three anchors for ten different drives
    assert torch.equal(found.logits.argmax(1), modes)

    # The trained planner drives as it was trained: an observation of a scene is the decision that was made of it.
    scene = drive_scene(9.0, turn=True, name="s9.0True", actors=one_actor(81, (40.0, 4.0), (-9.0, 0.0)))
    assert isinstance(planner, BatchPlanner)
    plans = planner.plan_many([observe(scene, at) for at in (25, 35)])
    both = planner.model.propose(collate_plans(scene_samples(scene, [25, 35], FEATURES))).best().numpy()
    for plan, poses in zip(plans, both, strict=True):
        assert plan.poses[:, :2] == pytest.approx(poses[:, :2], abs=1e-3)
        assert plan.poses[:, 2] == pytest.approx(path_headings(plan.poses[None, :, :2])[0], abs=1e-9)
    told = replace(planner, headings="told").plan_many([observe(scene, at) for at in (25, 35)])
    for plan, poses in zip(told, both, strict=True):
        assert plan.poses == pytest.approx(poses, abs=1e-3)
    for plan in plans:
        assert plan.times_s.tolist() == [0.5 * k for k in range(1, 9)]
    assert planner.plan(observe(scene, 25)).poses == pytest.approx(plans[0].poses, abs=1e-4)
    assert planner.plan_many([]) == []


def observe(scene: Scene, at: int) -> Observation:
    rows = np.arange(at - HISTORY + 1, at + 1)
    rows, known = np.maximum(rows, 0), rows >= 0
    seen = scene.actors
    actors = Actors(
        seen.box[:, rows], seen.velocity[:, rows], seen.valid[:, rows] & known, seen.kind, seen.token,
        seen.ground_z[:, rows],
    )  # fmt: skip
    return Observation(
        scene=scene.name,
        timestamp_ns=int(scene.timestamps_ns[at]),
        step=at,
        ego=scene.ego[rows],
        ego_valid=scene.ego_valid[rows] & known,
        vehicle=scene.vehicle,
        actors=actors,
        lights=Lights(scene.lights.state[rows], scene.lights.lane, scene.lights.stop_xy),
        map=scene.map,
        route=scene.route,
        command=command(scene.route, scene.ego[at, :2]),
    )


def _written(experiment: Experiment, folder: Path) -> Path:
    path = folder / "config.json"
    path.write_text(experiment.to_json())
    return path


def test_what_is_no_planner(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not train a planner"):
        plan_command(["configs.town_swformer"])
    with pytest.raises(UserError, match="cannot be read"):
        load_planner(tmp_path)
    assert plan_command(["--help"]) == 0
