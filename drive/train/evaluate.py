"""Run a trained detector over the frames of a data set."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal, Protocol

import torch
from rich.progress import track
from torch import nn

from drive.boxes.detections import Detections, DetectionSet
from drive.boxes.missing_images import count_missing
from drive.samples.batch import collate
from drive.samples.sample import FrameSample


class Frames(Protocol):
    """Frames by index, without augmentation (`FrameDataset` with its defaults is one)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> FrameSample: ...


def detect_frames(
    detector: nn.Module,
    frames: Frames,
    *,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
    precision: Literal["32", "bf16-mixed"] = "32",
    prefetch: int = 2,
    features: bool = False,
) -> Iterator[tuple[FrameSample, Detections]]:
    """Detections of every frame, in order, in eval mode and without gradients; on the CPU.

    Args:
        detector: `forward(batch) -> output`, `decode(output) -> one Detections a frame`; moved to `device`. Its mode
            (training or eval) is what it was when this ends.
        frames: What to look at.
        batch_size: Frames at a time.
        device: Where to compute.
        precision: "bf16-mixed" runs the forward pass under autocast.
        prefetch: Batches read ahead by a thread.
        features: Also what the detector saw at each box: `decode(output, features=True)`.

    Raises:
        UserError: A damaged log.
    """
    device = torch.device(device)
    starts = range(0, len(frames), batch_size)
    was_training = detector.training
    detector.to(device).eval()
    ahead: deque[Future[list[FrameSample]]] = deque()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="frames") as executor:
        try:
            waiting = iter(starts)
            for _ in starts:
                while len(ahead) < max(prefetch, 1) and (start := next(waiting, None)) is not None:
                    ahead.append(executor.submit(_read, frames, start, min(start + batch_size, len(frames))))
                samples = ahead.popleft().result()
                found = _detect(detector, samples, device, precision, features)
                yield from zip(samples, found, strict=True)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            detector.train(was_training)


def detect_dataset(
    detector: nn.Module,
    frames: Frames,
    class_names: tuple[str, ...],
    *,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
    precision: Literal["32", "bf16-mixed"] = "32",
    progress: str = "",
    velocity: bool = True,
    features: bool = False,
) -> DetectionSet:
    """Detections of every frame as one set, with a progress bar where `progress` names one; and what cameras missed.

    Args:
        velocity: The detector measures it.
        features: Keep what the detector saw at each box.
    """
    pairs: Any = detect_frames(
        detector, frames, batch_size=batch_size, device=device, precision=precision, features=features
    )
    if progress:
        pairs = track(pairs, description=progress, total=len(frames))
    ids, logs, indices, found, missing = [], [], [], [], []
    for sample, detections in pairs:
        ids.append(sample.frame_id)
        logs.append(sample.log_name)
        indices.append(sample.frame_index)
        found.append(detections)
        missing.append(() if sample.images is None else sample.images.missing)
    joined = DetectionSet.join(class_names, ids, logs, indices, found, velocity)
    return replace(joined, missing_images=count_missing(missing))


def _read(frames: Frames, start: int, end: int) -> list[FrameSample]:
    return [frames[i] for i in range(start, end)]


@torch.inference_mode()
def _detect(
    detector: nn.Module, samples: list[FrameSample], device: torch.device, precision: str, features: bool
) -> list[Detections]:
    batch = collate(samples).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
        output = detector(batch)
    more = {"features": True} if features else {}
    found: list[Detections] = detector.decode(output, **more)  # type: ignore[operator]
    return [_on_cpu(d) for d in found]


def _on_cpu(d: Detections) -> Detections:
    features = None if d.features is None else d.features.float().cpu()
    return Detections(d.boxes.float().cpu(), d.scores.float().cpu(), d.labels.cpu(), features)
