"""The compiled reader of submissions reads what the objects say, or leaves it to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drive.errors import UserError
from drive.logs.json_layout import NotFlatError
from drive.scores import submission, submission_file, submission_tracking
from drive.scores.eval_boxes import ATTRIBUTES, EvalBoxes
from drive.scores.nuscenes_detection import NuScenesConfig
from drive.scores.nuscenes_tracking_boxes import TRACKING_NAMES
from drive.scores.submission_scan import scan_submission
from tests.data_tools.fuzzing import mutations

FRAMES = tuple(f"frame{i}" for i in range(5))
META = dict.fromkeys(submission.META_FIELDS, True)
NAMES = {"detection": NuScenesConfig().class_names, "tracking": TRACKING_NAMES}
LOGS = np.array([0, 0, 1, 1, 1])


@pytest.fixture(autouse=True)
def _small_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission_file, "SMALL_BYTES", 0)


def content(task: str, seed: int, identifiers: type = str) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    results: dict[str, list[dict[str, Any]]] = {}
    for name in ("more", *rng.permutation(FRAMES).tolist()):
        results[name] = []
        for i in range(int(rng.integers(0, 5)) if name != "more" else 2):
            box = {
                "sample_token": name,
                "translation": rng.normal(0, 500, 3).tolist(),
                "size": rng.uniform(0.3, 8, 3).tolist(),
                "rotation": rng.normal(0, 1, 4).tolist(),
                "velocity": [float("nan")] * 2 if rng.random() < 0.2 else rng.normal(0, 9, 2).tolist(),
                f"{task}_name": str(rng.choice(NAMES[task])),
                f"{task}_score": float(rng.random()) if rng.random() < 0.8 else 1,
            }
            if task == "detection":
                box["attribute_name"] = str(rng.choice([*ATTRIBUTES, ""]))
            else:
                box |= {"tracking_id": identifiers(i + 7), "of_no_interest": [1, "a"]}
            results[name].append(box)
    return results


def read(path: Path, task: str) -> tuple[EvalBoxes, list[Any]]:
    if task == "detection":
        found = submission.read_submission(path, FRAMES, NAMES[task])
        return found.boxes, [found.meta, found.extra_frames]
    tracked, names = submission_tracking.read_tracking_submission(path, FRAMES, LOGS, NAMES[task])
    return tracked.boxes, [tracked.track.tolist(), names]


def refuse(*_: Any, **__: Any) -> Any:
    raise NotFlatError


def equal(a: tuple[EvalBoxes, list[Any]], b: tuple[EvalBoxes, list[Any]]) -> None:
    for name in ("frame", "boxes", "velocity_valid", "label", "score", "attribute", "num_points"):
        np.testing.assert_array_equal(getattr(a[0], name), getattr(b[0], name), err_msg=name)
    assert a[1] == b[1]


@pytest.mark.parametrize("task", ["detection", "tracking"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("indent", [None, 1])
def test_equal_to_the_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, seed: int, indent: int | None
) -> None:
    path = tmp_path / "result.json"
    results = content(task, seed, int if seed % 2 else str)
    whole = {"meta": META, "results": results} if seed % 2 else {"results": results, "meta": META, "note": [1, {}]}
    path.write_text(json.dumps(whole, indent=indent))
    wanted = {"translation": "real3", f"{task}_name": "text"}
    assert len(scan_submission(path, wanted).keys) == len(results)  # the quick way was taken
    quick = read(path, task)
    module = submission if task == "detection" else submission_tracking
    monkeypatch.setattr(module, "scan_results", refuse)
    equal(quick, read(path, task))
    assert len(quick[0]) > 3


@pytest.mark.parametrize("task", ["detection", "tracking"])
def test_damage_is_seen_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    """Of a damaged file both ways say the same: the same boxes, or the same fault."""
    path = tmp_path / "result.json"
    text = json.dumps({"meta": META, "results": content(task, 3)}).encode()
    module: Any = submission if task == "detection" else submission_tracking
    scan = module.scan_results
    refused = 0
    for damaged in mutations(text, 150):
        path.write_bytes(damaged)
        found: list[Any] = []
        for way in (scan, refuse):
            monkeypatch.setattr(module, "scan_results", way)
            try:
                found.append(read(path, task))
            except UserError as error:
                found.append(str(error))
        if isinstance(found[0], str) or isinstance(found[1], str):
            assert found[0] == found[1]
            refused += 1
        else:
            equal(*found)
    assert 50 < refused < 150


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"results": {}}',
        '{"results": {"a": []}, "results": {"a": []}}',
        '{"meta": {}, "results": {"a": 1}}',
    ],
)
def test_what_is_left_to_the_objects(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(NotFlatError):
        scan_submission(path, {"translation": "real3"})
