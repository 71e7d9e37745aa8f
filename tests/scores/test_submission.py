"""Every fault of a submission is one line that names its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drive.errors import UserError
from drive.scores.eval_boxes import ATTRIBUTES, EvalBoxes
from drive.scores.nuscenes_detection import NuScenesConfig
from drive.scores.submission import META_FIELDS, attributes_of, global_boxes, read_submission, write_submission

NAMES = NuScenesConfig().class_names
META = dict.fromkeys(META_FIELDS, False)


def box(**changes: Any) -> dict[str, Any]:
    return {
        "sample_token": "a",
        "translation": [1.0, 2.0, 3.0],
        "size": [2.0, 4.0, 1.5],
        "rotation": [1.0, 0.0, 0.0, 0.0],
        "velocity": [0.5, -0.5],
        "detection_name": "car",
        "detection_score": 0.5,
        "attribute_name": "vehicle.moving",
    } | changes


def read(tmp_path: Path, boxes: list[Any], frames: tuple[str, ...] = ("a",), meta: Any = META) -> Any:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"meta": meta, "results": {"a": boxes}}))
    return read_submission(path, frames, NAMES)


def test_columns(tmp_path: Path) -> None:
    boxes = read(tmp_path, [box(), box(velocity=[float("nan"), 1.0], attribute_name="")]).boxes
    np.testing.assert_array_equal(boxes.boxes[0], [1, 2, 3, 4, 2, 1.5, 0, 0.5, -0.5])
    assert boxes.velocity_valid.tolist() == [True, False]
    assert boxes.attribute.tolist() == [ATTRIBUTES.index("vehicle.moving"), -1]


def test_empty_frame(tmp_path: Path) -> None:
    assert len(read(tmp_path, []).boxes) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detection_name": "tank"}, "a: unknown class 'tank'"),
        ({"attribute_name": "vehicle.flying"}, "unknown attribute 'vehicle.flying'"),
        ({"translation": [1.0, 2.0]}, "`translation` is not a list of 3 numbers"),
        ({"translation": [1.0, 2.0, float("nan")]}, "1 boxes are not finite, the first in frame a"),
        ({"size": [1.0, 2.0, 0.0]}, "size of 0 or less"),
        ({"rotation": [0.0, 0.0, 0.0, 0.0]}, "`rotation` is not a quaternion"),
        ({"rotation": [float("nan"), 0.0, 0.0, 0.0]}, "`rotation` is not a quaternion"),
        ({"rotation": [float("inf"), 0.0, 0.0, 0.0]}, "`rotation` is not a quaternion"),
        ({"detection_score": "high"}, "`detection_score` is not a number"),
        ({"detection_score": float("nan")}, "not finite"),
        ({"detection_score": None}, "`detection_score` is not a number"),
        ({"velocity": "fast"}, "`velocity` is not a list of 2 numbers"),
        ({"size": [[1.0], [2.0], [3.0]]}, "`size` is not a list of 3 numbers"),
    ],
)
def test_broken_box(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, [box(), box(**changes)])
    assert message in str(error.value)


def test_box_without_field(tmp_path: Path) -> None:
    broken = box()
    del broken["size"]
    with pytest.raises(UserError, match="`size`"):
        read(tmp_path, [broken])
    with pytest.raises(UserError, match="not an object"):
        read(tmp_path, [box(), 3])


def test_missing_frame_and_too_many_boxes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 of 2 frames are missing, the first is b"):
        read(tmp_path, [box()], frames=("a", "b"))
    with pytest.raises(UserError, match="501 boxes in frame a"):
        read(tmp_path, [box()] * 501)


@pytest.mark.parametrize("meta", [None, {}, META | {"use_map": 1}])
def test_broken_meta(tmp_path: Path, meta: Any) -> None:
    with pytest.raises(UserError, match="meta"):
        read(tmp_path, [], meta=meta)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"results": []}', "\udcff"])
def test_not_a_submission(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match="result.json"):
        read_submission(path, ("a",), NAMES)
    with pytest.raises(UserError, match="no such file"):
        read_submission(tmp_path / "other.json", ("a",), NAMES)


def test_write_refuses_what_the_devkit_would(tmp_path: Path) -> None:
    rows = np.tile([[1.0, 2, 3, 4, 2, 1.5, 0, 0, 0]], (501, 1))
    boxes = global_boxes(0, rows, np.ones(501), np.zeros(501, int), NAMES, np.eye(4))
    with pytest.raises(UserError, match="501 boxes"):
        write_submission(tmp_path / "out.json", boxes, ["a"], NAMES, META)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="meta"):
        write_submission(tmp_path / "out.json", EvalBoxes.empty(), ["a"], NAMES, {})


def test_attribute_rule() -> None:
    labels = np.array([NAMES.index(n) for n in ("car", "car", "bus", "pedestrian", "pedestrian", "bicycle", "barrier")])
    codes = attributes_of(NAMES, labels, np.array([0.1, 0.3, 0.0, 0.0, 1.0, 1.0, 5.0]))
    assert [ATTRIBUTES[c] if c >= 0 else "" for c in codes] == [
        "vehicle.parked",
        "vehicle.moving",
        "vehicle.stopped",
        "pedestrian.standing",
        "pedestrian.moving",
        "cycle.with_rider",
        "",
    ]


def test_global_frame() -> None:
    """Ego at (10, 0) turned left by 90 degrees: ahead is global +y."""
    global_from_ego = np.array([[0.0, -1, 0, 10], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    placed = global_boxes(0, np.array([[5.0, 0, 1, 4, 2, 1.5, 0, 3, 0]]), [0.5], [0], NAMES, global_from_ego)
    np.testing.assert_allclose(placed.boxes[0], [10, 5, 1, 4, 2, 1.5, np.pi / 2, 0, 3], atol=1e-12)
