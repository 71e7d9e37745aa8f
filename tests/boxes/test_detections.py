"""The detections file: every number back, frames without detections included."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from drive.boxes.detections import Detections, DetectionSet, read_detections, write_detections
from drive.boxes.missing_images import MissingImages, count_missing
from drive.errors import UserError


def some(count: int, seed: int = 0) -> Detections:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    return Detections(torch.randn(count, 9, generator=generator), torch.rand(count, generator=generator), labels)


def joined() -> DetectionSet:
    return DetectionSet.join(
        ("car", "bus"), ["a/0", "a/1", "b/0"], ["a", "a", "b"], [0, 1, 0], [some(3), some(0), some(2)]
    )


def test_every_number_comes_back(tmp_path: Path) -> None:
    write_detections(tmp_path / "detections.arrow", joined())
    back, given = read_detections(tmp_path / "detections.arrow"), joined()
    assert (back.class_names, back.frame_ids, back.logs, back.frame_indices) == (
        given.class_names, given.frame_ids, given.logs, given.frame_indices,
    )  # fmt: skip
    assert back.offsets.tolist() == [0, 3, 3, 5]
    for name in ("boxes", "scores", "labels"):
        assert getattr(back, name).tobytes() == getattr(given, name).tobytes()
    assert list(tmp_path.iterdir()) == [tmp_path / "detections.arrow"]


def test_columns_are_those_that_others_read(tmp_path: Path) -> None:
    write_detections(tmp_path / "d.arrow", joined())
    table = pa.ipc.open_file(tmp_path / "d.arrow").read_all()
    names = ["frame_id", "log", "frame_index", "boxes", "score", "label", "class_name", "velocity_valid"]
    assert table.column_names == names
    assert table["frame_id"].to_pylist() == ["a/0"] * 3 + ["b/0"] * 2


def test_missing_images_are_counted_and_come_back(tmp_path: Path) -> None:
    lines = [("LEFT: black", "RIGHT: gone: far"), (), ("LEFT: black",), ("LEFT: a",), ("LEFT: b",), ("LEFT: c",)]
    left, right = count_missing(lines)
    assert left == MissingImages("LEFT", 5, (("black", 2), ("a", 1), ("b", 1)))
    assert left.line() == "LEFT: no image in 5 frames: black (2); a (1); b (1); others (1)"
    assert right.line() == "RIGHT: no image in 1 frames: gone: far (1)"
    assert count_missing([]) == ()
    write_detections(tmp_path / "d.arrow", replace(joined(), missing_images=(left, right)))
    assert read_detections(tmp_path / "d.arrow").missing_images == (left, right)


def test_no_frames_and_no_detections(tmp_path: Path) -> None:
    write_detections(tmp_path / "d.arrow", DetectionSet.join(("car",), [], [], [], []))
    back = read_detections(tmp_path / "d.arrow")
    assert back.boxes.shape == (0, 9)
    assert back.offsets.tolist() == [0]


def test_a_missing_a_foreign_and_a_cut_file_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_detections(tmp_path / "none.arrow")
    (tmp_path / "text.arrow").write_text("hello")
    with pytest.raises(UserError, match="not a detections file"):
        read_detections(tmp_path / "text.arrow")
    write_detections(tmp_path / "d.arrow", joined())
    whole = (tmp_path / "d.arrow").read_bytes()
    (tmp_path / "cut.arrow").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a detections file"):
        read_detections(tmp_path / "cut.arrow")
    other = pa.table({"x": [1]})
    with pa.ipc.new_file(tmp_path / "other.arrow", other.schema) as writer:
        writer.write_table(other)
    with pytest.raises(UserError, match="not a detections file"):
        read_detections(tmp_path / "other.arrow")


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_detections(tmp_path / "nowhere" / "d.arrow", joined())


def test_numpy() -> None:
    boxes, scores, labels = some(2).numpy()
    assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int64)


def test_velocity_and_features_come_back(tmp_path: Path) -> None:
    given = replace(
        joined(),
        boxes=np.random.default_rng(0).normal(size=(5, 9)),
        velocity_valid=np.array([True, False, True, True, False]),
        features=np.arange(15, dtype=np.float32).reshape(5, 3),
    )
    write_detections(tmp_path / "d.arrow", given)
    back = read_detections(tmp_path / "d.arrow")
    assert back.boxes.dtype == np.float64
    for name in ("boxes", "velocity_valid", "features"):
        np.testing.assert_array_equal(getattr(back, name), getattr(given, name))


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    write_detections(tmp_path / "d.arrow", joined())
    table = pa.ipc.open_file(tmp_path / "d.arrow").read_all()
    head = json.loads(table.schema.metadata[b"detections"])
    old = {name: head[name] for name in ("class_names", "frames")} | {"schema_version": 1}
    table = table.drop_columns(["velocity_valid"]).replace_schema_metadata({"detections": json.dumps(old)})
    with pa.ipc.new_file(tmp_path / "old.arrow", table.schema) as writer:
        writer.write_table(table)
    back = read_detections(tmp_path / "old.arrow")
    assert back.velocity_valid.all()
    assert back.features.shape == (5, 0)
    assert back.boxes.tobytes() == joined().boxes.tobytes()


def test_a_version_to_come_and_a_lost_column_are_one_line(tmp_path: Path) -> None:
    write_detections(tmp_path / "d.arrow", joined())
    table = pa.ipc.open_file(tmp_path / "d.arrow").read_all()
    head = json.loads(table.schema.metadata[b"detections"]) | {"schema_version": 3}
    for name, other in (
        ("new", table.replace_schema_metadata({"detections": json.dumps(head)})),
        ("lost", table.drop_columns(["velocity_valid"])),
    ):
        with pa.ipc.new_file(tmp_path / f"{name}.arrow", other.schema) as writer:
            writer.write_table(other)
    with pytest.raises(UserError, match="schema version 3, this program reads 1 to 2"):
        read_detections(tmp_path / "new.arrow")
    with pytest.raises(UserError, match=r"its columns are not those of detections .*velocity_valid"):
        read_detections(tmp_path / "lost.arrow")


def test_features_of_the_detector_are_joined() -> None:
    three, none, two = some(3), some(0), some(2)
    seen = [replace(d, features=torch.full((len(d), 4), float(i))) for i, d in enumerate((three, none, two))]
    found = DetectionSet.join(("car", "bus"), ["a/0", "a/1", "b/0"], ["a", "a", "b"], [0, 1, 0], seen, velocity=False)
    assert found.features.tolist() == [[0.0] * 4] * 3 + [[2.0] * 4] * 2
    assert not found.velocity_valid.any()
