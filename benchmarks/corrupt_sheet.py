"""Pictures of every corruption at three severities, to be looked at: one sheet of the lidar, one of a camera.

``python -m benchmarks.corrupt_sheet LOG --frame 3 --out FOLDER`` writes ``<log>_lidar.png`` (from above, points
coloured by height) and ``<log>_camera.png`` (with the lidar's points where they do not belong): a row a corruption, the
recorded frame first. What is drawn by chance may spare a frame at every severity; ``--seed`` sets another chance than
MultiCorrupt's 1000.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from drive.geometry.rigid import transform_points
from drive.logs.store import Log
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.config import DataConfig
from drive.samples.corrupt.config import CORRUPTIONS, SEED, CorruptConfig
from drive.samples.corrupt.scan import SEVERITIES
from drive.samples.frame_dataset import FrameDataset
from drive.samples.images import ImageConfig
from drive.samples.sample import FrameSample
from drive.view.bev import draw_ground
from drive.view.frames import front_camera
from drive.view.ink import font

GAP, HEAD = 6, 22
REACH_M = 50.0
LABEL_PX = 150
MISPLACED = ("spatial_misalignment", "temporal_misalignment", "calibration_shift", "time_shift")


def sample_of(log: Log, frame: int, images: ImageConfig | None, corrupt: CorruptConfig | None) -> FrameSample:
    """A frame of a log with failing sensors."""
    data = DataConfig(class_map=NUSCENES_CLASSES, images=images, corrupt=corrupt, interpolated=True)
    dataset = FrameDataset.of(data, [log.path], interpolated=True)
    row = next(i for i, (_, index) in enumerate(dataset.frames) if index == frame)
    return dataset[row]


def above(sample: FrameSample, size: int) -> Image.Image:
    """The points from above, whichever lidar gave them."""
    ground = draw_ground(sample.points[:, :4], size_px=size, range_m=(-REACH_M, -REACH_M, REACH_M, REACH_M))
    return ground.image.resize((size, size), Image.Resampling.LANCZOS)


def ahead(sample: FrameSample, camera: str, width: int, points: bool) -> Image.Image:
    """The camera's picture, with the lidar's points in it (near ones red) where these no longer fit."""
    assert sample.images is not None
    i = sample.images.names.index(camera)
    picture = Image.fromarray(sample.images.pixels[i])
    if points and sample.images.present[i]:
        draw = ImageDraw.Draw(picture)
        placed = transform_points(sample.images.camera_from_ego[i], sample.points[:, :3])
        placed = placed[placed[:, 2] > 1]
        pixels = placed @ sample.images.intrinsics[i].T
        for (u, v), depth in zip(pixels[:, :2] / pixels[:, 2:], placed[:, 2], strict=True):
            near = float(np.clip(depth / REACH_M, 0, 1))
            colour = (round(255 * (1 - near)), round(160 * near + 60), round(255 * near))
            draw.rectangle((u - 1.5, v - 1.5, u + 1.5, v + 1.5), fill=colour)
    return picture.resize((width, round(width * picture.height / picture.width)), Image.Resampling.LANCZOS)


def sheet(rows: dict[str, list[Image.Image]], title: str) -> Image.Image:
    """Rows of pictures of one size under a head."""
    width, height = next(iter(rows.values()))[0].size
    columns = len(SEVERITIES) + 1
    out = Image.new("RGB", (LABEL_PX + columns * (width + GAP), HEAD + len(rows) * (height + GAP)), (255, 255, 255))
    draw = ImageDraw.Draw(out)
    draw.text((4, 3), title, fill=(0, 0, 0), font=font(13))
    for c in range(columns):
        text = f"severity {c}" if c else "recorded"
        draw.text((LABEL_PX + c * (width + GAP) + 4, 3), text, fill=(0, 0, 0), font=font(13))
    for r, (name, pictures) in enumerate(rows.items()):
        top = HEAD + r * (height + GAP)
        draw.text((4, top + height // 2 - 8), name.replace("_", "\n"), fill=(0, 0, 0), font=font(13))
        for c, picture in enumerate(pictures):
            out.paste(picture, (LABEL_PX + c * (width + GAP), top))
    return out


def main() -> None:
    """Write both sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--frame", type=int, default=0)
    parser.add_argument("--camera", default="", help="the one that looks ahead unless named")
    parser.add_argument("--out", type=Path, default=Path("runs/corrupt_sheet"))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", nargs="*", default=list(CORRUPTIONS), choices=list(CORRUPTIONS))
    a = parser.parse_args()
    log = Log.open(a.log)
    camera = a.camera or front_camera(log, a.frame)
    images = None
    if camera:
        sensor = log.sensors[camera]
        width = min(sensor.width or 800, 800)
        height = round(width * (sensor.height or 450) / (sensor.width or 800))
        images = ImageConfig(cameras=(camera,), size=(height, width))
    a.out.mkdir(parents=True, exist_ok=True)
    lidar_rows: dict[str, list[Image.Image]] = {}
    camera_rows: dict[str, list[Image.Image]] = {}
    clean = sample_of(log, a.frame, images, None)
    for name in a.only:
        touches = CORRUPTIONS[name].touches
        made = [clean, *(sample_of(log, a.frame, images, CorruptConfig(name, s, a.seed)) for s in SEVERITIES)]
        if "lidar" in touches:
            lidar_rows[name] = [above(sample, 300) for sample in made]
            kept = [len(sample.points) for sample in made]
            print(f"{name}: points {kept}")
        if camera and ("camera" in touches or name in MISPLACED):
            misplaced = name in MISPLACED
            camera_rows[name] = [ahead(sample, camera, 360, misplaced) for sample in made]
    for kind, rows in (("lidar", lidar_rows), ("camera", camera_rows)):
        if rows:
            file = a.out / f"{log.name}_{kind}.png"
            sheet(rows, f"{log.name}, {a.frame}").save(file)
            print(file)


if __name__ == "__main__":
    main()
