"""What cameras cost at nuScenes' size on a CPU: the fused detector's forward beside the lidar's alone, and sampling.

``python -m benchmarks.camera_speed LOG`` takes a converted log with lidar and cameras (nuScenes, or the town, whose
sweeps have as many points): one frame, ten sweeps, six images of 256 x 704. The sides take turns in one process, their
least times count; ``results/camera_speed.json``. Processor seconds stand beside seconds: on a machine that others use
they alone can be compared. Weights are fresh, so the foreground keeps next to no voxel and the heads cost next to
nothing: a trained detector's ratio is a little lower.

The plain torch side of the sampling projects camera by camera, keeps each point's best camera, and reads its visible
points with grid_sample. mmcv has nothing for this: its point_sample is grid_sample, its CPU build has no deformable
attention, and there are no wheels of it for current torch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from drive.boxes.detector import SWFormerConfig
from drive.features.images import ImageNetConfig
from drive.recipes import load_recipe
from drive.samples.batch import FrameBatch, collate
from drive.samples.config import DataConfig
from drive.samples.frame_dataset import FrameDataset
from drive.voxels.voxelize import voxelize_points
from ops.camera_sample import Cameras, project_points, sample_pairs

NETS = {"resnet34": (8, 128), "plain": (8, 64)}
"""Stride and channels of each image net's map."""
BF16 = ", bf16"


def one_frame(log: Path, index: int) -> tuple[SWFormerConfig, FrameBatch]:
    """The recipe's model and one frame of a log as the recipe reads it, without augmentation."""
    recipe = load_recipe("configs.nuscenes_deepfusion")
    assert isinstance(recipe.model, SWFormerConfig)
    assert isinstance(recipe.data, DataConfig)
    return recipe.model, collate([FrameDataset.of(recipe.data, [log])[index]])


def watch(module: nn.Module, name: str, least: dict[str, float]) -> None:
    """Keeps the least processor seconds of a module's forward."""
    began: list[float] = []
    module.register_forward_pre_hook(lambda *_: began.append(time.process_time()))

    def done(*_: Any) -> None:
        seconds = time.process_time() - began.pop()
        least[name] = round(min(least.get(name, seconds), seconds), 5)

    module.register_forward_hook(done)


def turns(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """Least seconds and processor seconds of each side; the first turn, which compiles, does not count."""
    least: dict[str, dict[str, float]] = {}
    for turn in range(rounds + 1):
        for name, call in sides.items():
            began = time.perf_counter(), time.process_time()
            call()
            found = {"seconds": time.perf_counter() - began[0], "processor": time.process_time() - began[1]}
            if turn:
                before = least.get(name, found)
                least[name] = {key: round(min(before[key], value), 5) for key, value in found.items()}
    return least


def ratio(seconds: dict[str, dict[str, float]], one: str, other: str) -> dict[str, float]:
    """How many times as long the one side takes."""
    return {key: round(seconds[one][key] / seconds[other][key], 2) for key in seconds[one]}


def forward(config: SWFormerConfig, batch: FrameBatch, rounds: int) -> dict[str, Any]:
    """The detector without and with cameras, by image net, in float32 and in bfloat16."""
    assert config.fusion is not None
    models: dict[str, nn.Module] = {"lidar": replace(config, fusion=None).build()}
    for name, (stride, channels) in NETS.items():
        images = ImageNetConfig(backbone=name, channels=channels, out_strides=(stride,))
        models[f"fused, {name}"] = replace(config, fusion=replace(config.fusion, images=images)).build()
    stages: dict[str, dict[str, float]] = {}
    sides: dict[str, Callable[[], Any]] = {}
    for name, model in models.items():
        model.eval()
        if name != "lidar":
            stages[name] = {}
            for part in ("fusion", "fusion.images", "fusion.attend", "fusion.fuse"):
                watch(model.get_submodule(part), part, stages[name])
        for narrow in (False, True):
            sides[f"{name}{BF16 * narrow}"] = partial(_run, model, batch, narrow)
    with torch.inference_mode():
        seconds = turns(sides, rounds)
    ratios = {name: ratio(seconds, name, f"lidar{BF16 * name.endswith(BF16)}") for name in seconds}
    parameters = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    return {
        "seconds": seconds,
        "times the lidar's": ratios,
        "least processor seconds of parts": stages,
        "parameters": parameters,
    }


def _run(model: nn.Module, batch: FrameBatch, narrow: bool) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
        return model(batch)


def best_only(points: Tensor, cameras: Cameras, maps: Tensor) -> Tensor:
    """Plain torch: [P, C], each point's features in its best camera, 0 where none sees it. No lens, one frame."""
    table = cameras.table.float()
    homogeneous = torch.cat((points[:, :3], torch.ones_like(points[:, :1])), 1)
    places, margins = [], []
    for row in table:
        pose, inner, size = row[:12].view(3, 4), row[12:18].view(2, 3), row[24:]
        x, y, depth = (homogeneous @ pose.T).unbind(1)
        flat = torch.stack((x, y, depth), 1) / depth[:, None].clamp(min=1e-5)
        place = (flat @ inner.T + 0.5) / size
        margin = (torch.minimum(place, 1 - place) * size).amin(1)
        places.append(place)
        margins.append(torch.where((depth > 0.1) & (margin >= 0), margin, -torch.inf))
    value, best = torch.stack(margins).max(0)
    out = maps.new_zeros(len(points), maps.shape[1])
    for n, place in enumerate(places):
        rows = ((best == n) & (value > -torch.inf)).nonzero()[:, 0]
        grid = (2 * place[rows] - 1)[None, None]
        found = grid_sample(maps[n : n + 1], grid, align_corners=False)[0, :, 0].T
        out = out.index_copy(0, rows, found)
    return out


def sampling(config: SWFormerConfig, batch: FrameBatch, rounds: int) -> dict[str, Any]:
    """Projection and sampling at the recipe's size, our operator beside plain torch, and both with gradients."""
    assert batch.images is not None
    assert batch.recorded_xyz is not None
    voxels = voxelize_points(batch.points, batch.point_batch, config.grid, 1)
    points, cameras = batch.recorded_xyz[voxels.order], batch.images.cameras
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(len(cameras.table), 128, 32, 88, generator=generator).contiguous(
        memory_format=torch.channels_last
    )
    leaf = maps.clone().requires_grad_()

    def ours(features: Tensor) -> Tensor:
        pairs = project_points(points, cameras, best=True)
        return features.new_zeros(len(points), 128).index_copy(0, pairs.point, sample_pairs(features, pairs))

    def pairs_only() -> Tensor:
        return sample_pairs(maps, project_points(points, cameras, best=True))

    # The plain side computes in float32: a point may lie 1e-3 pixels off, at an image's border in another camera.
    differs = ((ours(maps) - best_only(points, cameras, maps)).abs().amax(1) > 2e-2).float().mean()
    if differs > 1e-3:
        raise AssertionError(f"{100 * differs:.2f} % of the points have other features in plain torch")
    sides: dict[str, Callable[[], Any]] = {
        "ours": pairs_only,
        "torch": lambda: best_only(points, cameras, maps),
        "ours, and gradient": lambda: torch.autograd.grad(ours(leaf).sum(), leaf),
        "torch, and gradient": lambda: torch.autograd.grad(best_only(points, cameras, leaf).sum(), leaf),
    }
    seconds = turns(sides, rounds)
    seen = int(project_points(points, cameras, best=True).offsets[-1])
    return {
        "points": len(points),
        "seen": seen,
        "pillars": len(voxels.coords),
        "seconds": seconds,
        "times ours": ratio(seconds, "torch", "ours"),
        "times ours, with gradient": ratio(seconds, "torch, and gradient", "ours, and gradient"),
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--frame", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "camera_speed.json")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    config, batch = one_frame(a.log, a.frame)
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "threads": a.threads}
    document: dict[str, Any] = {"machine": machine | {"torch": torch.__version__, "load_average": os.getloadavg()}}
    document["sampling"] = sampling(config, batch, a.rounds)
    document["forward"] = forward(config, batch, a.rounds)
    unfinished = a.out.with_suffix(".partial")
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.replace(a.out)
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
