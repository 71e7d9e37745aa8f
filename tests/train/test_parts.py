"""Averaged weights, parameter groups, checkpoints, the log, the watch, batches to detections."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from toy_training import ToyFrames, ToyModel

from drive.boxes.detections import Detections
from drive.errors import UserError
from drive.samples.batch import collate
from drive.samples.sample import FrameSample
from drive.train.checkpoint import list_checkpoints, read_checkpoint, save_checkpoint
from drive.train.config import TrainConfig
from drive.train.ema import Ema
from drive.train.evaluate import detect_dataset, detect_frames
from drive.train.log import RunLog, header
from drive.train.optimizer import build_optimizer
from drive.train.watch import load_saved_batch


def test_average_by_hand() -> None:
    module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    weight = module[0].weight
    with torch.no_grad():
        weight.fill_(1.0)
    ema = Ema(module, decay=0.5)
    with torch.no_grad():
        weight.fill_(3.0)
        module[1].running_mean.fill_(7.0)
    ema.update(module)  # decay min(0.5, 1 / 10): 0.1 * 1 + 0.9 * 3
    assert ema.module[0].weight.item() == pytest.approx(2.8)
    assert ema.module[1].running_mean.item() == 7.0
    ema.update(module)  # decay 2 / 11
    assert ema.module[0].weight.item() == pytest.approx(2.8 * 2 / 11 + 3.0 * 9 / 11)
    for _ in range(20):
        ema.update(module)
    assert ema.module[0].weight.item() == pytest.approx(3.0, abs=1e-3)
    assert not ema.module[0].weight.requires_grad
    assert not ema.module.training
    assert module.training
    assert ema.state_dict().keys() == module.state_dict().keys()


def test_norms_and_biases_do_not_decay() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Conv2d(1, 2, 3))
    module[2].bias.requires_grad_(False)
    decayed, rest = build_optimizer(module, TrainConfig(weight_decay=0.05)).param_groups
    assert [id(p) for p in decayed["params"]] == [id(module[0].weight), id(module[2].weight)]
    assert [id(p) for p in rest["params"]] == [id(module[0].bias), id(module[1].weight), id(module[1].bias)]
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.05, 0.0)


def write(folder: Path, step: int, keep: int = 2) -> Path:
    return save_checkpoint(
        folder,
        step,
        weights={"a": torch.full((3,), float(step))},
        ema=None,
        state={"step": step, "nested": {"x": [1]}},
        experiment_hash="abc",
        keep=keep,
    )


def test_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15, 100):
        write(tmp_path, step)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000015", "step-00000100"]
    checkpoint = read_checkpoint(list_checkpoints(tmp_path)[-1], "abc")
    assert checkpoint.state == {"step": 100, "nested": {"x": [1]}}
    assert checkpoint.weights["a"].tolist() == [100.0] * 3
    assert checkpoint.ema is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000015", "step-00000100"]  # nothing half-written
    write(tmp_path, 100)  # the same step again, after its metrics were lost
    assert len(list_checkpoints(tmp_path)) == 2


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, name: str, damage: str) -> None:
    path = write(tmp_path, 7) / name
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    with pytest.raises(UserError, match="delete this checkpoint") as caught:
        read_checkpoint(path.parent, "abc")
    assert caught.value.place.endswith(name)


def test_a_checkpoint_of_another_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="belongs to experiment abc, this is xyz"):
        read_checkpoint(write(tmp_path, 7), "xyz")


def test_a_state_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return os.system, ("true",)

    path = save_checkpoint(tmp_path, 1, weights={}, ema=None, state={"x": Evil()}, experiment_hash="abc", keep=1)
    with pytest.raises(UserError, match="not readable"):
        read_checkpoint(path, "abc")


def test_a_full_disk_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(UserError, match="No space left"):
        write(tmp_path, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_entries_behind_the_checkpoint_are_removed(tmp_path: Path) -> None:
    head = header("x", "abc", torch.device("cpu"))
    options = {"total_steps": 9, "log_every": 2, "enabled": True}
    with RunLog(tmp_path, head, step=0, **options) as log:
        for step in (1, 2, 3, 4):
            log.step(step, step / 9, {"loss": torch.tensor(float(step))}, last=False, lr=0.1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')  # killed while writing
    with RunLog(tmp_path, head, step=2, **options) as log:
        log.step(3, 3 / 9, {"loss": torch.tensor(8.0)}, last=True, lr=0.1)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line.get("loss")) for line in lines] == [(0, None), (2, 1.5), (2, None), (3, 8.0)]


def test_the_log_of_other_processes_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path, {}, step=0, total_steps=1, log_every=1, enabled=False) as log:
        log.step(1, 1.0, {"loss": torch.tensor(1.0)}, last=True)
        log.note("hello")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_a_saved_batch_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"rubbish")
    for name in ("x", "absent"):
        with pytest.raises(UserError):
            load_saved_batch(tmp_path / name)


class Finder(nn.Module):
    """Finds one box a point, in eval mode only."""

    def forward(self, batch):  # type: ignore[no-untyped-def]
        assert not self.training
        return batch

    def decode(self, batch):  # type: ignore[no-untyped-def]
        out = []
        for start, end in zip(batch.point_offsets[:-1], batch.point_offsets[1:], strict=True):
            boxes = torch.ones(int(end - start), 9)
            boxes[:, 0] = batch.points[start:end, 0]
            out.append(Detections(boxes, torch.ones(len(boxes)), torch.zeros(len(boxes), dtype=torch.int64)))
        return out


class Listed(ToyFrames):
    def __getitem__(self, index: int) -> FrameSample:
        return self.item(index)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_detections_come_in_order(batch_size: int) -> None:
    frames, finder = Listed(frames=9), Finder()
    pairs = list(detect_frames(finder, frames, batch_size=batch_size))
    assert [sample.frame_id for sample, _ in pairs] == [f"toy/{i}" for i in range(9)]
    for i, (_, found) in enumerate(pairs):
        np.testing.assert_array_equal(found.numpy()[0][:, 0], frames[i].points[:, 0])
    assert finder.training  # as it was
    joined = detect_dataset(finder, frames, ("thing",), batch_size=batch_size)
    assert joined.offsets.tolist() == list(range(0, 50, 5))


def test_no_frames_no_detections() -> None:
    assert list(detect_frames(Finder(), Listed(frames=0))) == []
    assert len(detect_dataset(Finder(), Listed(frames=0), ("thing",)).boxes) == 0


def test_the_toy_takes_batches() -> None:
    batch = collate([ToyFrames().item(0), ToyFrames().item(1)])
    assert ToyModel().build()(batch).shape == (2, 3)
