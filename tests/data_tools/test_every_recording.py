"""``drive convert`` and ``drive verify`` on every folder of real recordings, and what a careless user gets instead.

What is in the logs is checked by the tests of each data set; here it is the command line that must hold.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from data_tools.convert import DATASETS
from drive.cli import main

# (data set, folder, more words of the command, logs). The folders that are missing here (lidar_frames of Waymo,
# detections, results of trackers, mmdet3d's infos) are no data set's raw form.
RIGHT = [
    ("nuscenes", "nuscenes", [], 1),
    ("scenarionet", "nuscenes/scenarionet", ["--logs", "*-0061", "*-1094"], 2),
    ("scenarionet", "nuscenes/scenarionet_windows", [], 1),
    ("kitti", "kitti", [], 11),
    ("kitti_tracking", "kitti/tracking", ["--logs", "*0012", "*0017"], 2),
    ("av2", "av2/sensor", [], 1),
    ("av2", "av2/scenario_mining", [], 1),
    ("av2_motion", "av2/motion-forecasting", [], 1),
    ("waymo", "waymo/perception_v1", [], 1),
    ("waymo", "waymo/perception_v2", [], 1),
    ("waymo_motion", "waymo/motion/scenario", [], 1),
    ("waymo_motion", "waymo/motion/tf_example", [], 1),
    ("waymo_motion", "waymo/motion/scenario_json", ["--logs", "*2a173b334be3d32c", "*b5f53fa2db40a6b4"], 2),
    ("scenarionet", "waymo/motion/scenarionet", ["--logs", "*8a346109094cd5aa"], 1),
    ("dgp", "tri_dgp", [], 1),
    ("view_of_delft", "view_of_delft/example_set", [], 1),
    ("lyft", "lyft_l5_prediction", [], 1),
]
LEAVES = sorted(
    {folder for _, folder, _, _ in RIGHT} | {"waymo/lidar_frames", "nuscenes/mmdet3d_infos", "kitti/object"}
)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[str], list[str]]:
    """Exit status, lines of output and lines of errors of a command."""
    status = main([str(word) for word in words])
    text = capsys.readouterr()
    return status, text.out.splitlines(), [line for line in text.err.splitlines() if not line.startswith("converting")]


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a command says whose exit status is 2."""
    status, out, errors = run(capsys, *words)
    assert (status, out, len(errors)) == (2, [], 1), errors
    assert errors[0].startswith("error: ")
    assert "Traceback" not in errors[0]
    return errors[0]


@pytest.mark.parametrize(("dataset", "folder", "more", "count"), RIGHT, ids=[f"{r[0]}-{r[1]}" for r in RIGHT])
def test_converted_and_verified(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], dataset: str, folder: str, more: list[str],
    count: int,
) -> None:  # fmt: skip
    out = tmp_path / "logs"
    status, lines, errors = run(capsys, "convert", dataset, real_data / folder, out, "--workers", 1, *more)
    assert (status, errors) == (0, [])
    assert lines == [f"{out}: {count} logs converted, 0 were there already"]
    assert len([path for path in out.iterdir() if path.is_dir()]) == count
    status, _, errors = run(capsys, "verify", out)
    assert (status, errors) == (0, [])


def test_labels_alone_lack_their_poses(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "convert", "av2", real_data / "av2/annotations_only", tmp_path / "logs")
    assert "its only log cannot be converted as av2" in line
    assert "city_SE3_egovehicle.feather: the file is missing" in line


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_wrong_name(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], dataset: str) -> None:
    """One line says what the folder lacks, and OUT stays free for the right name."""
    own = {folder for name, folder, _, _ in RIGHT if name == dataset}
    out = tmp_path / "logs"
    for folder in LEAVES:
        if not any((real_data / name).is_relative_to(real_data / folder) or folder.startswith(name) for name in own):
            line = refused(capsys, "convert", dataset, real_data / folder, out, "--workers", 1)
            assert str(real_data / folder) in line
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_wrong_place(tmp_path: Path, capsys: pytest.CaptureFixture[str], dataset: str) -> None:
    raw, out, file = tmp_path / "raw", tmp_path / "out", tmp_path / "file.txt"
    file.write_text("text")
    assert "no such folder; give the root folder of the raw" in refused(capsys, "convert", dataset, raw, out)
    raw.mkdir()
    assert str(raw) in refused(capsys, "convert", dataset, raw, out)
    assert str(raw) in refused(capsys, "convert", dataset, raw, out, "--dry-run")
    assert "is a file, and no archive (.tar, " in refused(capsys, "convert", dataset, file, out)
    assert f"{file}: is a file; give a folder" in refused(capsys, "convert", dataset, raw, file)
    assert "is not empty and not a folder that drive convert wrote" in refused(
        capsys, "convert", dataset, raw, tmp_path
    )
    (tmp_path / "raw.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    assert "raw.zip: has no member at all" in refused(capsys, "convert", dataset, tmp_path / "raw.zip", out)
    assert not out.exists() or not list(out.iterdir())


def test_verify_at_the_wrong_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    for name in ("empty", "file", "absent"):
        assert str(tmp_path / name) in refused(capsys, "verify", tmp_path / name)


def test_an_unknown_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "convert", "nuscense", tmp_path, tmp_path / "out")
    assert "no data set is called 'nuscense'; the known ones are nuscenes, kitti" in line
