"""``drive view RUN`` for a folder of ``drive simulate``: the page, a picture or a video of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from drive.errors import UserError
from drive.rollouts.run_folder import RunFolder, is_run_folder, read_run_folder
from drive.samples.frame_dataset import find_logs
from drive.view.replay import replays
from drive.view.replay_picture import PictureConfig, ReplayPainter
from drive.view.replay_report import REPORT, write_replay_report
from drive.view.replay_video import save_picture, save_video, telling_step


@dataclass(frozen=True)
class ViewDrivesArguments:
    """Drives of `drive simulate` to look at: the page with every scene as a replay; with --scene a picture or a video.

    drive view RUN; drive view RUN --scene NAME --image out.png; drive view RUN --scene NAME --video out.gif
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A folder that `drive simulate` wrote."""
    scene: str = ""
    """The scene to draw, as infractions.json names it."""
    planner: tuple[str, ...] = ()
    """Only these planners' drives, side by side in this order."""
    image: Path | None = None
    """Draw one instant (png, jpg, webp)."""
    at: float | None = None
    """Its time, seconds after the start; unless given the first infraction's, or half-way."""
    video: Path | None = None
    """Draw all instants, in real time (gif, webp)."""
    every: int = 1
    """Only each so many-th instant of the video."""
    picture: PictureConfig = field(default_factory=PictureConfig)
    """How it is drawn."""
    logs: tuple[Path, ...] = ()
    """Folders of the logs, if they were moved since."""
    out: Path | None = None
    """The page (RUN/report.html unless given; a folder gets report.html)."""


def names_a_run(argv: Sequence[str]) -> bool:
    """Whether a word of the command line is a folder of `drive simulate`."""
    return any(not word.startswith("-") and is_run_folder(Path(word)) for word in argv)


def view_drives_command(argv: Sequence[str]) -> int:
    """``drive view`` of a folder of drives."""
    arguments = tyro.cli(ViewDrivesArguments, args=list(argv), prog="drive view")
    run = read_run_folder(arguments.run)
    if arguments.logs:
        run = run.moved(find_logs(list(arguments.logs)))
    if arguments.image is not None or arguments.video is not None:
        _draw(run, arguments)
        return 0
    if arguments.scene or arguments.planner:
        raise UserError("--scene, --planner", "a page shows all of them", "give --image or --video with them")
    page = arguments.out
    if page is not None and page.suffix != ".html":
        page = page / REPORT
    print(write_replay_report(run, page))
    return 0


def _draw(run: RunFolder, arguments: ViewDrivesArguments) -> None:
    """A picture, a video, or both."""
    if not arguments.scene:
        raise UserError("--image, --video", "no scene is named", "give --scene, as infractions.json names it")
    if arguments.every < 1:
        raise UserError("--every", "must be at least 1", "give 1 or more")
    (replay,) = replays(run, [arguments.scene], arguments.planner)
    if replay.missing:
        print(f"map, route and recording are not drawn: {replay.missing}")
    colours = {name: number for number, name in enumerate(run.drives)}
    painter = ReplayPainter(replay, arguments.picture, colours)
    if arguments.image is not None:
        step = telling_step(replay) if arguments.at is None else round(arguments.at * 10)
        if not 0 <= step <= replay.steps:
            raise UserError("--at", f"the drives last {replay.steps / 10:g} s", "give a time within them")
        save_picture(painter, arguments.image, step)
        print(arguments.image)
    if arguments.video is not None:
        save_video(painter, arguments.video, arguments.every)
        print(arguments.video)
