"""What the image towers cost on one core: forward and backward, number format, memory format, folded norms.

``python -m benchmarks.image_tower`` writes ``results/image_tower.json``. The sides of each comparison take turns in one
process; a number is the least processor time of ``--rounds`` (times on a shared machine: read the ratios).
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from drive.features.images import ImageNetConfig

TOWERS = {
    "plain, 12 images of 224 x 400": (ImageNetConfig("plain", channels=64), 12, (224, 400)),
    "resnet34, 1 image of 256 x 704": (ImageNetConfig("resnet34", channels=128), 1, (256, 704)),
}


def fold(module: nn.Module) -> nn.Module:
    """In place: each batch norm that follows a convolution becomes part of it (inference)."""
    before: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if before and isinstance(before[1], nn.Conv2d) and isinstance(child, nn.BatchNorm2d):
            joined = fuse_conv_bn_eval(before[1], child).to(memory_format=torch.channels_last)
            setattr(module, before[0], joined)
            setattr(module, name, nn.Identity())
        fold(child)
        before = name, child
    return module


def least(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Processor milliseconds of each side, the least of all rounds; one round before, uncounted."""
    best = dict.fromkeys(sides, float("inf"))
    for i in range(rounds + 1):
        for name, side in sides.items():
            begun = time.process_time()
            side()
            if i:
                best[name] = min(best[name], time.process_time() - begun)
    return {name: round(1e3 * seconds, 1) for name, seconds in best.items()}


def measure(config: ImageNetConfig, images: int, size: tuple[int, int], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of training steps (forward and backward) and of inference."""
    pixels = torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    net = config.build()
    still = copy.deepcopy(net).eval()
    folded = fold(copy.deepcopy(still))

    def step(backbone: nn.Module, x: Tensor, bf16: bool = False) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            maps = backbone(x)
        sum(m.float().mean() for m in maps).backward()

    def see(tower: nn.Module, bf16: bool = False) -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            tower(pixels)

    x = pixels.float().div_(255)
    rows = copy.deepcopy(net.backbone).to(memory_format=torch.contiguous_format)
    columns = x.to(memory_format=torch.channels_last)
    return {
        "training": least({"float32": lambda: step(net, pixels), "bfloat16": lambda: step(net, pixels, True)}, rounds),
        "training, backbone alone": least(
            {"channels last": lambda: step(net.backbone, columns), "contiguous": lambda: step(rows, x)}, rounds
        ),
        "inference": least(
            {
                "float32": lambda: see(still),
                "float32, norms folded": lambda: see(folded),
                "bfloat16": lambda: see(still, True),
                "bfloat16, norms folded": lambda: see(folded, True),
            },
            rounds,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the image towers on one core.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "image_tower.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    what = "processor milliseconds on one core, the least of the rounds; ratios hold, times are of a busy machine"
    result: dict[str, object] = {"what": what, "torch": torch.__version__, "machine": platform.processor()}
    for name, (config, images, size) in TOWERS.items():
        result[name] = measure(config, images, size, options.rounds)
        print(name, json.dumps(result[name]), flush=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
