"""Pictures and videos of drives: what stands where, in which colour; which files can be written; the verb's words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drive.cli import main
from drive.errors import UserError
from drive.plans.baselines import ConstantVelocity, Stop
from drive.rollouts.config import SimulationConfig
from drive.rollouts.rollout import not_simulated
from drive.rollouts.simulate import simulate
from drive.samples.scene import Lights
from drive.view.ink import BACKGROUND
from drive.view.replay import Replay
from drive.view.replay_map import TOLERANCE_M, clip_line, clip_ring, simplified
from drive.view.replay_picture import ACTORS, DRIVES, LIGHTS, PictureConfig, ReplayPainter
from drive.view.replay_video import save_picture, save_video, telling_step
from tests.rollouts.test_many import write_log
from tests.samples.hand_made_scene import actors, drive, scene

SMALL = PictureConfig(panel_px=140, reach_m=35.0, turn="start")  # 2 pixels a metre
HEAD = 40


@pytest.fixture(scope="module")
def hit() -> Replay:
    """Both start at 0 to the east; cars stand at 30 and beside 15, a signal is red beside 20, the recording goes on."""
    lights = Lights(np.ones((81, 1), np.int8), np.array([-1]), np.array([[20.0, -10.0]]))
    street = scene(drive(10.0), actors((30.0, 0.0, 0.0, 0.0), (15.0, -10.0, 0.0, 0.0)), lights=lights)
    drives = [
        simulate([street], planner, SimulationConfig(longest_s=4.0))[0] for planner in (ConstantVelocity(), Stop())
    ]
    return Replay("road@0", tuple(drives), street)


def panel(image: Image.Image, number: int) -> np.ndarray:
    left = number * (SMALL.panel_px + 4)
    return np.asarray(image)[HEAD : HEAD + SMALL.panel_px, left : left + SMALL.panel_px].astype(np.int64)


def test_what_stands_where(hit: Replay) -> None:
    image = ReplayPainter(hit, replace(SMALL, panel_px=280)).draw(0)
    assert image.size == (564, 320)
    for number in range(2):
        # The start heads east: ahead is up, the rear axle is in the middle, 4 pixels a metre.
        near = np.asarray(image)[HEAD:, number * 284 :].astype(np.int64)
        assert np.abs(near[140 - 56, 182] - 0.55 * np.array(ACTORS[0])).max() < 45
        assert tuple(near[140 - 80, 140 + 40]) == LIGHTS[1]
        assert tuple(near[139, 10]) == BACKGROUND  # 32 m to the left is no road
        # The footprint in the planner's own colour: 20 pixels by 9, some of them under the plan and the outline.
        there = [np.abs(near[120:148, 132:150] - colour).max(axis=2) < 40 for colour in DRIVES[:2]]
        assert there[number].sum() >= 30
        assert there[1 - number].sum() == 0


def test_drives_that_ended_and_that_failed(hit: Replay) -> None:
    first = hit.drives[0]
    assert first.end == "collision"
    assert telling_step(hit) == first.infractions[0].step == len(first.ego) - 1
    painter = ReplayPainter(hit, SMALL)
    at_end, later = painter.draw(len(first.ego) - 1), painter.draw(hit.steps)
    # It stands where it ended: the lower part of its panel, without the words, is the same.
    np.testing.assert_array_equal(panel(at_end, 0)[80:90], panel(later, 0)[80:90])
    lost = not_simulated("road@0", "road", "stop", "no such log " * 20)
    image = ReplayPainter(Replay("road@0", (first, lost), None, "gone"), SMALL).draw(0)
    assert image.size == (284, 180)
    assert (panel(image, 1) != BACKGROUND).any()
    assert telling_step(Replay("road@0", (lost,), None)) == 0
    assert ReplayPainter(Replay("none", (), None), SMALL).draw(0).size == (140, 180)


def test_files(hit: Replay, tmp_path: Path) -> None:
    painter = ReplayPainter(hit, SMALL)
    save_picture(painter, tmp_path / "new" / "one.png", 5)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "one.png")), np.asarray(painter.draw(5)))
    for name in ("one.gif", "one.webp"):
        assert save_video(painter, tmp_path / name, every=10) == 5
        with Image.open(tmp_path / name) as video:
            assert (getattr(video, "n_frames", 1), video.size) == (5, (284, 180))
    still = Replay("road@0", (not_simulated("road@0", "road", "stop", "gone"),), None)
    assert save_video(ReplayPainter(still, SMALL), tmp_path / "still.gif") == 1
    with pytest.raises(UserError, match="MP4 needs an encoder"):
        save_video(painter, tmp_path / "one.mp4")
    with pytest.raises(UserError, match="no picture's name"):
        save_picture(painter, tmp_path / "one.txt", 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_picture(painter, tmp_path / "file" / "one.png", 0)
    with pytest.raises(UserError, match="cannot be written"):
        save_video(painter, tmp_path / "file" / "one.gif")
    with pytest.raises(ValueError, match="64 pixels"):
        PictureConfig(panel_px=1)


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    write_log(tmp_path / "logs", "one", frames=12)
    assert main(["simulate", str(tmp_path / "logs"), "--planner", "stop", "--out", str(out), "--no-report"]) == 0
    assert not (out / "report.html").exists()
    assert main(["view", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "report.html")
    picture, video = tmp_path / "a.png", tmp_path / "a.gif"
    words = ["view", str(out), "--scene", "one@0", "--picture.panel-px", "80"]
    assert main([*words, "--image", str(picture), "--at", "0.5", "--video", str(video), "--every", "5"]) == 0
    with Image.open(picture) as image, Image.open(video) as moving:
        assert (image.size, getattr(moving, "n_frames", 1)) == ((80, 120), 3)
    for more, why in (
        (["--image", str(picture), "--at", "9"], "the drives last 1.1 s"),
        (["--planner", "idm", "--image", str(picture)], "choose one of stop"),
        (["--video", str(tmp_path / "a.mp4")], "MP4 needs an encoder"),
        (["--video", str(video), "--every", "0"], "at least 1"),
        ([], "a page shows all of them"),
    ):
        assert main([*words, *more]) == 2
        assert why in capsys.readouterr().err
    assert main(["view", str(out), "--image", str(picture)]) == 2
    assert "no scene is named" in capsys.readouterr().err


def test_lines_keep_their_shape_with_fewer_points() -> None:
    bend = np.array([[0.0, 0], [1, 0.01], [2, 0], [3, 0], [3, 1], [3, 2]])
    assert simplified(bend, TOLERANCE_M).tolist() == [[0, 0], [3, 0], [3, 2]]
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    few = simplified(circle, TOLERANCE_M)
    assert 20 < len(few) < 60
    middle = (few[1:] + few[:-1]) / 2
    assert (np.abs(np.linalg.norm(middle, axis=1) - 10) <= TOLERANCE_M + 0.01).all()
    for short in (np.zeros((0, 2)), np.zeros((1, 2)), np.zeros((2, 2))):
        assert len(simplified(short, TOLERANCE_M)) == len(short)
    assert simplified(np.zeros((5, 2)), TOLERANCE_M).tolist() == [[0, 0], [0, 0]]


def test_what_lies_outside_is_cut_off() -> None:
    low, high = np.zeros(2), np.full(2, 10.0)
    line = np.array([[-20.0, 5], [-5, 5], [5, 5], [15, 5], [25, 5], [25, 8], [8, 8]])
    assert [piece.tolist() for piece in clip_line(line, low, high)] == [
        [[-5, 5], [5, 5], [15, 5]],
        [[25, 8], [8, 8]],
    ]
    assert clip_line(line + 100, low, high) == []
    assert clip_line(np.zeros((0, 2)), low, high) == []
    square = np.array([[5.0, 5], [20, 5], [20, 20], [5, 20]])
    cut = clip_ring(square, low, high)
    assert sorted(map(tuple, cut.tolist())) == [(5, 5), (5, 10), (10, 5), (10, 10)]
    assert clip_ring(square + 100, low, high).shape == (0, 2)
    assert clip_ring(square / 10, low, high).tolist() == (square / 10).tolist()
