"""The loop: going on after a kill, accumulation, averages, time limit, stop at a NaN, foreign folders."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_training import ToyExperiment, ToyFrames, ToyModel, weights_hash

from drive.errors import UserError
from drive.samples.config import DataConfig
from drive.train import setup
from drive.train.config import TrainConfig
from drive.train.loop import train
from drive.train.watch import load_saved_batch
from drive.train.weights import load_weights, read_weights, save_weights, weights_about


def experiment(**changes: object) -> ToyExperiment:
    base = ToyExperiment()
    return replace(base, train=replace(base.train, **changes))  # type: ignore[arg-type]


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, nothing is saved on the way out."""


class DeadlyFrames(ToyFrames):
    """Ends the process's work when the given number of samples has been made."""

    def __init__(self, deadly: int) -> None:
        super().__init__()
        self.left = deadly

    def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True):  # type: ignore[no-untyped-def]
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().item(index, epoch, repeat, paste)


@pytest.mark.parametrize("samples_until_kill", [7, 15, 21])
def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path, samples_until_kill: int) -> None:
    run = experiment(checkpoint_steps=2, accumulate=1)
    whole = train(run, tmp_path / "whole", dataset=ToyFrames())
    with pytest.raises(Killed):
        train(run, tmp_path / "killed", dataset=DeadlyFrames(samples_until_kill))
    assert not (tmp_path / "killed" / "weights.safetensors").exists()
    again = train(run, tmp_path / "killed", dataset=ToyFrames())
    assert 0 < again.resumed_from < whole.steps == again.steps
    assert weights_hash(again.weights) == weights_hash(whole.weights)

    def entries(name: str) -> list[tuple[int, float]]:
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [(line["step"], line["loss"]) for line in lines if "loss" in line]

    assert entries("killed") == entries("whole")  # no step is missing and none is there twice
    assert [step for step, _ in entries("whole")] == list(range(1, 13))


def test_a_kill_before_the_first_checkpoint_starts_over(tmp_path: Path) -> None:
    run = experiment(checkpoint_steps=6)
    whole = train(run, tmp_path / "whole", dataset=ToyFrames())
    with pytest.raises(Killed):
        train(run, tmp_path / "killed", dataset=DeadlyFrames(5))
    again = train(run, tmp_path / "killed", dataset=ToyFrames())
    assert again.resumed_from == 0
    assert weights_hash(again.weights) == weights_hash(whole.weights)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    first = train(experiment(), tmp_path / "run", dataset=ToyFrames())
    before = weights_hash(first.weights)
    second = train(experiment(), tmp_path / "run", dataset=ToyFrames())
    assert (second.steps, second.resumed_from, second.loss) == (12, 12, None)
    assert weights_hash(second.weights) == before


def test_sigterm_writes_a_checkpoint_and_the_same_command_goes_on(tmp_path: Path) -> None:
    import os
    import signal

    class Terminated(ToyFrames):
        made = 0

        def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True):  # type: ignore[no-untyped-def]
            Terminated.made += 1
            if Terminated.made == 9:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().item(index, epoch, repeat, paste)

    run = experiment(checkpoint_seconds=0.0)
    whole = train(run, tmp_path / "whole", dataset=ToyFrames())
    data = replace(run.data, prefetch=0)
    with pytest.raises(KeyboardInterrupt):
        train(replace(run, data=data), tmp_path / "stopped", dataset=Terminated())
    assert len(list((tmp_path / "stopped" / "checkpoints").glob("step-*"))) == 1
    again = train(replace(run, data=data), tmp_path / "stopped", dataset=ToyFrames())
    assert 0 < again.resumed_from < 12
    assert read_equal(again.weights, whole.weights)


def read_equal(a: Path, b: Path) -> bool:
    first, second = read_weights(a), read_weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    # Without batch norm and dropout the loss is a mean over frames, so two batches of 2 are one of 4.
    model = ToyModel(dropout=0.0, norm=False)
    small = replace(experiment(steps=6, accumulate=2, ema=0.0), model=model, data=DataConfig(batch_size=2))
    large = replace(experiment(steps=6, ema=0.0), model=model, data=DataConfig(batch_size=4))
    frames = ToyFrames(frames=8)
    a = read_weights(train(small, tmp_path / "a", dataset=frames).weights)
    b = read_weights(train(large, tmp_path / "b", dataset=frames).weights)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=2e-6)


def test_the_clock_ends_a_run_and_the_rate_is_annealed_by_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("drive.train.schedule.time.monotonic", lambda: now[0])

    class Slow(ToyFrames):
        def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True):  # type: ignore[no-untyped-def]
            now[0] += 0.5  # a batch of two takes a second
            return super().item(index, epoch, repeat, paste)

    run = replace(experiment(steps=1000, max_seconds=20.0), data=DataConfig(batch_size=2, prefetch=0))
    summary = train(run, tmp_path / "run", dataset=Slow())
    assert summary.steps == 20
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in lines if "lr" in line]
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert rates[-1] < 0.02e-3
    assert lines[-1]["progress"] == 1.0


def test_bf16_keeps_coordinates_exact_and_trains(tmp_path: Path) -> None:
    class Far(ToyFrames):
        def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True):  # type: ignore[no-untyped-def]
            sample = super().item(index, epoch, repeat, paste)
            sample.points[:] = 57.123
            return sample

    seen = []

    class Model(ToyModel):
        def build(self):  # type: ignore[no-untyped-def]
            detector = super().build()
            forward = detector.forward
            detector.forward = lambda batch: seen.append(batch.points[0, 0].item()) or forward(batch)
            return detector

    run = replace(experiment(steps=1, precision="bf16-mixed", ema=0.0), model=Model())
    train(run, tmp_path / "run", dataset=Far())
    assert seen == [pytest.approx(57.123, abs=1e-5)]


def test_a_nan_in_the_input_stops_the_run_and_keeps_the_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss = nan.*input points") as caught:
        train(experiment(), tmp_path / "run", dataset=ToyFrames(bad=4))
    saved = load_saved_batch(Path(caught.value.place))
    assert "toy/4" in saved.frame_ids
    assert torch.isnan(saved.points).sum() == 1
    assert saved.batch_size == 2
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_a_gradient_that_is_not_finite_names_the_parameter(tmp_path: Path) -> None:
    class Model(ToyModel):
        def build(self):  # type: ignore[no-untyped-def]
            detector = super().build()
            detector.outer.bias.register_hook(lambda gradient: gradient * float("inf"))
            return detector

    with pytest.raises(UserError, match=r"step 0.*gradient of outer\.bias is not finite"):
        train(replace(experiment(), model=Model()), tmp_path / "run", dataset=ToyFrames())


def test_gradients_are_clipped_to_the_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    step = torch.optim.AdamW.step

    def spy(self, *a, **k):  # type: ignore[no-untyped-def]
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        return step(self, *a, **k)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    train(experiment(steps=3, clip_norm=0.5), tmp_path / "run", dataset=ToyFrames())
    assert norms == [pytest.approx(0.5, rel=1e-4)] * 3


def test_pasting_ends_with_its_share_of_the_training(tmp_path: Path) -> None:
    asked = []

    class Spy(ToyFrames):
        def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True):  # type: ignore[no-untyped-def]
            asked.append(paste)
            return super().item(index, epoch, repeat, paste)

    run = replace(experiment(steps=10), data=DataConfig(batch_size=2, prefetch=0))
    train(run, tmp_path / "run", dataset=Spy())
    assert asked == [True] * 18 + [False] * 2  # 0.9 of ten steps of two frames


@pytest.mark.parametrize(
    ("content", "message"), [("stranger", "not empty and not a run"), ("config", "another configuration")]
)
def test_a_foreign_folder_is_left_alone(tmp_path: Path, content: str, message: str) -> None:
    folder = tmp_path / "run"
    if content == "stranger":
        folder.mkdir()
        (folder / "thesis.tex").write_text("precious")
    else:
        train(experiment(steps=1), folder, dataset=ToyFrames())
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UserError, match=message):
        train(experiment(steps=2), folder, dataset=ToyFrames())
    assert sorted(path.name for path in folder.iterdir()) == before


def test_too_few_frames_for_a_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot fill a batch of 2"):
        train(experiment(), tmp_path / "run", dataset=ToyFrames(frames=1))


def test_the_header_says_what_ran(tmp_path: Path) -> None:
    run = experiment(steps=2)
    summary = train(run, tmp_path / "run", dataset=ToyFrames())
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])["header"]
    assert first["hash"] == run.hash()
    assert first["versions"]["torch"]
    assert set(first["kernels"]) >= {"voxelize", "segment"}
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert weights_about(summary.weights) == {
        "experiment": "toy", "hash": run.hash(), "step": "2", "kind": "averaged",
    }  # fmt: skip
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == dataclasses.asdict(run) | {
        "data": json.loads(json.dumps(dataclasses.asdict(run.data))),
        "train": json.loads(json.dumps(dataclasses.asdict(run.train))),
    }


def test_fine_tuning_reports_what_does_not_fit(tmp_path: Path) -> None:
    detector = ToyModel().build()
    weights = detector.state_dict()
    weights["stranger"] = torch.zeros(1)
    del weights["outer.bias"]
    weights["outer.weight"] = torch.zeros(5, 16)
    path = tmp_path / "start.safetensors"
    save_weights(path, weights, {})
    with pytest.raises(UserError, match=r"1 mismatched \(outer\.weight: \[5, 16\], \[3, 16\]\)"):
        train(experiment(init_from=str(path)), tmp_path / "a", dataset=ToyFrames())
    report = load_weights(ToyModel().build(), path, strict=False, skip_mismatched=True)
    assert (report.missing, report.unexpected) == (("outer.bias",), ("stranger",))
    assert report.mismatched == ("outer.weight: [5, 16], [3, 16]",)
    train(experiment(init_from=str(path), init_skip_mismatched=True, steps=1), tmp_path / "b", dataset=ToyFrames())
    other = tmp_path / "other.safetensors"
    save_weights(other, {"nothing": torch.zeros(1)}, {})
    with pytest.raises(UserError, match="another model"):
        load_weights(ToyModel().build(), other, strict=False)
    other.write_bytes(b"rubbish")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_weights(ToyModel().build(), other)
    with pytest.raises(UserError, match="no such file"):
        read_weights(tmp_path / "absent.safetensors")


def test_fine_tuning_starts_from_the_given_weights(tmp_path: Path) -> None:
    detector = ToyModel().build()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.fill_(0.125)
    path = tmp_path / "start.safetensors"
    save_weights(path, detector.state_dict(), {})
    run = experiment(init_from=str(path), steps=1, learning_rate=0.0, weight_decay=0.0)
    trained = read_weights(train(run, tmp_path / "run", dataset=ToyFrames()).weights)
    assert torch.equal(trained["inner.weight"], torch.full((16, 6), 0.125))


def test_cuda_is_asked_for_where_there_is_none(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    with pytest.raises(UserError, match="no CUDA device"):
        train(experiment(device="cuda"), tmp_path / "run", dataset=ToyFrames())
    with pytest.raises(UserError, match="16-mixed needs a GPU"):
        train(experiment(precision="16-mixed"), tmp_path / "run", dataset=ToyFrames())


def test_empty_frames_train(tmp_path: Path) -> None:
    class Empty(ToyFrames):
        def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True):  # type: ignore[no-untyped-def]
            sample = super().item(index, epoch, repeat, paste)
            if index % 2:
                return replace(
                    sample,
                    points=np.zeros((0, 6), np.float32),
                    boxes=np.zeros((0, 9), np.float32),
                    labels=np.zeros(0, np.int64),
                    velocity_valid=np.zeros(0, np.bool_),
                    num_points=np.zeros(0, np.int64),
                )
            return sample

    run = replace(experiment(steps=4), model=ToyModel(norm=False))
    assert np.isfinite(train(run, tmp_path / "run", dataset=Empty()).loss)


def test_training_and_scoring_on_the_same_logs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "find_logs", lambda folders, split: [tmp_path / name for name in folders])
    run = ToyExperiment(data=DataConfig(train_logs=("a", "b"), val_logs=("b",)))
    with pytest.raises(UserError, match=r"1 logs are trained on and scored on \(b\)"):
        setup.training_set(run, tmp_path, None)  # type: ignore[arg-type]


def test_unused_config_fields_are_documented() -> None:
    for config in (TrainConfig, DataConfig):
        for field in dataclasses.fields(config):
            assert f"        {field.name}: " in (config.__doc__ or ""), f"{config.__name__}.{field.name}"
