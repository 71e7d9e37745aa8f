"""Frame doctor: what is wrong with a log's frames, said by the lidar points inside its boxes.

A wrong convention leaves a trace that needs no knowledge of the data set: under the right one boxes hold more points.
Each hypothesis (boxes turned by a quarter, mirrored, lifted by half their height, scaled ...) is an edit of the boxes.
A box votes for it when the edited box holds clearly more points than the box as it is, against it when clearly fewer;
boxes that hold few points either way do not vote. The hypothesis with the best vote is named, applied, and the rest is
asked again, so that two faults at once are both found. Three things the votes cannot see come from elsewhere: units
(medians far outside what road scenes have), length against width (vehicles are longer than wide), yaw that follows
nothing (boxes turned one by one would hold many more points).

Points and boxes that are mirrored alike, and poses stored the wrong way round, show in tracks instead: see
:mod:`data_tools.frame_tracks`. Not detectable: points, boxes and poses that are all mirrored alike; a yaw off by half a
turn.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_tools.frame_fit import Case, Diagnosis, convincing, votes
from data_tools.frame_hypotheses import HYPOTHESES, Edit, Hypothesis, edit_columns, scale_columns
from data_tools.frame_tracks import diagnose_tracks, tracks_of_logs
from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.box import HEIGHT, LENGTH, WIDTH, YAW, X, Y, Z
from drive.geometry.rigid import invert, transform_points
from drive.logs.store import Log, list_logs

MAX_FRAMES = 40  # of one data set, spread evenly
MAX_TRACK_LOGS = 10
_UNITS = {0.01: "centimetres", 0.001: "millimetres", 1000.0: "kilometres"}
# Medians in road scenes: lowest, usual, highest. Wide, so that only another unit leaves them.
_USUAL_M = {"box sizes": (0.25, 1.6, 6.0), "box positions": (2.0, 20.0, 250.0), "points": (1.0, 12.0, 150.0)}
_MEDIAN_OF = {"box sizes": "median height", "box positions": "median distance", "points": "median range"}

_ABOUT_Z = ("bottom_centre", "top_centre", "mirrored_z")
_Z_OFFSETS_M = [sign * step / 4 for step in range(2, 13) for sign in (1, -1)]  # half a metre to three

Frames = Sequence[tuple[np.ndarray, np.ndarray]]


def diagnose(frames: Frames) -> list[Diagnosis]:
    """Faults of frames, each a pair (points [P, >=3], boxes [N, 9]) in one frame of reference; [] = none found.

    At least six boxes with points are needed for a verdict; with fewer the doctor is silent.
    """
    case = Case([], [])
    for points, boxes in frames:
        xyz = np.ascontiguousarray(points[:, :3], dtype=np.float64)
        case.points.append(xyz[np.argsort(xyz[:, X], kind="stable")])
        case.boxes.append(np.array(boxes, dtype=np.float64).reshape(-1, 9))
    if len(case.all_boxes()) < 6:
        return []
    _examine_units(case)
    _examine_yaw_range(case)
    for _ in range(3):
        if not _examine_hypotheses(case):
            break
    if not _examine_misplaced(case):
        _examine_yaw_scatter(case)
    return case.found


def _examine_units(case: Case) -> None:
    """Sizes, positions and points each against the range that road scenes have; what is outside is scaled into it."""
    boxes = case.all_boxes()
    points = np.concatenate(case.points)
    medians = {
        "box sizes": float(np.median(boxes[:, HEIGHT])),
        "box positions": float(np.median(np.hypot(boxes[:, X], boxes[:, Y]))),
        "points": float(np.median(np.hypot(points[:, X], points[:, Y]))) if len(points) else 1.0,
    }
    fitting = {name: _unit_factors(medians[name], *_USUAL_M[name]) for name in medians}
    if all(factors == [1.0] for factors in fitting.values()):
        return
    factors = {"box sizes": fitting["box sizes"][0]}
    case.apply(scale_columns(slice(LENGTH, HEIGHT + 1), factors["box sizes"]))
    # Where two units are plausible, the one under which more boxes hold points; in doubt the more usual one.
    best = -1
    for place in fitting["box positions"]:
        for point in fitting["points"]:
            held = int((case.counts(_rescaled(place, point)) > 0).sum())
            if held > best:
                best, factors["box positions"], factors["points"] = held, place, point
    case.apply(scale_columns(slice(X, Z + 1), factors["box positions"]))
    case.points = [p * factors["points"] for p in case.points]
    wrong = [name for name in medians if factors[name] != 1.0]
    names = [f"{name} are in {_UNITS[factors[name]]}" for name in wrong]
    proof = [f"{_MEDIAN_OF[name]} {medians[name]:.4g} m" for name in wrong]
    what = f"wrong units: {', '.join(names)} ({', '.join(proof)})"
    case.found.append(Diagnosis("units", what, "convert them to metres"))


def _rescaled(place: float, point: float) -> Edit:
    """Scales positions; instead of the points it scales the boxes the other way, which is the same and cheaper."""
    factors = np.array([place] * 3 + [1.0] * 6) / np.array([point] * 6 + [1.0] * 3)
    return lambda boxes: boxes * factors


def _unit_factors(median: float, low: float, usual: float, high: float) -> list[float]:
    """[1] where the median lies in low..high, else factors of units that bring it there, the most usual value first."""
    if low <= median <= high or median == 0:
        return [1.0]
    inside = [factor for factor in _UNITS if low <= median * factor <= high]
    return sorted(inside, key=lambda factor: abs(np.log(median * factor / usual))) or [1.0]


def _examine_yaw_range(case: Case) -> None:
    yaw = case.all_boxes()[:, YAW]
    beyond = int((np.abs(yaw) > 2 * np.pi + 0.1).sum())
    if beyond > 0.2 * len(yaw):
        what = f"yaw is in degrees ({beyond} of {len(yaw)} boxes lie beyond a full turn of radians)"
        case.found.append(Diagnosis("yaw_degrees", what, "convert yaw to radians"))
        case.apply(edit_columns(yaw=lambda b: np.deg2rad(b[:, YAW])))


def _examine_hypotheses(case: Case) -> bool:
    """Name and apply the best hypothesis; False when none convinces."""
    as_is = case.counts()
    best: tuple[int, int, Hypothesis, tuple[int, int, int]] | None = None
    for hypothesis in HYPOTHESES:
        best = _better(best, case, as_is, hypothesis)
    if (best is None and (as_is == 0).mean() > 0.5) or (best is not None and best[2].code in _ABOUT_Z):
        offsets = None
        for metres in _Z_OFFSETS_M:
            offsets = _better(offsets, case, as_is, _z_offset(metres))
        # On a flat ground the others are nearly an offset too; the true one is exact and so holds the most points.
        if offsets is not None and (best is None or (offsets[0] >= 0.9 * best[0] and offsets[1] > 1.03 * best[1])):
            best = offsets
    if best is None:
        return False
    _, total, hypothesis, (wins, losses, voters) = best
    code, fault, mend = hypothesis.code, hypothesis.fault, hypothesis.mend
    boxes = case.all_boxes()
    large = np.maximum(boxes[:, LENGTH], boxes[:, WIDTH]) > 3.0
    if code == "yaw_quarter_turn" and large.any() and (boxes[large, LENGTH] < boxes[large, WIDTH]).mean() > 0.5:
        code, fault = "length_width_swapped", "length and width are swapped"
        mend = "write length (along yaw) before width; nuScenes gives w, l, h and KITTI h, w, l"
    proof = f"after the mend {wins} of {voters} boxes hold more points, {losses} fewer; {total} points instead of "
    case.found.append(Diagnosis(code, f"{fault} ({proof}{int(as_is.sum())})", mend))
    case.apply(hypothesis.edit)
    return True


def _better(
    best: tuple[int, int, Hypothesis, tuple[int, int, int]] | None,
    case: Case,
    as_is: np.ndarray,
    hypothesis: Hypothesis,
) -> tuple[int, int, Hypothesis, tuple[int, int, int]] | None:
    """The better of the best so far and a hypothesis that convinces: (net votes, points, hypothesis, votes)."""
    edited = case.counts(hypothesis.edit)
    tally = votes(as_is, edited)
    own = (tally[0] - tally[1], int(edited.sum()))
    if convincing(*tally) and (best is None or own > best[:2]):
        return (*own, hypothesis, tally)
    return best


def _z_offset(metres: float) -> Hypothesis:
    return Hypothesis(
        "z_offset", edit_columns(z=lambda boxes: boxes[:, Z] + metres),
        f"all boxes lie about {abs(metres):.2g} m too {'low' if metres > 0 else 'high'}",
        "bring boxes and points into the same frame: was the lidar's mounting height left out?",
    )  # fmt: skip


def _examine_misplaced(case: Case) -> bool:
    """Boxes that hold no points under any hypothesis; labels of a lidar set nearly all hold some."""
    empty = case.counts() == 0
    if empty.mean() <= 0.8:
        return False
    what = f"boxes do not lie on the points: {int(empty.sum())} of {len(empty)} hold none"
    mend = "check that boxes are in the ego frame of their own frame and that the lidar's extrinsics are ego from lidar"
    # A hypothesis that won among the few others explains nothing.
    case.found = [d for d in case.found if d.code == "units"]
    case.found.append(Diagnosis("misplaced", what, mend))
    return True


def _examine_yaw_scatter(case: Case) -> None:
    """Long boxes that would each hold far more points under a yaw of their own: yaw follows nothing."""
    as_is = case.counts()
    best = np.zeros_like(as_is)
    for turn in np.arange(1, 36) * (np.pi / 36):
        best = np.maximum(best, case.counts(_turned(turn)))
    boxes = case.all_boxes()
    short, long = np.sort(boxes[:, [LENGTH, WIDTH]], axis=1).T
    able = (long > 1.5 * short) & (long > 1.0) & (best >= 10)
    bad, total = int((able & (as_is < 0.7 * best)).sum()), int(able.sum())
    spreads = [np.ptp(wrap_angle(b[:, YAW] - b[0, YAW])) for b in case.boxes if len(b) >= 3]
    parallel = bool(spreads) and max(spreads) < 1e-3
    if bad < (2 if parallel else 5) or bad < (0.05 if parallel else 0.3) * total:
        return
    # A yaw fault that was really mended leaves no scatter: what was named before was an accident of random yaws.
    case.found = [d for d in case.found if not d.code.startswith("yaw_")]
    proof = f"{bad} of {total} long boxes would hold over 40 % more points under a yaw of their own"
    if parallel:
        what = f"all boxes of a frame have the same yaw, and it does not follow the points ({proof})"
        mend = "the order of the quaternion is probably wrong: it must be w, x, y, z"
        case.found.append(Diagnosis("quaternion_order", what, mend))
    else:
        what = f"yaw does not follow the points, box by box ({proof})"
        case.found.append(Diagnosis("yaw_scattered", what, "degrees were probably read as radians: convert yaw"))


def _turned(angle: float) -> Edit:
    return edit_columns(yaw=lambda boxes: boxes[:, YAW] + angle)


def frame_of_log(log: Log, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [P, 3] of all lidars of a frame and its boxes [N, 9], both in the frame's ego frame."""
    frame = log.frame(index)
    parts = [np.zeros((0, 3))]
    for name, row in frame.rows.items():
        sensor = log.sensors[name]
        if sensor.modality == "lidar":
            sweep = log.sweep(name, row)
            ego_from_sensor = invert(frame.global_from_ego) @ sweep.global_from_ego @ sensor.ego_from_sensor
            parts.append(transform_points(ego_from_sensor, sweep.points[:, :3].astype(np.float64)))
    return np.concatenate(parts), log.boxes(index).boxes


def diagnose_logs(paths: Iterable[Path], max_frames: int = MAX_FRAMES) -> dict[str, list[Diagnosis]]:
    """Diagnoses by data set, from up to ``max_frames`` frames with sweep, and the tracks of up to MAX_TRACK_LOGS logs.

    Both are spread evenly over the logs.
    """
    candidates: dict[str, list[tuple[Path, int]]] = {}
    logs: dict[str, list[Path]] = {}
    for path in paths:
        log = Log.open(path)
        logs.setdefault(log.dataset, []).append(path)
        lidars = {name for name, sensor in log.sensors.items() if sensor.modality == "lidar"}
        for i in range(log.num_frames):
            if lidars & log.frame(i).rows.keys():
                candidates.setdefault(log.dataset, []).append((path, i))
    found = {}
    for dataset, paths_of_set in sorted(logs.items()):
        frames = candidates.get(dataset, [])
        picks = [frames[i] for i in _spread_evenly(len(frames), max_frames)]
        found[dataset] = diagnose([frame_of_log(Log.open(path), i) for path, i in picks])
        some = [Log.open(paths_of_set[i]) for i in _spread_evenly(len(paths_of_set), MAX_TRACK_LOGS)]
        found[dataset] += diagnose_tracks(*tracks_of_logs(some))
    return found


def _spread_evenly(count: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def main(argv: Sequence[str]) -> int:
    """``python -m data_tools.frame_doctor LOGS``: one line a fault; exit code 1 if there is any."""
    if len(argv) != 1:
        raise UserError("frame_doctor", f"takes one folder, not {len(argv)} arguments", "give the folder of the logs")
    root = Path(argv[0])
    found = diagnose_logs([root] if (root / "log.json").is_file() else list_logs(root))
    for dataset, diagnoses in found.items():
        for diagnosis in diagnoses:
            print(f"{dataset}: {diagnosis.code}: {diagnosis}")
        if not diagnoses:
            print(f"{dataset}: no fault found in the frames")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
