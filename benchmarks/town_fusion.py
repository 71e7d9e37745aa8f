"""Do cameras help where the lidar sees little? SWFormer on the town with and without DeepFusion, class by class and by
distance.

``python -m benchmarks.town_fusion --logs LOGS`` (a town's converted logs with its training and its scoring split, as
``make demo-full`` leaves them) trains five models with several seeds and writes ``results/town_fusion.json``:

- ``lidar``: configs.town_swformer; ``lidar_longer``: the same with more steps, so that it takes at least the processor
  time that the fused model takes: "the same budget" has both readings;
- ``fused``: configs.town_deepfusion; ``unaligned``: points are projected where augmentation moved them;
- ``fused_drop``: fused, and a fifth of its training samples lose all their images.

``--models`` also takes the ablations ``mean`` and ``pixel`` (the paper's simpler aligners) and ``point`` (the output
layer on each pixel, as in the published code, not on a pillar's sum).

All share the town's recipe: mirrored left to right and front to back in half of the samples each, turned by up to
0.2 rad, scaled by up to 5 %. A mirror image alone puts a point into another camera, so three samples of four mislead an
unaligned model. ``--turn`` sets another limit of the turn (0.785 is the paper's).

Scored with nuScenes' matching by centre distance; every class counts up to 50 m, as bands of distance are asked for
(nuScenes' own ranges end at 40 m for pedestrians and bicycles, at 30 m for cones: those figures are beside them). Fused
models are scored once more without any image. All that is made is kept under ``--work``, model by model and seed by
seed: killed, the same command goes on; started twice (``OMP_NUM_THREADS=1`` each), two processes share the work.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import machine, run, run_stages, write
from drive.boxes.detections import DetectionSet
from drive.boxes.detector import SWFormerConfig
from drive.detect import load
from drive.experiment import Experiment
from drive.recipes import load_recipe
from drive.samples.config import DataConfig
from drive.samples.drop_modality import without_images
from drive.samples.frame_dataset import FrameDataset, find_logs
from drive.samples.sample import FrameSample
from drive.scores.ground_truth import load_ground_truth
from drive.scores.nuscenes_detection import DetectionMetrics, NuScenesConfig, evaluate, filter_boxes
from drive.scores.report import place_detections
from drive.train.evaluate import detect_dataset
from drive.train.loop import train

MODELS = ("lidar", "lidar_longer", "fused", "unaligned", "fused_drop")
ABLATIONS: dict[str, dict[str, Any]] = {
    "unaligned": {"align": "none"}, "mean": {"pool": "mean"}, "pixel": {"pool": "pixel"},
    "point": {"output": "point"},
}  # fmt: skip
PAIRS = (
    ("fused", "lidar"), ("fused", "lidar_longer"), ("unaligned", "lidar"), ("fused", "unaligned"),
    ("fused_drop", "lidar"), ("fused_drop without images", "fused without images"),
    ("mean", "fused"), ("pixel", "fused"), ("point", "fused"),
)  # fmt: skip
BANDS = ((0.0, 20.0), (20.0, 35.0), (35.0, 50.0))
FARTHEST = 50.0


class Blind:
    """Frames whose cameras are all missing."""

    def __init__(self, frames: FrameDataset) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> FrameSample:
        sample = self.frames[index]
        assert sample.images is not None
        return replace(sample, images=without_images(sample.images))


def recipe(name: str, seed: int, a: argparse.Namespace) -> Experiment:
    """A model's recipe with the study's logs and budget."""
    found = load_recipe("configs.town_swformer" if name.startswith("lidar") else "configs.town_deepfusion")
    model, data = found.model, found.data
    assert isinstance(model, SWFormerConfig)
    assert isinstance(data, DataConfig)
    if model.fusion is not None:
        model = replace(model, fusion=replace(model.fusion, **ABLATIONS.get(name, {})))
    turned = replace(data.augment, rotate_rad=a.turn)
    places = (str(a.logs),)
    data = replace(data, train_logs=places, val_logs=places, augment=turned)
    if name == "fused_drop":
        data = replace(data, drop_cameras=a.drop)
    steps = round(a.steps * a.longer) if name == "lidar_longer" else a.steps
    plan = replace(found.train, steps=steps, max_seconds=0.0, checkpoint_seconds=120.0)
    return replace(found, name=f"town_fusion_{name}", model=model, data=data, train=plan, seed=seed)


def stage(name: str, seed: int, a: argparse.Namespace) -> dict[str, Any]:
    """One model, one seed: trained and scored."""
    experiment = recipe(name, seed, a)
    run = a.work / "runs" / f"{name}_{seed}_{experiment.hash()}"
    spent = run / "processor_seconds.json"
    if not (run / "weights.safetensors").is_file():
        began = time.process_time()
        train(experiment, run)
        spent.write_text(json.dumps(time.process_time() - began))  # of the last part, where the training was killed
    detector = load(run)
    assert isinstance(experiment.data, DataConfig)
    data = replace(experiment.data, frame_stride=a.stride)
    logs = find_logs(data.val_logs, data.val_split)
    frames = FrameDataset.of(data, logs)
    facts: dict[str, Any] = {"model": name, "seed": seed, "recipe": experiment.hash(), "steps": experiment.train.steps}
    facts["parameters"] = sum(p.numel() for p in detector.module.parameters())
    facts["processor_seconds"] = round(json.loads(spent.read_text()), 1)
    classes, progress = detector.class_names, f"{name} {seed}"
    facts["scores"] = scored(detect_dataset(detector.module, frames, classes, batch_size=2, progress=progress), logs, a)
    if data.images is not None:
        blind = detect_dataset(detector.module, Blind(frames), classes, batch_size=2, progress=f"{progress}, blind")
        facts["scores without images"] = scored(blind, logs, a)
    return facts


def scored(found: DetectionSet, logs: list[Path], a: argparse.Namespace) -> dict[str, Any]:
    """AP of each class and band up to 50 m, and nuScenes' own mean over the classes that occur."""
    data = recipe("lidar", 0, a).data
    assert isinstance(data, DataConfig)
    truth = load_ground_truth(logs, data.class_map)
    boxes, missing, _ = place_detections(found, truth)
    looked_at = ~np.isin(truth.frames.ids, missing)  # every frame, but for a stride
    kept = truth.boxes.take(looked_at[truth.boxes.frame])

    def measured(config: NuScenesConfig) -> DetectionMetrics:
        labels, predictions = (filter_boxes(b, truth.frames, config) for b in (kept, boxes))
        return evaluate(labels, predictions, truth.frames, config)

    far = measured(NuScenesConfig(dict.fromkeys(truth.class_names, FARTHEST), range_bands_m=BANDS))
    official = measured(NuScenesConfig.for_classes(truth.class_names))
    return {
        "ap": dict(zip(truth.class_names, far.class_ap.tolist(), strict=True)),
        "band_ap": dict(zip(truth.class_names, far.band_ap.tolist(), strict=True)),
        "band_truth": dict(zip(truth.class_names, far.band_truth.tolist(), strict=True)),
        "mAP": far.mean_ap,
        "official_ap": dict(zip(truth.class_names, official.class_ap.tolist(), strict=True)),
        "official_mAP": official.mean_ap_present,
        "frames": int(looked_at.sum()),
    }


def columns(scores: dict[str, Any]) -> dict[str, float]:
    """A scored model as one row of figures."""
    row = {"mAP": scores["mAP"], "official mAP": scores["official_mAP"]}
    for name, bands in scores["band_ap"].items():
        row[name] = scores["ap"][name]
        for (low, high), ap in zip(BANDS, bands, strict=True):
            row[f"{name} {low:g}-{high:g}"] = ap
    for b, (low, high) in enumerate(BANDS):
        there = [of[b] for name, of in scores["band_ap"].items() if scores["band_truth"][name][b]]
        row[f"mean {low:g}-{high:g}"] = float(np.mean(there))
    return row


def summary(stages: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, of every model and of the differences of pairs seed by seed."""
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for s in stages:
        rows.setdefault(s["model"], {})[s["seed"]] = columns(s["scores"])
        if "scores without images" in s:
            rows.setdefault(f"{s['model']} without images", {})[s["seed"]] = columns(s["scores without images"])
    models = {name: spread(list(of.values())) for name, of in rows.items()}
    pairs = {}
    for one, other in PAIRS:
        seeds = sorted(set(rows.get(one, {})) & set(rows.get(other, {})))
        if seeds:
            found = [{k: rows[one][s][k] - rows[other][s][k] for k in rows[one][s]} for s in seeds]
            pairs[f"{one} - {other}"] = spread(found)
    return {"models": models, "pairs": pairs, "stages": stages}


def spread(rows: list[dict[str, float]]) -> dict[str, dict[str, float | int]]:
    """Of each figure: mean and standard deviation over seeds, and their number; one seed has no deviation."""
    out: dict[str, dict[str, float | int]] = {}
    for key in rows[0]:
        values = np.array([row[key] for row in rows])
        out[key] = {"mean": float(values.mean()), "seeds": len(values)}
        if len(values) > 1:
            out[key]["sd"] = float(values.std(ddof=1))
    return out


def tables(document: dict[str, Any]) -> str:
    """As Markdown: models, then differences, in points of AP."""
    some = next(iter(document["models"].values()))
    lines = []
    for part in ("models", "pairs"):
        names = list(document[part])
        lines += ["", "| AP x 100 | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for key in some:
            cells = [document[part][name][key] for name in names]
            lines.append(f"| {key} | " + " | ".join(_cell(c, signed=part == "pairs") for c in cells) + " |")
    return "\n".join(lines)


def _cell(value: dict[str, float], signed: bool) -> str:
    mean = f"{100 * value['mean']:+.1f}" if signed else f"{100 * value['mean']:.1f}"
    return f"{mean} ± {100 * value['sd']:.1f}" if "sd" in value else mean


def main() -> None:
    """Run what is missing; write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, default=Path("runs/demo-full/logs"))
    parser.add_argument("--work", type=Path, default=Path("runs/town_fusion"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "town_fusion.json")
    parser.add_argument("--steps", type=int, default=1500, help="of batches of two frames")
    parser.add_argument("--longer", type=float, default=1.5, help="steps of lidar_longer, as a multiple")
    parser.add_argument("--turn", type=float, default=0.2, help="limit of the augmentation's turn, radians")
    parser.add_argument("--drop", type=float, default=0.2, help="share of fused_drop's samples without images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=sorted({*MODELS, *ABLATIONS}))
    parser.add_argument("--stride", type=int, default=1, help="every n-th frame is scored")
    a = parser.parse_args()
    work = [(name, seed) for seed in a.seeds for name in a.models]
    folder = a.work / f"stages_{a.stride}"
    files = [folder / f"{name}_{seed}_{recipe(name, seed, a).hash()}.json" for name, seed in work]
    found = run_stages({file: partial(stage, *own, a) for own, file in zip(work, files, strict=True)})
    settings = {k: v for k, v in vars(a).items() if k not in ("work", "out", "logs")}
    document = {"machine": machine(), "settings": settings} | summary(found)
    write(a.out, document)
    print(tables(document))


if __name__ == "__main__":
    run(main)
