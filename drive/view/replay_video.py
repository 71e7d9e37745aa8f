"""A replay as a picture's or a video's file. Videos are animated GIF or WebP: Pillow writes them, nothing else is
needed; MP4 would need an encoder, and none is among the dependencies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from drive.boxes.table_file import whole_file
from drive.errors import UserError
from drive.view.replay import Replay
from drive.view.replay_picture import ReplayPainter

PICTURES, VIDEOS = (".png", ".jpg", ".webp"), (".gif", ".webp")
STEP_MS = 100
LINGER_MS = 1500
"""The last instant stays for so long."""


def telling_step(replay: Replay) -> int:
    """The instant of the first infraction of any drive, or the middle."""
    first = [drive.infractions[0].step for drive in replay.drives if drive.infractions]
    return min(first) if first else replay.steps // 2


def save_picture(painter: ReplayPainter, path: Path, step: int) -> None:
    """One instant as a file.

    Raises:
        UserError: another ending than PICTURES; a file that cannot be written.
    """
    if path.suffix.lower() not in PICTURES:
        raise UserError(path, "is no picture's name", f"give one that ends with {', '.join(PICTURES)}")
    _make_folder(path)
    with whole_file(path) as file:
        painter.draw(step).save(file, Image.registered_extensions()[path.suffix.lower()])


def save_video(painter: ReplayPainter, path: Path, every: int = 1) -> int:
    """All instants, each ``every``-th of them, in real time; returns how many.

    The frames are drawn while they are written: none but the one in work is in memory.

    Raises:
        UserError: another ending than VIDEOS; a file that cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in VIDEOS:
        what = "is no video's name that can be written: MP4 needs an encoder, and none is among the dependencies"
        raise UserError(path, what, f"give one that ends with {' or '.join(VIDEOS)}")
    steps = list(range(0, painter.replay.steps + 1, every))

    def frames() -> Iterator[Image.Image]:
        for step in steps[1:]:
            yield painter.draw(step)

    more = {"quality": 70, "method": 2} if kind == ".webp" else {"optimize": False}
    lasting = [STEP_MS * every] * (len(steps) - 1) + [LINGER_MS]
    lasts = lasting if len(steps) > 1 else LINGER_MS
    _make_folder(path)
    with whole_file(path) as file:
        painter.draw(0).save(file, kind[1:], save_all=True, append_images=frames(), duration=lasts, loop=0, **more)
    return len(steps)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(path, f"cannot be written ({error})", "choose another folder") from error
