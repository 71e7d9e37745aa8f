"""The folder of ``drive simulate`` read back: drives, and scenes equal to those that were driven in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from drive.cli import main
from drive.errors import UserError
from drive.rollouts.run_folder import SUMMARY, is_run_folder, read_run_folder
from tests.rollouts.test_many import write_log


def test_scenes_are_made_again_from_the_folder(tmp_path: Path) -> None:
    logs, out = tmp_path / "logs", tmp_path / "out"
    write_log(logs, "one")
    words = ["simulate", str(logs), "--planner", "stop", "constant_velocity", "--out", str(out), "--seconds", "1"]
    assert main([*words, "--every", "1"]) == 0
    assert is_run_folder(out)
    assert not is_run_folder(logs)
    run = read_run_folder(out)
    assert list(run.drives) == ["stop", "constant_velocity"]
    assert run.scenes == ["one@0", "one@10", "one@20"]
    assert run.scene.future_s == 6.0
    scene = run.load("one@10")
    for rollouts in run.drives.values():
        (drive,) = (r for r in rollouts if r.scene == "one@10")
        assert drive.timestamps_ns[0] == scene.timestamps_ns[scene.now]
        np.testing.assert_array_equal(drive.ego[0], scene.ego[scene.now])
        np.testing.assert_array_equal(drive.origin_xy, scene.origin_xy)
    # The logs were moved since.
    logs.rename(tmp_path / "moved")
    with pytest.raises(UserError, match="is not there"):
        run.load("one@10")
    assert run.moved([tmp_path / "moved" / "one"]).load("one@10").name == "one@10"


def test_what_is_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_run_folder(tmp_path)
    (tmp_path / SUMMARY).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_run_folder(tmp_path)
    documents: list[object] = [{"planners": {}}, {"planners": {}, "scene": {"no_such": 1}, "logs": {}}, []]
    for document in documents:
        (tmp_path / SUMMARY).write_text(json.dumps(document))
        with pytest.raises(UserError, match="does not name what scenes are made of"):
            read_run_folder(tmp_path)
