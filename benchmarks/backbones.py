"""Every image backbone of the specification's table: built without weights, one forward pass, what comes out.

``python -m benchmarks.backbones`` writes ``results/backbones.json``: a row a model with the strides and channels of its
levels, its parameters (without a classifier), its operations a pixel as a multiple of ResNet-34's (matrix products and
convolutions, one multiply-add counted as two), and the processor seconds to build it; the models that failed, and why.
``--only swin pvt`` takes the families whose names begin so.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from drive.features.image_timm import TimmBackbone, import_timm


def _each(prefix: str, names: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in names.split())


TABLE = {
    "ResNet": _each("resnet", "34 34d 50 50d"),
    "ResNet-RS": _each("resnetrs", "50 101 152 200 270 350 420"),
    "ResNeSt": _each("resnest", "14d 26d 50d 101e 200e 269e 50d_4s2x40d 50d_1s4x24d"),
    "Res2Net": (
        *_each("res2net", "50_26w_4s 50_26w_6s 50_26w_8s 50_48w_2s 50_14w_8s 101_26w_4s 50d 101d"),
        "res2next50",
    ),
    "ECA-ResNet": (
        *_each("ecaresnet", "26t 50d 50t light 101d 200d 269d 50d_pruned 101d_pruned"),
        *_each("ecaresnext", "26t_32x4d 50t_32x4d"),
    ),
    "Wide ResNet": ("wide_resnet50_2", "wide_resnet101_2"),
    "ResNeXt": _each("resnext", "50_32x4d 50d_32x4d 101_32x4d 101_32x8d 101_32x16d 101_32x32d 101_64x4d"),
    "DPN": _each("dpn", "48b 68 68b 92 98 107 131"),
    "VoVNet": (
        *_each("ese_vovnet", "19b_dw 39b 57b 19b_slim 99b"),
        *_each("", "eca_vovnet39b vovnet39a vovnet57a"),
    ),
    "EfficientNet": (
        *_each("efficientnet_", "b0 b1 b2 b3 b4 b5 b6 b7 b8 l2 lite0 lite1 lite2 lite3 lite4"),
        *_each("tf_efficientnet_", "b0 b1 b2 b3 b4 b5 b6 b7 b8 l2 lite0 lite1 lite2 lite3 lite4"),
    ),
    "EfficientNetV2": (
        *_each("efficientnetv2_", "s m l xl rw_t rw_s rw_m"),
        *_each("tf_efficientnetv2_", "s m l xl b0 b1 b2 b3"),
    ),
    "MobileNetV3": (
        *_each("mobilenetv3_", "large_075 large_100 large_150d small_050 small_075 small_100"),
        *_each("tf_mobilenetv3_", "large_075 large_100 large_minimal_100 small_075 small_100 small_minimal_100"),
        *_each("mobilenetv4_", "conv_small conv_medium conv_large hybrid_medium hybrid_large"),
    ),
    "MixNet": (*_each("mixnet_", "s m l xl xxl"), *_each("tf_mixnet_", "s m l")),
    "MnasNet": (*_each("mnasnet_", "050 075 100 140 small"), *_each("semnasnet_", "050 075 100 140")),
    "CoAtNet": (
        *_each("coatnet_", "0_rw_224 1_rw_224 2_rw_224 nano_rw_224 bn_0_rw_224"),
        *_each("coatnet_rmlp_", "nano_rw_224 0_rw_224 1_rw_224 1_rw2_224 2_rw_224 2_rw_384 3_rw_224"),
        *_each("coatnet_", "0_224 1_224 2_224 3_224 4_224 5_224"),
    ),
    "MaxViT": (
        *(
            f"maxvit_{size}_tf_{side}"
            for size in ("tiny", "small", "base", "large", "xlarge")
            for side in (224, 384, 512)
        ),
        *_each("maxvit_", "nano_rw_256 tiny_rw_224"),
    ),
    "PVT v2": _each("pvt_v2_", "b0 b1 b2 b3 b4 b5 b2_li"),
    "Swin": (
        *_each("swin_", "tiny_patch4_window7_224 small_patch4_window7_224 base_patch4_window7_224"),
        *_each("swin_", "large_patch4_window7_224 base_patch4_window12_384 large_patch4_window12_384"),
        *_each("swinv2_", "tiny_window8_256 tiny_window16_256 small_window8_256 small_window16_256 base_window8_256"),
        *_each("swinv2_", "base_window16_256 base_window12_192 base_window12to16_192to256 base_window12to24_192to384"),
        *_each("swinv2_", "large_window12_192 large_window12to16_192to256 large_window12to24_192to384"),
        *_each("swinv2_cr_", "tiny_224 tiny_ns_224 small_224 base_224 large_224"),
    ),
    "Inception": (
        *_each("inception_", "v3 v4 resnet_v2"),
        *_each("inception_next_", "tiny small base"),
    ),
}


def size_of(name: str) -> tuple[int, int]:
    """Height and width of the image: the least that a model takes, in multiples of 32."""
    return (96, 128) if name in ("inception_v3", "inception_v4", "inception_resnet_v2") else (64, 96)


def row(name: str) -> dict[str, Any]:
    """One model, forward once."""
    size = size_of(name)
    begun = time.process_time()
    backbone = TimmBackbone(name, image_size=size).eval()
    built = time.process_time() - begun
    counter = FlopCounterMode(display=False)
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), counter:
        maps = backbone(image)
    found = [tuple(m.shape) for m in maps]
    due = [(1, c, size[0] // s, size[1] // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)]
    if found != due:
        raise ValueError(f"gives {found}, not {due}")
    if not all(bool(torch.isfinite(m).all()) for m in maps):
        raise ValueError("gives values that are not finite")
    return {
        "size": list(size),
        "strides": list(backbone.strides),
        "channels": list(backbone.channels),
        "million_parameters": round(sum(p.numel() for p in backbone.parameters()) / 1e6, 2),
        "kflop_per_pixel": round(counter.get_total_flops() / size[0] / size[1] / 1e3, 2),
        "build_s": round(built, 2),
        "forward_s": round(time.process_time() - begun - built, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Build every image backbone of the table and run it once.")
    parser.add_argument("--only", nargs="*", default=[], help="families whose names begin so, in lower case")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "backbones.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for family, names in TABLE.items():
        if options.only and not any(family.lower().startswith(word) for word in options.only):
            continue
        for name in names:
            try:
                rows[name] = {"family": family, **row(name)}
            except Exception as error:
                failed[name] = f"{type(error).__name__}: {error}"
            print(name, rows.get(name) or failed[name], flush=True)
    base = rows.get("resnet34")
    for values in rows.values():
        if base:
            values["times_resnet34"] = round(values["kflop_per_pixel"] / base["kflop_per_pixel"], 2)
    versions = {"timm": import_timm().__version__, "torch": torch.__version__}
    what = "strides, channels and cost of image backbones; no weights; operations at the size given, by pixel"
    result = {"what": what, "versions": versions, "models": len(rows), "failed": failed, "rows": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{len(rows)} models, {len(failed)} failed -> {options.out}")


if __name__ == "__main__":
    main()
