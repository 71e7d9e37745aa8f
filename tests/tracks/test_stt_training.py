"""Training of STT: as any recipe, gone on with after a kill to the bit; it learns; other runs are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from drive.errors import UserError
from drive.recipes import load_recipe
from drive.stt_run import SttTracking
from drive.tracks.history_data import TrackDataset
from drive.train.loop import train
from tests.tracks.stt_world import HISTORY, experiment


def test_trained_killed_and_gone_on_with_to_the_bit(tmp_path: Path) -> None:
    """As any recipe: `train` on the logs that it names; the loss falls; stopped at a checkpoint, it ends the same."""
    made = experiment(tmp_path, steps=12)
    whole = train(made, tmp_path / "whole")
    dataset = TrackDataset.of(made.data, [Path(made.data.train_logs[0])], HISTORY, made.seed)  # type: ignore[arg-type]

    class Deadly(TrackDataset):
        left = 13

        def item(self, *arguments: int, **more: bool) -> dict[str, np.ndarray]:  # type: ignore[override]
            Deadly.left -= 1
            if Deadly.left < 0:
                raise RuntimeError("killed")
            return dataset.item(*arguments, **more)

    deadly = Deadly(dataset.histories, HISTORY, made.data, made.seed, ["world"])  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="killed"):
        train(made, tmp_path / "killed", dataset=deadly)
    again = train(made, tmp_path / "killed")
    assert (again.resumed_from, again.steps) == (4, 12)
    assert (tmp_path / "killed/weights.safetensors").read_bytes() == whole.weights.read_bytes()


def test_a_tracker_learns_its_world(tmp_path: Path) -> None:
    """A hundred steps: the right detection is the likeliest, and false ones are believed in less."""
    torch.manual_seed(0)
    made = experiment(tmp_path, steps=100)
    train(made, tmp_path / "run")
    net = SttTracking(str(tmp_path / "run")).build().network
    dataset = TrackDataset.of(made.data, [Path(made.data.train_logs[0])], HISTORY, 0)  # type: ignore[arg-type]
    batch = dataset.collate([dataset.plain(k) for k in range(len(dataset))])
    with torch.inference_mode():
        output = net(batch)
    right = (output.association.logits.argmax(dim=1) == batch.match).float()
    assert right.mean() > 0.85
    sure = batch.born_weight > 0
    born = torch.sigmoid(output.born)
    assert born[sure & (batch.born > 0)].mean() > born[sure & (batch.born == 0)].mean() + 0.3


def test_a_run_that_is_no_stt(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(load_recipe("configs.town_pillars").to_json())
    with pytest.raises(UserError, match="a run of PillarsConfig, which finds boxes"):
        SttTracking(str(tmp_path)).build()
