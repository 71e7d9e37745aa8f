"""An epoch with many worker processes: their private memory is as large at its end as after its first quarter."""

from __future__ import annotations

from pathlib import Path

import epoch
import pytest
from hand_made_log import write_log

from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.frame_dataset import FrameDataset
from drive.samples.loader import TrainLoader


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_no_growth_over_an_epoch(tmp_path: Path) -> None:
    logs = [write_log(tmp_path, f"log-{i}") for i in range(2)]
    loader = TrainLoader(FrameDataset(logs, NUSCENES_CLASSES, sweeps=10), 4, workers=epoch.WORKERS, seed=0)
    iterator = iter(loader)
    batches = 12 * epoch.WORKERS  # of 4 frames: each worker makes 48 samples
    sizes = []
    for step in range(batches):
        next(iterator)
        if step in (batches // 4, batches - 1):
            sizes.append(epoch.private_mb())
    iterator.close()
    begin, end = sizes
    assert begin > epoch.WORKERS * 20  # numpy and numba are in each
    assert end < begin * 1.03 + 4, sizes
