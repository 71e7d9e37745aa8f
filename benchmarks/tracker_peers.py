"""The published trackers' own code, loaded from checkouts and run on plain arrays (for benchmarks.tracker_parity).

Nothing of theirs is here. Their checkouts: github.com/xinshuoweng/AB3DMOT, tianweiy/CenterPoint and
tusen-ai/SimpleTrack; they need filterpy, shapely and scipy. What they import and do not use for tracking (drawing, a
toolbox of files and logs) is replaced by empty modules; ``np.int``, which SimpleTrack uses, is gone from numpy and is
put back.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PeerFrame:
    """What a tracker reports for a frame, by rising id: ids [M], boxes [M, 7] x y z l w h yaw, scores [M]."""

    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    @staticmethod
    def of(ids: Any, boxes: Any, scores: Any) -> PeerFrame:
        order = np.argsort(np.array(ids, dtype=np.int64), kind="stable")
        return PeerFrame(
            np.array(ids, dtype=np.int64)[order],
            np.array(boxes, dtype=np.float64).reshape(-1, 7)[order],
            np.array(scores, dtype=np.float64)[order],
        )


def _empty_module(name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


class Ab3dmotPeer:
    """AB3DMOT's tracker of one class, without ego motion, fed in its own camera axes (right, down, forward)."""

    def __init__(self, checkout: Path, dataset: str, detector: str, category: str) -> None:
        if str(checkout) not in sys.path:
            sys.path.insert(0, str(checkout))
            nothing = lambda *_, **__: None  # noqa: E731
            _empty_module("xinshuo_miscellaneous", print_log=nothing)
            _empty_module("xinshuo_io", mkdir_if_missing=nothing, load_txt_file=nothing, save_txt_file=nothing)
            _empty_module("AB3DMOT_libs.vis", vis_obj=nothing)
            _empty_module("AB3DMOT_libs.kitti_oxts", roty=_roty)
        model = importlib.import_module("AB3DMOT_libs.model")
        config = types.SimpleNamespace(vis=False, ego_com=False, affi_pro=False, dataset=dataset, det_name=detector)
        self._tracker = model.AB3DMOT(config, category, ID_init=1)
        self._frame = 0

    def step(self, boxes: np.ndarray, scores: np.ndarray) -> PeerFrame:
        """boxes [N, 7] as its files have them: h w l x y z rotation_y."""
        info = np.zeros((len(boxes), 7))
        info[:, 6] = scores
        found = self._tracker.track({"dets": boxes, "info": info}, self._frame, "")[0][0]
        self._frame += 1
        return PeerFrame.of(found[:, 7], camera_boxes(found[:, :7]), found[:, 14])


def _roty(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def camera_boxes(numbers: np.ndarray) -> np.ndarray:
    """[N, 7] x y z (centre) l w h yaw in axes forward, left, up of h w l x y z (bottom) rotation_y in camera axes."""
    h, w, length, x, y, z, turn = numbers.T
    return np.stack([z, -x, -y + h / 2, length, w, h, -turn - np.pi / 2], axis=1)


class CenterPointPeer:
    """CenterPoint's tracker of all nuScenes classes."""

    def __init__(self, checkout: Path, class_names: tuple[str, ...]) -> None:
        folder = str(checkout / "tools" / "nusc_tracking")
        if folder not in sys.path:
            sys.path.insert(0, folder)
        with contextlib.redirect_stdout(io.StringIO()):
            self._tracker = importlib.import_module("pub_tracker").PubTracker(max_age=3)
        self._names = class_names
        self._last_s: float | None = None

    def step(
        self, time_s: float, boxes: np.ndarray, velocity: np.ndarray, scores: np.ndarray, labels: np.ndarray
    ) -> PeerFrame:
        """boxes [N, 7], in order of falling score: it goes through them as they come."""
        given = [
            {"translation": b[:3].tolist(), "velocity": v.tolist(), "detection_name": self._names[k], "box": b,
             "detection_score": s}
            for b, v, s, k in zip(boxes, velocity, scores, labels, strict=True)
        ]  # fmt: skip
        passed = 0.0 if self._last_s is None else time_s - self._last_s
        self._last_s = time_s
        found = [t for t in self._tracker.step_centertrack(given, passed) if t["active"] > 0]
        return PeerFrame.of(
            [t["tracking_id"] for t in found], [t["box"] for t in found], [t["detection_score"] for t in found]
        )


class SimpleTrackPeer:
    """SimpleTrack's tracker of one class, with the suppression that its data loader does."""

    def __init__(self, checkout: Path, config: str) -> None:
        if str(checkout) not in sys.path:
            sys.path.insert(0, str(checkout))
            _empty_module("mot_3d.visualization")
            vars(np)["int"] = int
        yaml = importlib.import_module("yaml")
        settings = yaml.safe_load((checkout / "configs" / config).read_text())
        self._parts = {
            name: importlib.import_module(f"mot_3d.{name}")
            for name in ("mot", "data_protos", "frame_data", "preprocessing")
        }
        self._limit = settings["data_loader"]["nms_thres"]
        self._waymo = settings["redundancy"]["mode"] == "mm"
        self._tracker = self._parts["mot"].MOTModel(settings)

    def step(self, time_s: float, boxes: np.ndarray, scores: np.ndarray) -> PeerFrame:
        """boxes [N, 7]."""
        of = self._parts["data_protos"].BBox
        x, y, z, length, w, h, yaw = boxes.T
        rows = np.stack([x, y, z, yaw, length, w, h, scores], axis=1)
        kept, kinds = self._parts["preprocessing"].nms([of.array2bbox(r) for r in rows], [0] * len(rows), self._limit)
        frame = self._parts["frame_data"].FrameData(
            dets=[rows[i] for i in kept], ego=np.eye(4), time_stamp=time_s, det_types=kinds,
            aux_info={"is_key_frame": True, "velos": None},
        )  # fmt: skip
        found = self._tracker.frame_mot(frame)
        if self._waymo:
            # Waymo's files hold tracks matched in this frame. (They hold one more kind, which ours does not report:
            # tracks of fewer than 3 hits without a match in this frame, with a hundredth of their score.)
            how = {t.id: t.life_manager.recent_state for t in self._tracker.trackers}
            found = [t for t in found if how[t[1]] == 1]
        arrays = np.array([of.bbox2array(t[0]) for t in found], dtype=np.float64).reshape(-1, 8)
        # Its ids begin at 0, ours at 1.
        return PeerFrame.of([t[1] + 1 for t in found], arrays[:, [0, 1, 2, 4, 5, 6, 3]], arrays[:, 7])
