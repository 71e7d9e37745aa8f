"""Where KITTI has no labels: small images and DontCare regions; everywhere else there are labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drive.cli import main
from drive.logs.store import Log
from drive.tracks.history_unlabelled import covered, image_boxes, unlabelled
from drive.tracks.track import FrameDetections
from tests.tracks.stt_world import write_world
from tests.tracks.track_world import seen

# A camera at the origin that looks along x: right = -y, down = -z; 100 pixels a metre at 1 m, middle at (500, 200).
PROJECTION = np.array([[500.0, -100, 0, 0], [200, 0, -100, 0], [1, 0, 0, 0]])


def test_image_of_a_box() -> None:
    """A cube of 2 m, its front 9 m away."""
    box = np.array([[10.0, 0, 0, 2, 2, 2, 0, 0, 0]])
    reach = 100 / 9
    np.testing.assert_allclose(image_boxes(box, PROJECTION), [[500 - reach, 200 - reach, 500 + reach, 200 + reach]])
    behind = image_boxes(np.array([[-10.0, 0, 0, 2, 2, 2, 0, 0, 0]]), PROJECTION)
    assert np.isfinite(behind).all()


def test_share_in_regions() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    regions = np.array([[0.0, 0, 10, 4], [5, 0, 40, 10]])
    np.testing.assert_allclose(covered(boxes, regions), [0.5, 1.0])
    np.testing.assert_allclose(covered(boxes, regions[:0]), [0.0, 0.0])
    assert covered(boxes[:0], regions).shape == (0,)


def test_other_data_sets_are_labelled_everywhere(tmp_path: Path) -> None:
    path, _ = write_world(tmp_path, frames=2)
    assert not unlabelled(Log.open(path), [0, 1], [seen(0, [(500.0, 0.0)]), seen(1, [])]).any()


def test_kitti(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in a DontCare region of a frame of sequence 0012 is blind; a near car is not; a far one is."""
    words = ["convert", "kitti_tracking", str(real_data / "kitti/tracking"), str(tmp_path), "--logs", "*0012"]
    assert main([*words, "--workers", "1"]) == 0
    capsys.readouterr()
    log = Log.open(next(path for path in tmp_path.iterdir() if path.is_dir()))
    near, far = (12.0, 0.0, -0.9, 4.0, 1.7, 1.5, 0.0), (75.0, 0.0, -0.9, 4.0, 1.7, 1.5, 0.0)
    frames = list(range(log.num_frames))
    given: list[FrameDetections] = [seen(k, [near, far]) for k in frames]
    blind = unlabelled(log, frames, given).reshape(-1, 2)
    assert blind[:, 1].all()
    assert not blind[:, 0].all()
    assert unlabelled(log, [], []).shape == (0,)
