"""`python -m data_tools.town OUT`: drive the scenes in parallel and publish the data set in one rename."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data_tools.town.map_files import LOCATIONS, TRAIN_LOCATIONS, VAL_LOCATION, map_expansion, semantic_prior
from data_tools.town.radar import RADARS
from data_tools.town.record import SceneJob, record_scene, town_and_ground
from data_tools.town.scenarios import frames, write_log
from data_tools.town.sensors import CAMERAS, LIDAR, lidar_model
from data_tools.town.tables import SCENE_TABLES, Row, fixed_tables, token, write_json
from data_tools.town.waymo import write_segment
from drive.errors import UserError

MARK = "town.json"  # the file by which we know a data set as ours
FORMAT = 1
FIRST_TRAIN, FIRST_VAL = 9001, 9501  # scene numbers that no official split uses


@dataclass(frozen=True)
class TownConfig:
    """The synthetic town in raw nuScenes v1.0 shape: maps, traffic, lidar sweeps, camera images, all 13 tables. Or in
    raw Waymo perception v1 shape: one TFRecord file a scene, five lidars as range images, labels, map. Or, without any
    sensor, as converted logs of traffic for planners, on many towns.

    The same arguments give the same bytes, whatever the number of workers.
    """

    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the data set; an existing one is replaced only if this command made it."""
    scenes: int = 8
    """Training scenes, on three towns (log: see --towns)."""
    val_scenes: int = 3
    """Validation scenes, on a fourth town (log: see --towns)."""
    towns: int = 24
    """Towns of the training logs, for log alone; the validation logs are on a third as many of their own."""
    seconds: float = 20.0
    """Length of a scene."""
    val_seconds: float | None = None
    """Length of a validation scene, if another one."""
    seed: int = 0
    """Decides towns, traffic and light."""
    image_width: int = 800
    """Camera images are this wide and 9/16 as high; the field of view is that of 1600 x 900."""
    cameras: bool = True
    """Six camera images a key frame; --no-cameras leaves them out."""
    radar: bool = True
    """Five radars at 10 Hz; --no-radar leaves them out."""
    beams: Literal[32, 64] = 32
    """32 beams at 20 Hz or 64 at 10 Hz."""
    columns: int | None = None
    """Azimuth steps a turn; the sensor's own number unless given."""
    format: Literal["nuscenes", "waymo", "log"] = "nuscenes"
    """Shape of the raw data; waymo has 64 beams at 10 Hz and neither radar nor tables (see data_tools.town.waymo); log
    has no sensors and is converted already (see data_tools.town.scenarios)."""
    workers: int = 2
    """Processes."""
    version: str = "v1.0-town"
    """Name of the folder with the tables."""


def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit status."""
    config = tyro.cli(TownConfig, args=None if argv is None else list(argv), prog="python -m data_tools.town")
    console = Console(stderr=True)
    try:
        build(config, console)
    except UserError as error:
        console.print(f"error: {error}", style="red", highlight=False, soft_wrap=True)
        return 2
    return 0


def make_tiny_town(out: Path, *, seconds: float = 2.0, seed: int = 0, cameras: bool = True, workers: int = 1) -> Path:
    """A small data set for tests: 2 training and 1 validation scene, 32 beams, 160 x 90 images. Returns `out`."""
    config = TownConfig(
        out, scenes=2, val_scenes=1, seconds=seconds, seed=seed, image_width=160, cameras=cameras, columns=360,
        workers=workers,
    )  # fmt: skip
    build(config, Console(quiet=True))
    return out


def build(config: TownConfig, console: Console) -> None:
    """Make the data set in a folder beside `config.out`, then rename it: nothing half made ever bears the name."""
    _check(config)
    out = config.out
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    started = time.perf_counter()
    try:
        partial.mkdir(parents=True)
        jobs = plan(config, partial)
        if config.format == "waymo":
            _run(jobs, config.workers, console, write_segment)
        elif config.format == "log":
            _run(jobs, config.workers, console, write_log, frames)
        else:
            _finish(config, partial, jobs, _run(jobs, config.workers, console, record_scene))
        _mark(config, partial)
        _publish(partial, out)
    except OSError as error:
        raise UserError(
            error.filename or out, error.strerror or str(error), "free space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    elapsed, what = time.perf_counter() - started, "frames" if config.format == "log" else "sweeps"
    count = sum((frames if config.format == "log" else _sweeps)(job) for job in jobs)
    console.print(f"{out}: {len(jobs)} scenes, {count} {what} in {elapsed:.1f} s ({count / elapsed:.0f} a second)")


def _check(config: TownConfig) -> None:
    if config.scenes < 0 or config.val_scenes < 0 or config.scenes + config.val_scenes == 0:
        raise UserError("--scenes", "no scene to make", "ask for at least one")
    for name, seconds in (("--seconds", config.seconds), ("--val-seconds", config.val_seconds)):
        if seconds is not None and not 0.5 <= seconds <= 120.0:
            raise UserError(name, f"{seconds} is out of range", "give 0.5 to 120")
    if config.towns < 1:
        raise UserError("--towns", "no town to drive in", "ask for at least one")
    if config.cameras and not 16 <= config.image_width <= 1600:
        raise UserError("--image-width", f"{config.image_width} is out of range", "give 16 to 1600")
    if config.columns is not None and not 8 <= config.columns <= 10_000:
        raise UserError("--columns", f"{config.columns} is out of range", "give 8 to 10000")
    if config.workers < 1 or config.seed < 0:
        raise UserError("--workers/--seed", "must be positive", "give at least 1 worker and a seed of 0 or more")
    if config.out.exists() and not _ours(config.out):
        raise UserError(config.out, "exists and was not made by this command", "choose another folder or remove it")


def _ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return (folder / MARK).is_file() or not any(folder.iterdir())


def plan(config: TownConfig, root: Path) -> list[SceneJob]:
    """One job a scene. Validation has a town of its own: its seed is no training town's."""
    jobs = []
    names = list(LOCATIONS)
    for number in range(config.scenes + config.val_scenes):
        train = number < config.scenes
        index = number if train else number - config.scenes
        if config.format == "log":
            towns = config.towns if train else max(config.towns // 3, 1)
            town = index % towns + (0 if train else config.towns)
            location, split = f"town-{town:03d}", "town_train" if train else "town_val"
            town_seed, name = 100_000 + config.seed * 1000 + town, f"{'drive' if train else 'held'}-{index:05d}"
        else:
            location = TRAIN_LOCATIONS[number % len(TRAIN_LOCATIONS)] if train else VAL_LOCATION
            town_seed, split = config.seed * 10 + names.index(location), config.version
            name = f"scene-{(FIRST_TRAIN if train else FIRST_VAL) + index:04d}"
        jobs.append(
            SceneJob(
                root=str(root),
                version=split,
                name=name,
                location=location,
                town_seed=town_seed,
                scene_seed=config.seed * 10_000 + (0 if train else 5_000) + index,
                number=number,
                seconds=config.seconds if train else config.val_seconds or config.seconds,
                image_width=config.image_width if config.cameras else 0,
                radar=config.radar,
                beams=64 if config.format == "waymo" else config.beams,
                columns=config.columns,
                standing_start=number % 5 == 4,
            )
        )
    return jobs


def _sweeps(job: SceneJob) -> int:
    return int(job.seconds * 1e6) // round(lidar_model(job.beams, job.columns).period_s * 1e6)


_counter: Any = None  # sweeps written by all workers, shared memory; set in each worker when it starts


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter


def _count(sweeps: int) -> None:
    with _counter.get_lock():
        _counter.value += sweeps


def _record_in_worker(record: Callable[[SceneJob, Callable[[int], None]], Any], job: SceneJob) -> Any:
    return record(job, _count)


def _run(
    jobs: list[SceneJob],
    workers: int,
    console: Console,
    record: Callable[[SceneJob, Callable[[int], None]], Any],
    length: Callable[[SceneJob], int] = _sweeps,
) -> list[Any]:
    """What `record` makes of every scene, in the order of `jobs`; `length` in what its progress counts."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("sweeps", total=sum(length(job) for job in jobs))
        if workers == 1 or len(jobs) == 1:
            advance: Callable[[int], None] = lambda n: progress.advance(task, n)  # noqa: E731
            return [record(job, advance) for job in jobs]
        context = multiprocessing.get_context("spawn")
        counter = context.Value("q", 0)
        with ProcessPoolExecutor(
            min(workers, len(jobs)), mp_context=context, initializer=_start_worker, initargs=(counter,)
        ) as pool:
            futures: list[Future[Any]] = [pool.submit(_record_in_worker, record, job) for job in jobs]
            open_futures = set(futures)
            try:
                while open_futures:
                    done, open_futures = wait(open_futures, timeout=0.2, return_when=FIRST_COMPLETED)
                    progress.update(task, completed=counter.value)
                    for future in done:
                        future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.result() for future in futures]


def _finish(config: TownConfig, root: Path, jobs: list[SceneJob], shards: list[dict[str, list[Row]]]) -> None:
    """Tables, maps and splits."""
    tables = root / config.version
    channels = {LIDAR: "lidar"} | {channel: "camera" for channel in CAMERAS if config.cameras}
    channels |= {channel: "radar" for channel in RADARS if config.radar}
    for name, rows in fixed_tables(channels).items():
        write_json(tables / f"{name}.json", rows)
    for name in (*SCENE_TABLES, "scene_3d"):
        write_json(tables / f"{name}.json", [row for shard in shards for row in shard[name]])
    maps = []
    for location, file_token in LOCATIONS.items():
        used = [job for job in jobs if job.location == location]
        if not used:
            continue
        town, ground = town_and_ground(location, used[0].town_seed)
        write_json(root / "maps" / "expansion" / f"{location}.json", map_expansion(town))
        (root / "maps" / f"{file_token}.png").write_bytes(semantic_prior(ground))
        maps.append(
            {"token": file_token, "category": "semantic_prior", "filename": f"maps/{file_token}.png",
             "log_tokens": [token(job.name, "log") for job in used]}
        )  # fmt: skip
    write_json(tables / "map.json", maps)
    train = [job.name for job in jobs[: config.scenes]]
    write_json(tables / "splits.json", {"town_train": train, "town_val": [job.name for job in jobs[config.scenes :]]})


def _mark(config: TownConfig, root: Path) -> None:
    made = {key: value for key, value in asdict(config).items() if key not in ("out", "workers")}
    write_json(root / MARK, {"format": FORMAT, "arguments": made})


def _publish(partial: Path, out: Path) -> None:
    """Swap the finished folder in; the old one, ours, goes."""
    old = out.parent / f".{out.name}.old-{os.getpid()}"
    if out.exists():
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def is_town(folder: Path) -> bool:
    """Whether `folder` is a finished data set of this command, of the format this version writes."""
    mark = folder / MARK
    return mark.is_file() and json.loads(mark.read_text(encoding="ascii")).get("format") == FORMAT
