"""Which logs, which classes, which points: the data side of an experiment."""

from __future__ import annotations

from dataclasses import dataclass, field

from drive.samples.augment.config import AugmentConfig
from drive.samples.classes import NUSCENES_CLASSES, ClassMap
from drive.samples.corrupt.config import CorruptConfig
from drive.samples.images import ImageConfig
from drive.samples.radar import RadarConfig


@dataclass(frozen=True)
class DataConfig:
    """Data of one experiment.

    Attributes:
        train_logs: Folders; each is a log or holds logs (`drive convert` writes such folders).
        val_logs: The same for scoring. Sharing a log with `train_logs` is refused.
        allow_overlap: Let logs be trained on and scored on all the same (does a model find its own labels again?).
        train_split: Keep only the logs whose manifest says this split; empty keeps all.
        val_split: The same for `val_logs`.
        class_map: Source categories to classes; gives the detector's class names and their order.
        sweeps: Lidar sweeps a sample: the key frame's and past ones (10 is the norm on nuScenes, 1 to 3 on Waymo).
        lidars: Names of the lidars to merge; empty takes every lidar of a log.
        radars: Radar returns among the points; None reads no radar and leaves samples as they are without.
        range_m: x0 y0 z0 x1 y1 z1 in the ego frame; points and box centres outside are cut.
        ego_radius_m: Returns with |x| and |y| below this in the sensor frame come from the ego and are dropped.
        view: Name of a camera; points and boxes outside its image are cut (KITTI is labelled only there).
        min_points: Training drops boxes with fewer points (in all sweeps together).
        frame_stride: Every n-th labelled frame.
        interpolated: Train on frames with interpolated boxes as well (logs converted with them); scoring never does.
        batch_size: Frames a batch, on each device.
        workers: Processes that make samples; 0 makes them in a thread of this process.
        prefetch: Batches made ahead; 0 makes each when it is asked for.
        balance: Draw training frames so that rare classes are seen more often (CBGS, Zhu et al. 2019).
        augment: Training augmentation.
        images: Camera images of a sample; None reads none.
        drop_cameras: Training: probability that a sample loses all its images, so that a model learns to do without.
        drop_lidar: Training: the same of all its lidar points; a sample never loses both.
        corrupt: How the sensors fail (`drive score --corrupt` sets it); None lets them work.
    """

    train_logs: tuple[str, ...] = ()
    val_logs: tuple[str, ...] = ()
    allow_overlap: bool = False
    train_split: str = ""
    val_split: str = ""
    class_map: ClassMap = field(default_factory=lambda: NUSCENES_CLASSES)
    sweeps: int = 1
    lidars: tuple[str, ...] = ()
    radars: RadarConfig | None = None
    range_m: tuple[float, float, float, float, float, float] = (-74.88, -74.88, -2.0, 74.88, 74.88, 4.0)
    ego_radius_m: float = 1.0
    view: str = ""
    min_points: int = 1
    frame_stride: int = 1
    interpolated: bool = False
    batch_size: int = 4
    workers: int = 0
    prefetch: int = 2
    balance: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    images: ImageConfig | None = None
    drop_cameras: float = 0.0
    drop_lidar: float = 0.0
    corrupt: CorruptConfig | None = None

    @property
    def paste_until(self) -> float:
        """Share of the training after which nothing is pasted."""
        return self.augment.paste.until
