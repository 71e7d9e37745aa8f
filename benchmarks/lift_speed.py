"""Lift pooling beside its peers, and the fused detectors beside the lidar's alone, at nuScenes' size on a CPU.

``python -m benchmarks.lift_speed LOG [--lss FOLDER]`` takes a converted log with lidar and six cameras (nuScenes, or
the town, whose sweeps have as many points): one frame, ten sweeps, images of 256 x 704. Outputs are compared before
anything is timed, the sides take turns in one process, their least times count; ``results/lift_speed.json``. Processor
seconds stand beside seconds: on a machine that others use they alone can be compared.

Peers of the pooling: torch's outer product and index_add, and Lift-Splat's own code where --lss names a checkout of
nv-tlabs/lift-splat-shoot. bev_pool of BEVFusion and BEVDet, and BEVDepth's voxel_pooling, are CUDA kernels alone.
Weights are fresh: a trained detector decodes, and costs, the same.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from benchmarks.camera_speed import ratio, turns, watch
from drive.boxes.detector import PillarsConfig
from drive.boxes.groups import NUSCENES_GRID, NUSCENES_GROUPS
from drive.boxes.voxel_detector import VoxelConfig
from drive.features.images import ImageNetConfig
from drive.features.lift import LiftConfig
from drive.features.lift_depth import DepthBins
from drive.features.lift_plan import augmented_cameras, batch_cameras
from drive.features.pillars import DenseConfig
from drive.features.point_encoder import PointEncoderConfig
from drive.recipes import load_recipe
from drive.samples.batch import FrameBatch, collate
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.config import DataConfig
from drive.samples.frame_dataset import FrameDataset
from drive.voxels.grid import GridSpec
from ops.lift_pool import lift_pool, plan_cameras
from ops.lift_pool.bench import outer_product

MAP, CHANNELS = (32, 88), 80
GRID = GridSpec((-54.0, -54.0, -10.0, 54.0, 54.0, 10.0), (0.3, 0.3, 20.0))
DEPTHS = DepthBins(1.0, 60.0, 0.5)


def frame(log: Path, index: int) -> FrameBatch:
    """One frame as nuscenes_bevfusion reads it, without augmentation."""
    data = load_recipe("configs.nuscenes_bevfusion").data
    assert isinstance(data, DataConfig)
    return collate([FrameDataset.of(data, [log])[index]])


def lift_splat(folder: Path) -> Callable[[Tensor, Tensor], Tensor]:
    """voxel_pooling of Lift-Splat's model: (places, lifted features) -> map [B, C, x, y]."""
    # Its package imports its training, and the module its image net: neither is wanted here.
    package, unused = ModuleType("src"), ModuleType("efficientnet_pytorch")
    package.__path__ = [str(folder / "src")]
    unused.EfficientNet = None  # type: ignore[attr-defined]
    sys.modules |= {"src": package, "efficientnet_pytorch": unused}
    model = importlib.import_module("src.models").LiftSplatShoot
    low, size = torch.tensor(GRID.range[:3]).double(), torch.tensor([*GRID.cell_size, GRID.voxel_size[2]]).double()
    nz, ny, nx = GRID.shape
    given = SimpleNamespace(bx=low + size / 2, dx=size, nx=torch.tensor([nx, ny, nz]), use_quickcumsum=True)
    return partial(model.voxel_pooling, given)


def pooling(batch: FrameBatch, lss: Path | None, rounds: int) -> dict[str, Any]:
    """Pooling of BEVFusion's size: outputs compared, then timed, forward and with the gradient."""
    _, recorded = batch_cameras(batch)
    cameras, depths = augmented_cameras(recorded, batch.recorded_from_augmented), DEPTHS.values()
    cell = (*GRID.cell_size, GRID.voxel_size[2])
    make = partial(plan_cameras, cameras, depths, MAP, GRID.range, cell)
    plan, n = make(), len(cameras.table)
    g = torch.Generator().manual_seed(0)
    depth = torch.randn(n, DEPTHS.count, *MAP, generator=g).softmax(1)
    context = torch.randn(n, CHANNELS, *MAP, generator=g).contiguous(memory_format=torch.channels_last)

    # Lift-Splat finds the cells itself: each place is given as the centre of its cell, so that no border is in doubt.
    _, ny, nx = GRID.shape
    index = torch.stack([plan.cells % nx, plan.cells // nx % ny, torch.zeros_like(plan.cells)], -1)
    places = torch.tensor(GRID.range[:3]).double() + (index + 0.5) * torch.tensor(cell).double()
    places[plan.cells < 0] = 1e6
    peers: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"index_add": partial(outer_product, plan=plan)}
    if lss is not None:
        theirs = lift_splat(lss)

        def cumsum(d: Tensor, c: Tensor) -> Tensor:
            lifted = (d[:, None] * c[:, :, None]).permute(0, 2, 3, 4, 1)[None]
            return theirs(places[None], lifted).transpose(2, 3)

        peers["Lift-Splat"] = cumsum
    exact = outer_product(depth.double(), context.double(), plan)
    error = {"ours": float((lift_pool(depth, context, plan) - exact).abs().max())}
    error |= {name: float((call(depth, context) - exact).abs().max()) for name, call in peers.items()}
    assert max(error.values()) < 1e-3, error

    calls: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ours": partial(lift_pool, plan=plan), **peers}
    sides: dict[str, Callable[[], Any]] = {name: partial(call, depth, context) for name, call in calls.items()}
    sides["plan alone"] = make
    for name in ("ours", "index_add"):
        sides[f"{name}, gradient"] = partial(_gradient, calls[name], depth, context)
    seconds = turns(sides, rounds)
    times = {name: ratio(seconds, name, "ours") for name in peers}
    times["index_add, gradient"] = ratio(seconds, "index_add, gradient", "ours, gradient")
    return {"places in the grid": len(plan.place), "largest error": error, "seconds": seconds, "times ours": times}


def _gradient(call: Callable[[Tensor, Tensor], Tensor], depth: Tensor, context: Tensor) -> Any:
    d, c = depth.clone().requires_grad_(), context.clone().requires_grad_()
    return torch.autograd.grad(call(d, c).sum(), (d, c))


def pillars(backbone: str, down: int, channels: int) -> PillarsConfig:
    """PointPillars at nuScenes' size, heads at 0.64 m; an image net at stride 8, cells of 0.32 m halved or 0.64 m."""
    cell = 0.64 / down
    grid = GridSpec((*NUSCENES_GRID.range[:2], -10.0, *NUSCENES_GRID.range[3:5], 10.0), (cell, cell, 20.0))
    images = ImageNetConfig(backbone, channels=128 if down == 2 else 64, out_strides=(8,))
    return PillarsConfig(
        classes=NUSCENES_CLASSES.names,
        groups=NUSCENES_GROUPS,
        grid=NUSCENES_GRID,
        encoder=PointEncoderConfig("pointnet", frames=10, frame_period_s=0.05, scale_xy=54.4),
        dense=DenseConfig(strides=(2, 2, 2), out_stride=2),
        lift=LiftConfig(images, grid, DEPTHS, channels, down, lidar_depth=True),
    )


def forward(config: PillarsConfig | VoxelConfig, batch: FrameBatch, rounds: int) -> dict[str, Any]:
    """A detector without and with its lift, and what the lift's parts take."""
    models = {"lidar": replace(config, lift=None).build().eval(), "fused": config.build().eval()}
    parts: dict[str, float] = {}
    lift = models["fused"].get_submodule("lift")
    watch(lift, "lift", parts)
    for name in ("images", "depth_encoder", "depth_net", "down"):
        watch(lift.get_submodule(name), name, parts)
    with torch.inference_mode():
        seconds = turns({name: partial(model, batch) for name, model in models.items()}, rounds)
    parameters = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    times = ratio(seconds, "fused", "lidar")
    return {
        "seconds": seconds,
        "times the lidar's": times,
        "least processor seconds of parts": parts,
        "parameters": parameters,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--lss", type=Path)
    parser.add_argument("--frame", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", nargs="*", default=[], help="only these; the others stay as the result has them")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "lift_speed.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    batch = frame(given.log, given.frame)
    assert batch.images is not None
    bevfusion = load_recipe("configs.nuscenes_bevfusion").model
    assert isinstance(bevfusion, VoxelConfig)
    report: dict[str, Any] = {
        "command": "python -m benchmarks.lift_speed " + " ".join(sys.argv[1:]).replace(str(given.lss), "LSS"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "threads": given.threads,
        "load": os.getloadavg(),
        "points": len(batch.points),
        "images": list(batch.images.pixels.shape),
    }
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "pillars, ResNet-34": lambda: forward(pillars("resnet34", 2, CHANNELS), batch, given.rounds),
        "pillars, plain": lambda: forward(pillars("plain", 1, 32), batch, given.rounds),
        "pooling": lambda: pooling(batch, given.lss, given.rounds),
        "nuscenes_bevfusion, Swin-T": lambda: forward(bevfusion, batch, given.rounds),
    }
    if given.parts and given.out.exists():
        report = json.loads(given.out.read_text())
    for name in given.parts or parts:
        report[name] = parts[name]()
        print(name, json.dumps(report[name], indent=1), flush=True)
        given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
