"""AB3DMOT's own evaluation (scripts/KITTI/evaluate.py) of sequences of text, run as it is, its numbers read out.

Needs its repository (``git clone https://github.com/xinshuoweng/AB3DMOT``) and matplotlib, scipy and numba.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

COUNTS = {
    "tp": "tp", "itp": "itp", "fn": "fn", "ifn": "ifn", "fp": "fp", "itr": "n_itr", "tracks": "n_tr",
    "ids": "id_switches", "frag": "fragments", "objects": "n_gt", "objects_ignored": "n_igt",
    "trajectories": "n_gt_trajectories", "track_trajectories": "n_tr_trajectories",
}  # fmt: skip
VALUES = {
    "mota": "MOTA", "motp": "MOTP", "motal": "MOTAL", "moda": "MODA", "modp": "MODP", "recall": "recall",
    "precision": "precision", "f1": "F1", "far": "FAR", "mt": "MT", "pt": "PT", "ml": "ML",
}  # fmt: skip


def load(repository: Path) -> ModuleType:
    """The evaluation script as a module."""
    # A helper package of the authors that the evaluation imports and does not use.
    helpers = ModuleType("xinshuo_io")
    helpers.fileparts = os.path.splitext  # type: ignore[attr-defined]
    sys.modules.setdefault("xinshuo_io", helpers)
    sys.path[:0] = [str(repository), str(repository / "scripts" / "KITTI")]
    spec = importlib.util.spec_from_file_location("ab3dmot_evaluate", repository / "scripts/KITTI/evaluate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings(), mock.patch("numba.jit", lambda function: function):  # numba of today refuses roty
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


def evaluate(
    script: ModuleType, sequences: list[tuple[list[str], list[str]]], frames: list[int], min_iou: float
) -> dict[str, Any]:
    """{class: {"values", "counts", "threshold", "curve": [{...} a threshold]}} of (labels, results) a sequence."""
    out: dict[str, Any] = {}
    passes: list[dict[str, Any]] = []

    def save(self: Any, dump: Any, threshold: float | None = None, recall: float | None = None) -> None:
        numbers = {name: float(getattr(self, official)) for name, official in (COUNTS | VALUES).items()}
        numbers["smota"] = float(self.sMOTA)
        numbers["score"] = -10_000.0 if threshold is None else float(threshold)
        numbers["wanted"] = 1.0 if recall is None else float(recall)
        passes.append(numbers)

    def finish(self: Any) -> str:
        values = {name: passes[-1][name] for name in VALUES}
        values |= {"samota": float(self.sAMOTA), "amota": float(self.amota), "amotp": float(self.amotp)}
        counts = {name: int(passes[-1][name]) for name in COUNTS}
        out[self.cls] = {"values": values, "counts": counts, "curve": passes[:-1]}
        passes.clear()
        return ""

    script.trackingEvaluation.saveToStats = save
    script.stat.print_summary = finish
    script.stat.plot = lambda self: None
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in ("scripts/KITTI/label", "results/KITTI/tracks/data_0"):
            (root / part).mkdir(parents=True)
        listing = []
        for number, ((labels, found), count) in enumerate(zip(sequences, frames, strict=True)):
            (root / f"scripts/KITTI/label/{number:04d}.txt").write_text("".join(line + "\n" for line in labels))
            (root / f"results/KITTI/tracks/data_0/{number:04d}.txt").write_text("".join(line + "\n" for line in found))
            listing.append(f"{number:04d} empty 000000 {count - 1:06d}\n")
        (root / "scripts/KITTI/evaluate_tracking.seqmap.val").write_text("".join(listing))
        os.chdir(root)
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                script.evaluate("tracks", script.mailpy.Mail(""), 1, True, False, min_iou)
        finally:
            os.chdir(here)
    return out
