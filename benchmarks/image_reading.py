"""Images of a frame, from a log's bytes to a network's uint8: ours beside torchvision's decoder and resize.

``python -m benchmarks.image_reading LOG [LOG ...]`` reads the images of each log's first frame at 256 x 704 (and at the
recorded width) and writes ``results/image_reading.json``: processor milliseconds an image, both sides in turn in one
process with one thread each, the median of the repeats and their spread; and of a whole training sample with and
without images, so that it is clear how many workers a training step needs. torchvision decodes at full size and
scales with antialiasing, as a DataLoader usually does; it is left out, with the reason, where it does not import.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from drive.logs.store import Log
from drive.samples.augment.config import AugmentConfig
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.frame_dataset import FrameDataset
from drive.samples.image_decode import choose_cut, decode, picture_size
from drive.samples.images import ImageConfig

VARIED = {"resize": (0.94, 1.11), "crop_jitter": 0.02, "flip": 0.5, "rotate_deg": 5.4}


def torchvision_reader(config: ImageConfig) -> Callable[[bytes], Any] | str:
    """A function of bytes, or why there is none."""
    try:
        from torchvision.io import ImageReadMode, decode_image
        from torchvision.transforms.v2 import functional
    except Exception as error:  # a mismatch with torch raises whatever its registration raises
        return f"{type(error).__name__}: {error}"
    height, width = config.size

    def read(data: bytes) -> Any:
        picture = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        scaled = functional.resize(picture, [round(picture.shape[1] * width / picture.shape[2]), width], antialias=True)
        return functional.crop(scaled, scaled.shape[1] - height, 0, height, width)

    return read


def milliseconds(work: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Processor time of each, in turn."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, function in work.items():
            begin = time.thread_time()
            function()
            taken[name].append((time.thread_time() - begin) * 1e3)
    return {n: {"median": round(statistics.median(t), 2), "min": round(min(t), 2), "max": round(max(t), 2)}
            for n, t in taken.items()}  # fmt: skip


def measure(path: Path, size: tuple[int, int], repeats: int) -> dict[str, Any]:
    """One log at one size."""
    log, config = Log.open(path), ImageConfig(size=size)
    frame = log.frame(0)
    cameras = sorted(name for name in frame.rows if log.sensors[name].modality == "camera")
    pictures = [log.image(name, frame.rows[name]).data for name in cameras]
    recorded = picture_size(pictures[0])
    varied = ImageConfig(size=size, **VARIED)  # type: ignore[arg-type]
    cuts = [choose_cut(recorded, varied, np.random.default_rng(i)) for i in range(len(pictures))]
    plain = choose_cut(recorded, config)
    work: dict[str, Callable[[], Any]] = {
        "ours": lambda: [decode(data, plain, size) for data in pictures],
        "ours_varied": lambda: [decode(data, cut, size) for data, cut in zip(pictures, cuts, strict=True)],
    }
    peer = torchvision_reader(config)
    if not isinstance(peer, str):
        work["torchvision"] = lambda: [peer(data) for data in pictures]
    for function in work.values():
        function()  # compiles
    times = milliseconds(work, repeats)
    an_image = {n: {k: round(v / len(pictures), 2) for k, v in t.items()} for n, t in times.items()}
    sets = {
        name: FrameDataset([path], NUSCENES_CLASSES, images=images, augment=AugmentConfig())
        for name, images in (("with_images", varied), ("lidar_only", None))
    }
    for dataset in sets.values():
        dataset.item(0)  # compiles
    samples = milliseconds({n: lambda d=d: d.item(0) for n, d in sets.items()}, repeats)  # type: ignore[misc]
    row: dict[str, Any] = {
        "log": log.name, "images": len(pictures), "recorded": recorded,
        "bytes_an_image": sum(map(len, pictures)) // len(pictures), "size": size,
        "ms_an_image": an_image, "ms_a_training_sample": samples,
    }  # fmt: skip
    if isinstance(peer, str):
        row["torchvision"] = peer
    else:
        row["torchvision_over_ours"] = round(an_image["torchvision"]["median"] / an_image["ours"]["median"], 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "image_reading.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for path in args.logs:
        log = Log.open(path)
        width = next(s.width for s in log.sensors.values() if s.modality == "camera")
        rows.append(measure(path, (256, 704), args.repeats))
        if width is not None and width < 704:
            rows.append(measure(path, (160, width), args.repeats))
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__, "threads": 1}
    args.out.write_text(json.dumps({"rows": rows, "machine": machine}, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
