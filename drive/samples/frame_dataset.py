"""Labelled frames of logs as samples: item i of epoch e is the same whoever asks, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drive.errors import UserError
from drive.logs.remote import RemoteLog, is_url, list_remote_logs
from drive.logs.schema import MANIFEST
from drive.logs.store import Frame, Log, list_logs
from drive.samples.augment.bank import ObjectBank
from drive.samples.augment.config import AugmentConfig
from drive.samples.augment.policy import augment
from drive.samples.classes import ClassMap
from drive.samples.config import DataConfig
from drive.samples.corrupt.cameras import CameraCorruption
from drive.samples.corrupt.config import CorruptConfig
from drive.samples.drop_modality import check_drop, drop_modality
from drive.samples.image_read import check_images, read_images
from drive.samples.images import ImageConfig
from drive.samples.inside import points_in_boxes
from drive.samples.radar import RadarConfig, join_radar, radar_frames, radar_points
from drive.samples.read_sweeps import read_sweeps
from drive.samples.sample import FrameSample, take_points
from drive.samples.sweeps import RawSweep, crop_points, in_range, merge_sweeps
from drive.samples.view import CameraView

DEFAULT_RANGE_M = (-74.88, -74.88, -2.0, 74.88, 74.88, 4.0)


class FrameDataset:
    """Map-style data set over key frames that have a lidar sweep (a radar's where only radars are read).

    Cheap to pickle: workers open the logs again.

    Args:
        log_paths: Log folders, or addresses of logs (drive.logs.remote).
        class_map: Which source categories are which class.
        sweeps: Sweeps of each lidar, the key frame's included; fewer at a log's beginning.
        range_m: x0 y0 z0 x1 y1 z1; points and box centres outside are cut, after augmentation.
        lidars: Lidars to merge; empty = all of a log.
        radars: Radar returns among the points; None reads none.
        ego_radius_m: See `merge_sweeps`.
        view: Camera to which points and boxes are cut; empty = none.
        min_points: Boxes with fewer points (all sweeps together) are dropped; 0 keeps all, for scoring.
        frame_stride: Every n-th key frame.
        interpolated: Take frames whose boxes were interpolated between labelled ones as well.
        augment: Training augmentation, None for none; with it images vary as well.
        images: Camera images of a sample; None reads none.
        corrupt: How the sensors fail; None lets them work.
        drop: Probabilities that an augmented sample loses all its images, and all its lidar points.
        seed: Of the augmentation.
    """

    def __init__(
        self,
        log_paths: Sequence[str | Path],
        class_map: ClassMap,
        *,
        sweeps: int = 1,
        range_m: Sequence[float] = DEFAULT_RANGE_M,
        lidars: Sequence[str] = (),
        radars: RadarConfig | None = None,
        ego_radius_m: float = 1.0,
        view: str = "",
        min_points: int = 0,
        frame_stride: int = 1,
        interpolated: bool = False,
        augment: AugmentConfig | None = None,
        images: ImageConfig | None = None,
        corrupt: CorruptConfig | None = None,
        drop: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ) -> None:
        if sweeps < 1 or frame_stride < 1:
            raise UserError("data", "sweeps and frame_stride must be at least 1", "set both to 1 or more")
        self.logs = [RemoteLog.open_url(str(path)) if is_url(path) else Log.open(Path(path)) for path in log_paths]
        self.class_map = class_map
        self.sweeps = sweeps
        self.range_m = tuple(float(v) for v in range_m)
        self.lidars = tuple(lidars)
        self.radars = radars
        self.ego_radius_m = ego_radius_m
        self.view = view
        self.min_points = min_points
        self.augment = augment
        self.images = images
        if images is not None:
            check_images(self.logs, images, training=augment is not None)
        self.corrupt = corrupt
        self.drop = check_drop(drop, images is not None)
        self.seed = seed
        self.bank: ObjectBank | None = None
        self.frames: list[tuple[int, int]] = []  # (log, frame)
        for i, log in enumerate(self.logs):
            wanted = self._has_points(log) & (~log.frame_interpolated | interpolated)
            self.frames += [(i, int(f)) for f in np.flatnonzero(wanted)[::frame_stride]]

    @staticmethod
    def of(
        config: DataConfig,
        log_paths: Sequence[str | Path],
        *,
        min_points: int = 0,
        interpolated: bool = False,
        augment: AugmentConfig | None = None,
        seed: int = 0,
    ) -> FrameDataset:
        """The frames of some logs, read as a configuration says; the defaults are those of scoring."""
        return FrameDataset(
            log_paths,
            config.class_map,
            sweeps=config.sweeps,
            range_m=config.range_m,
            lidars=config.lidars,
            radars=config.radars,
            ego_radius_m=config.ego_radius_m,
            view=config.view,
            min_points=min_points,
            frame_stride=config.frame_stride,
            interpolated=interpolated,
            augment=augment,
            images=config.images,
            corrupt=config.corrupt,
            drop=(config.drop_cameras, config.drop_lidar),
            seed=seed,
        )

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> FrameSample:
        return self.item(index)

    def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True) -> FrameSample:
        """Sample `index`; with augmentation, its version of this epoch.

        Args:
            index: 0 to len - 1.
            epoch: Changes the augmentation.
            repeat: The how-manieth time that the epoch shows this frame (class balancing repeats frames).
            paste: False leaves out copy-paste.

        Raises:
            UserError: A damaged log, a value that is not finite.
        """
        plain = self.augment is None
        # Without augmentation nothing moves: what is outside the range is not even written.
        sample, ignored = self.recorded(index, self.range_m if plain and not self.view else None)
        if self.images is not None:
            log, frame = self._frame(index)
            # A stream of its own: the geometry is the same with and without images.
            looking = None if plain else np.random.default_rng([self.seed, epoch, index, repeat, 1])
            failing = None if self.corrupt is None else CameraCorruption(self.corrupt, log, frame)
            images = read_images(log, frame, self.images, looking, failing)
            sample = replace(sample, images=images, recorded_xyz=sample.points[:, :3].copy())
        if self.augment is not None:
            rng = np.random.default_rng([self.seed, epoch, index, repeat])
            sample = augment(sample, self.augment, rng, bank=self.bank if paste else None, obstacles=ignored)
        sample = self._cut(sample).validate()
        if plain or not any(self.drop):
            return sample
        return drop_modality(sample, *self.drop, np.random.default_rng([self.seed, epoch, index, repeat, 2]))

    def recorded(
        self, index: int, points_range_m: Sequence[float] | None = None
    ) -> tuple[FrameSample, npt.NDArray[np.float32]]:
        """Frame `index` without augmentation and range cut, and the boxes [M, 9] of categories that are no class.

        Args:
            index: 0 to len - 1.
            points_range_m: Leave out points (not boxes) outside this range.
        """
        log, frame = self._frame(index)
        points = self._points(log, frame, points_range_m)
        labels, boxes, velocity_valid, counts = self._labels(log, frame.index)
        if self.view:
            camera = CameraView(log, frame, self.view)
            points = points[camera.sees(points)]
            seen = camera.sees_boxes(boxes)
            labels, boxes, velocity_valid, counts = labels[seen], boxes[seen], velocity_valid[seen], counts[seen]
        known = labels >= 0
        sample = FrameSample(
            points=points,
            boxes=boxes[known],
            labels=labels[known],
            velocity_valid=velocity_valid[known],
            num_points=counts[known],
            frame_id=f"{log.name}/{frame.token or frame.index}",
            log_name=log.name,
            frame_index=frame.index,
            timestamp_ns=frame.timestamp_ns,
            global_from_ego=frame.global_from_ego,
        )
        return sample, boxes[~known]

    def presence(self) -> npt.NDArray[np.bool_]:
        """bool [F, K]: which classes each frame has labels of (no points are read)."""
        present = np.zeros((len(self), len(self.class_map.names)), np.bool_)
        for row, (log, frame) in enumerate(self.frames):
            labels = self._labels(self.logs[log], frame)[0]
            present[row, labels[labels >= 0]] = True
        return present

    def build_bank(self, path: Path) -> ObjectBank:
        """Build (or open, where it was built from the same frames) the object bank and use it from now on."""
        assert self.augment is not None, "a bank serves augmentation"
        config = self.augment.paste
        key = f"{[log.name for log in self.logs]} {self.sweeps} {self.lidars} {self.view} {len(self)} {config}"
        key += f" {self.radars}" * (self.radars is not None)
        if path.exists() and (bank := ObjectBank(path)).key == key:
            self.bank = bank
            return bank
        samples = (self.recorded(i)[0] for i in range(len(self)))
        self.bank = ObjectBank.build(
            samples,
            path,
            self.class_map.names,
            min_points=config.min_points,
            max_per_class=config.max_per_class,
            key=key,
        )
        return self.bank

    def _frame(self, index: int) -> tuple[Log, Frame]:
        log_index, frame_index = self.frames[index]
        log = self.logs[log_index]
        return log, log.frame(frame_index)

    def _labels(self, log: Log, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        boxes, category, velocity_valid, num_points = log.labels(frame)
        return self.class_map.labels(category), boxes.astype(np.float32), velocity_valid, num_points

    def _points(self, log: Log, frame: Frame, range_m: Sequence[float] | None) -> npt.NDArray[np.float32]:
        if self.radars is None:
            return merge_sweeps(self._raw_sweeps(log, frame), self.ego_radius_m, range_m)
        sweeps = [] if self.radars.only else self._raw_sweeps(log, frame)
        returns = radar_points(log, frame, self.radars, self.ego_radius_m, range_m)
        return join_radar(merge_sweeps(sweeps, self.ego_radius_m, range_m), returns)

    def _raw_sweeps(self, log: Log, frame: Frame) -> list[RawSweep]:
        return read_sweeps(log, frame, self._lidars_of(log), self.sweeps, self.corrupt)

    def _has_points(self, log: Log) -> npt.NDArray[np.bool_]:
        """Which frames of a log have a sweep at all: some excerpts keep labels without their sweeps."""
        if self.radars is not None:
            scanned = radar_frames(log, self.radars)  # refuses radars that the log lacks
            if self.radars.only:
                return scanned
        lidars = self._lidars_of(log)
        return np.array([any(name in log.frame(f).rows for name in lidars) for f in range(log.num_frames)], np.bool_)

    def _lidars_of(self, log: Log) -> list[str]:
        present = [name for name, sensor in log.sensors.items() if sensor.modality == "lidar"]
        missing = [name for name in self.lidars if name not in present]
        if missing or not present:
            raise UserError("data.lidars", f"log {log.name} has no lidar {missing or ''}", f"use some of {present}")
        return list(self.lidars) or present

    def _cut(self, sample: FrameSample) -> FrameSample:
        cropped = self.augment is None and not self.view  # by `recorded`
        if not cropped and sample.recorded_xyz is not None:
            sample = take_points(sample, in_range(sample.points, self.range_m))
            cropped = True
        points = sample.points if cropped else crop_points(sample.points, self.range_m)
        low, high = np.array(self.range_m[:3], np.float32), np.array(self.range_m[3:], np.float32)
        keep = ((sample.boxes[:, :3] >= low) & (sample.boxes[:, :3] < high)).all(axis=1)
        counts = points_in_boxes(points, sample.boxes)[1]
        keep &= counts >= self.min_points
        return replace(
            sample,
            points=points,
            boxes=np.ascontiguousarray(sample.boxes[keep]),
            labels=sample.labels[keep],
            velocity_valid=sample.velocity_valid[keep],
            num_points=counts[keep],
        )


def find_logs(folders: Sequence[str | Path], split: str = "") -> list[Path]:
    """Log folders named by `folders`, each itself a log or a folder of logs; with `split`, only that split's.

    A folder may be an address (``s3://...``, drive.logs.remote): its logs are given by their folders in the cache.

    Raises:
        UserError: A folder that is neither, or nothing left.
    """
    found: list[Path] = []
    for place in folders:
        if is_url(place):
            found += [RemoteLog.open_url(url).path for url in list_remote_logs(str(place))]
            continue
        folder = Path(place)
        inside = [folder] if (folder / MANIFEST).is_file() else list_logs(folder)
        if not inside:
            raise UserError(folder, "holds no finished log", "run `drive convert` first, or name another folder")
        found += inside
    found = [path for path in found if not split or Log.open(path).split == split]
    if not found:
        raise UserError(", ".join(map(str, folders)), f"no log of split {split!r}", "name another folder or split")
    return found
