"""What cameras did not give while frames were looked at: counted a camera, with the first reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIRST_REASONS = 3
"""Reasons that are kept of each camera, the first that came; how often each came is counted over all frames."""


@dataclass(frozen=True)
class MissingImages:
    """Frames in which a camera gave no image.

    Attributes:
        camera: Its name.
        frames: How many.
        reasons: (why, in how many frames), the first ones that came.
    """

    camera: str
    frames: int
    reasons: tuple[tuple[str, int], ...]

    def line(self) -> str:
        """For a person."""
        reasons = "; ".join(f"{why} ({count})" for why, count in self.reasons)
        rest = self.frames - sum(count for _, count in self.reasons)
        return f"{self.camera}: no image in {self.frames} frames: {reasons}" + (f"; others ({rest})" if rest else "")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"camera": self.camera, "frames": self.frames, "reasons": [list(reason) for reason in self.reasons]}

    @staticmethod
    def of_dict(data: Mapping[str, Any]) -> MissingImages:
        """What `to_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        reasons = tuple((str(why), int(count)) for why, count in data["reasons"])
        return MissingImages(str(data["camera"]), int(data["frames"]), reasons)


def count_missing(frames: Iterable[Sequence[str]]) -> tuple[MissingImages, ...]:
    """Count the lines "<camera>: <why>" of frames (`CameraImages.missing`); cameras by name."""
    found: dict[str, dict[str, int]] = {}
    for lines in frames:
        for line in lines:
            camera, _, why = line.partition(": ")
            reasons = found.setdefault(camera, {})
            reasons[why] = reasons.get(why, 0) + 1
    return tuple(
        MissingImages(camera, sum(reasons.values()), tuple(list(reasons.items())[:FIRST_REASONS]))
        for camera, reasons in sorted(found.items())
    )
