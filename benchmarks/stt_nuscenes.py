"""STT on nuScenes' mini scenes with stored detections, each scene followed by a network that was trained on the others.

``python -m benchmarks.stt_nuscenes LOGS DETECTOR=DETECTIONS ... [--seeds 0 1 2] [--work runs/stt_nuscenes]`` writes
``<work>/<detector>/fold<k>_seed<s>/tracks.arrow``, scene k in the order of names; the table is
``benchmarks.nuscenes_tracking_study ... --stt DETECTOR=<work>/<detector>``. LOGS: ``drive convert scenarionet``;
DETECTIONS: ``drive convert ab3dmot_detections``. The same command goes on where it was stopped. The weights are made of
recordings that may not be passed on: they stay in --work.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.stt_kitti import tracked
from drive.boxes.detections import read_detections
from drive.logs.store import list_logs
from drive.recipes import load_recipe, override
from drive.tracks.history_data import TrackDataConfig, log_histories
from drive.tracks.stt_config import SttConfig


def main() -> None:
    """Whatever is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path)
    parser.add_argument("detections", nargs="+", help="DETECTOR=FILE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/stt_nuscenes"))
    arguments, words = parser.parse_known_args()
    torch.set_num_threads(1)
    recipe = override(load_recipe("configs.nuscenes_stt"), words)
    data, model = recipe.data, recipe.model
    assert isinstance(data, TrackDataConfig)
    assert isinstance(model, SttConfig)
    for detector, _, file in (word.partition("=") for word in arguments.detections):
        found = read_detections(Path(file))
        logs = [log for log in sorted(list_logs(arguments.logs)) if log.name in set(found.logs)]
        own = replace(data, train_detections=(file,))
        histories = dict(zip(logs, log_histories(own, logs, model.history), strict=True))
        for seed in arguments.seeds:
            for fold, log in enumerate(logs):
                folder = arguments.work / detector / f"fold{fold}_seed{seed}"
                tracks = tracked(replace(recipe, data=own, seed=seed), [log], histories, found, folder)
                print(f"{detector} {log.name} seed {seed}: {len(tracks.ids)} boxes", flush=True)


if __name__ == "__main__":
    main()
