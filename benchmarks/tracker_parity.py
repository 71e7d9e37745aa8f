"""Our baseline trackers against the published trackers' own code, on the same detections in one run.

    python -m benchmarks.tracker_parity DATA --ab3dmot CHECKOUT --centerpoint CHECKOUT --simpletrack CHECKOUT

DATA holds ``kitti/tracking`` and ``nuscenes/detection_ab3dmot``. Ours run with the published forms switched on (clock
"frames", refuse_late, coast "last", missing_velocity "still"). Detections stay in the frame of the sensor: they are
turned to our axes by a pure exchange of axes, so that no rounding comes in. nuScenes' files name no times: frames are
0.45 to 0.55 s apart (seed 0). They name no velocities either: CenterPoint's tracker is fed, once, with none, and once
with the way from the nearest detection of the class in the frame before, where one is within 5 m.

AB3DMOT gets the files' numbers as they are. For the other two, centres are shaken by up to 5 mm and scores by less than
1e-6 (seed 0): the files round to centimetres and hundredths, and on exact ties CenterPoint decides by how float32
rounds (ours: float64), SimpleTrack by numpy's unstable order of equal scores (ours: the file's order). SimpleTrack's
overlap is too large where one box holds the other in height; what it suppresses for that reason alone is a difference.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nuscenes_metrics import machine
from benchmarks.tracker_peers import Ab3dmotPeer, CenterPointPeer, PeerFrame, SimpleTrackPeer, camera_boxes
from drive.tracks.ab3dmot import Ab3dmotConfig
from drive.tracks.center_greedy import CenterGreedyConfig
from drive.tracks.simple_track import SimpleTrackConfig
from drive.tracks.track import FrameDetections, TrackedFrame

KITTI_CLASSES = ("Car", "Pedestrian", "Cyclist")
NUSCENES_CLASSES = ("car", "truck", "bus", "trailer", "pedestrian", "motorcycle", "bicycle")
CLOSE = 1e-6


@dataclass
class Tally:
    """Frames and boxes compared; the first difference ends a sequence."""

    sequences: int = 0
    frames: int = 0
    boxes: int = 0
    different: int = 0
    largest_difference: float = 0.0
    first_difference: str = ""
    peer_s: float = 0.0
    ours_s: float = 0.0

    def compare(self, place: str, frame: int, peer: PeerFrame, ours: TrackedFrame, rename: dict[int, int]) -> bool:
        """False where ids or boxes differ. ``rename`` grows: their id -> ours."""
        self.frames += 1
        self.boxes += len(peer.ids)
        mine = {int(i): k for k, i in enumerate(ours.ids)}
        names = [rename.setdefault(int(i), int(i)) for i in peer.ids]
        if sorted(names) != sorted(mine):
            self.different += 1
            self.first_difference = self.first_difference or f"{place}, frame {frame}: ids {names} and {sorted(mine)}"
            return False
        rows = [mine[i] for i in names]
        apart = np.abs(ours.boxes[rows, :7] - peer.boxes)
        apart[:, 6] = np.abs(np.angle(np.exp(1j * (ours.boxes[rows, 6] - peer.boxes[:, 6]))))
        most = max(apart.max(initial=0.0), np.abs(ours.scores[rows] - peer.scores).max(initial=0.0))
        self.largest_difference = max(self.largest_difference, float(most))
        if most > CLOSE:
            self.different += 1
            self.first_difference = self.first_difference or f"{place}, frame {frame}: {most:.2g} apart"
        return bool(most <= CLOSE)


@dataclass(frozen=True)
class Found:
    """Detections of one frame of one class, as the files have them: h w l x y z rotation_y [N, 7], scores [N]."""

    numbers: np.ndarray
    scores: np.ndarray


def read(path: Path, frames: int = 0) -> list[Found]:
    """The frames of a file of AB3DMOT's text form, at least ``frames`` of them."""
    rows = np.array([[float(v) for v in line.split(",")] for line in path.read_text().splitlines() if line.strip()])
    rows = rows.reshape(-1, 15)
    count = max(frames, int(rows[:, 0].max(initial=-1)) + 1)
    return [Found(rows[of, 7:14], rows[of, 6]) for of in (rows[:, 0] == f for f in range(count))]


def frame_of(time_s: float, parts: Iterable[tuple[int, Found]], velocity: np.ndarray | None = None) -> FrameDetections:
    parts = list(parts)
    boxes = np.concatenate([np.zeros((0, 7)), *(camera_boxes(p.numbers) for _, p in parts)])
    count = len(boxes)
    motion = np.zeros((count, 2)) if velocity is None else velocity
    labels = np.concatenate([np.zeros(0), *(np.full(len(p.scores), k) for k, p in parts)]).astype(np.int64)
    return FrameDetections(
        round(time_s * 1e9),
        np.concatenate([boxes, motion], axis=1),
        np.full(count, velocity is not None),
        np.concatenate([np.zeros(0), *(p.scores for _, p in parts)]),
        labels,
        np.zeros((count, 0), np.float32),
    )


def ab3dmot(
    tally: Tally, place: str, peer: Ab3dmotPeer, config: Ab3dmotConfig, found: list[Found], period_s: float
) -> None:
    """One class of one sequence: literally the same ids."""
    tracker = replace(config, clock="frames", refuse_late=True).build()
    state, rename = tracker.start(), dict[int, int]()
    tally.sequences += 1
    for f, part in enumerate(found):
        given = frame_of(1 + f * period_s, [(0, part)])
        t0 = time.perf_counter()
        theirs = peer.step(part.numbers, part.scores)
        t1 = time.perf_counter()
        state, ours = tracker.step(state, given)
        tally.peer_s, tally.ours_s = tally.peer_s + t1 - t0, tally.ours_s + time.perf_counter() - t1
        if not tally.compare(place, f, theirs, ours, rename):
            return


def together(tally: Tally, place: str, config: Ab3dmotConfig, found: list[list[Found]], period_s: float) -> None:
    """All classes in one tracker against one tracker a class: the same tracks under other names."""
    config = replace(config, clock="frames", refuse_late=True)
    whole = config.build()
    single = [replace(config, classes=(c,)).build() for c in config.classes]
    state, states = whole.start(), [t.start() for t in single]
    renames = [dict[int, int]() for _ in single]
    tally.sequences += 1
    for f, parts in enumerate(zip(*found, strict=True)):
        state, ours = whole.step(state, frame_of(1 + f * period_s, list(enumerate(parts))))
        for k, (tracker, part) in enumerate(zip(single, parts, strict=True)):
            states[k], alone = tracker.step(states[k], frame_of(1 + f * period_s, [(0, part)]))
            mine = np.flatnonzero(ours.labels == k)
            for theirs, row in zip(np.sort(alone.ids), mine[np.argsort(ours.ids[mine])], strict=False):
                renames[k].setdefault(int(theirs), int(ours.ids[row]))
            own = TrackedFrame(
                ours.timestamp_ns,
                *(v[mine] for name, v in vars(ours).items() if name != "timestamp_ns"),
            )
            if not tally.compare(place, f, PeerFrame.of(alone.ids, alone.boxes[:, :7], alone.scores), own, renames[k]):
                return


def nearest_motion(now: FrameDetections, before: FrameDetections | None, passed_s: float) -> np.ndarray:
    """Velocity [N, 2]: from the nearest detection of the class in the frame before within 5 m, else 0."""
    out = np.zeros((len(now), 2))
    if before is None or not len(before) or not len(now):
        return out
    way = now.boxes[:, None, :2] - before.boxes[None, :, :2]
    far = np.where(now.labels[:, None] == before.labels, np.hypot(way[..., 0], way[..., 1]), np.inf)
    nearest = far.argmin(axis=1)
    close = far[np.arange(len(now)), nearest] < 5.0
    out[close] = way[np.arange(len(now)), nearest][close] / passed_s
    return out


def centerpoint(tally: Tally, place: str, peer: CenterPointPeer, found: list[list[Found]], moving: bool) -> None:
    """All classes of one scene. Detections are handed over by falling score, as the tracker goes through them."""
    config = replace(CenterGreedyConfig.nuscenes(NUSCENES_CLASSES), clock="frames", coast="last")
    tracker = replace(config, missing_velocity="still").build()
    state, before, last_s, rename = tracker.start(), None, 0.0, dict[int, int]()
    tally.sequences += 1
    for f, (time_s, parts) in enumerate(zip(times(len(found[0])), zip(*found, strict=True), strict=True)):
        given = frame_of(time_s, list(enumerate(parts)))
        given = given.take(np.argsort(-given.scores, kind="stable"))
        if moving:
            given.boxes[:, 7:] = nearest_motion(given, before, time_s - last_s)
            given.velocity_valid[:] = True
        t0 = time.perf_counter()
        theirs = peer.step(
            given.timestamp_ns * 1e-9, given.boxes[:, :7], given.boxes[:, 7:], given.scores, given.labels
        )
        t1 = time.perf_counter()
        state, ours = tracker.step(state, given)
        tally.peer_s, tally.ours_s = tally.peer_s + t1 - t0, tally.ours_s + time.perf_counter() - t1
        before, last_s = given, time_s
        if not tally.compare(place, f, theirs, ours, rename):
            return


def simple_track(
    tally: Tally, place: str, peer: SimpleTrackPeer, config: SimpleTrackConfig, found: list[Found], stamps: np.ndarray
) -> None:
    """One class of one sequence."""
    tracker = replace(config, clock="frames", refuse_late=True).build()
    state, rename = tracker.start(), dict[int, int]()
    tally.sequences += 1
    for f, (time_s, part) in enumerate(zip(stamps, found, strict=True)):
        given = frame_of(float(time_s), [(0, part)])
        t0 = time.perf_counter()
        theirs = peer.step(given.timestamp_ns * 1e-9, given.boxes[:, :7], given.scores)
        t1 = time.perf_counter()
        state, ours = tracker.step(state, given)
        tally.peer_s, tally.ours_s = tally.peer_s + t1 - t0, tally.ours_s + time.perf_counter() - t1
        if not tally.compare(place, f, theirs, ours, rename):
            return


def shaken(found: list[Found], seed: int) -> list[Found]:
    """No two distances or scores equal."""
    rng, out = np.random.default_rng(seed), []
    for part in found:
        numbers = part.numbers.copy()
        numbers[:, 3:6] += rng.uniform(-0.005, 0.005, (len(numbers), 3))
        out.append(Found(numbers, part.scores + rng.uniform(0, 1e-6, len(numbers))))
    return out


def times(frames: int) -> np.ndarray:
    return 1 + np.cumsum(np.random.default_rng(0).uniform(0.45, 0.55, frames))


def kitti(folder: Path) -> dict[str, list[list[Found]]]:
    """{sequence: detections of every class}, all frames of the labels."""
    out = {}
    for labels in sorted((folder / "training" / "label_02").glob("*.txt")):
        frames = max(int(line.split()[0]) for line in labels.read_text().splitlines()) + 1
        parts = [read(folder / "detection" / f"pointrcnn_{c}_val" / labels.name, frames) for c in KITTI_CLASSES]
        most = max(len(p) for p in parts)
        out[labels.stem] = [p + [Found(np.zeros((0, 7)), np.zeros(0))] * (most - len(p)) for p in parts]
    return out


def nuscenes(folder: Path, detector: str) -> dict[str, list[list[Found]]]:
    """{scene: detections of every class}, all frames up to the last one with a detection."""
    out = {}
    for cars in sorted(folder.glob(f"{detector}_Car_*/scene-*.txt")):
        split = cars.parent.name.rsplit("_", 1)[1]
        files = [folder / f"{detector}_{c.capitalize()}_{split}" / cars.name for c in NUSCENES_CLASSES]
        parts = [read(file) if file.exists() else [] for file in files]
        most = max(len(p) for p in parts)
        out[cars.stem] = [p + [Found(np.zeros((0, 7)), np.zeros(0))] * (most - len(p)) for p in parts]
    return out


def probabilities(found: list[Found]) -> list[Found]:
    """PointRCNN's logits as SimpleTrack expects scores."""
    return [Found(p.numbers, 1 / (1 + np.exp(-p.scores))) for p in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--ab3dmot", type=Path)
    parser.add_argument("--centerpoint", type=Path)
    parser.add_argument("--simpletrack", type=Path)
    parser.add_argument("--sequences", type=int, default=1000, help="KITTI sequences for AB3DMOT")
    parser.add_argument("--scenes", type=int, default=1000, help="nuScenes scenes of each detector")
    parser.add_argument("--slow-scenes", type=int, default=1, help="of those, with AB3DMOT and SimpleTrack too")
    parser.add_argument("--simpletrack-sequences", type=int, default=2, help="KITTI sequences for SimpleTrack")
    parser.add_argument("--out", type=Path, help="results: what has been compared so far, and at the end all of it")
    args = parser.parse_args()
    data = args.data / "nuscenes" / "detection_ab3dmot"
    scenes = {d: list(nuscenes(data, d).items())[: args.scenes] for d in ("centerpoint", "megvii")}
    on_kitti = list(kitti(args.data / "kitti" / "tracking").items())
    tallies: dict[str, Tally] = {}

    def tally(name: str) -> Tally:
        save(args, tallies)
        return tallies.setdefault(name, Tally())

    for sequence, parts in on_kitti[: args.sequences]:
        together(tally("AB3DMOT, KITTI, all classes in one tracker"), sequence, Ab3dmotConfig.kitti(), parts, 0.1)
        for k, name in enumerate(KITTI_CLASSES) if args.ab3dmot else ():
            peer = Ab3dmotPeer(args.ab3dmot, "KITTI", "pointrcnn", name)
            ab3dmot(tally(f"AB3DMOT, KITTI, {name}"), sequence, peer, Ab3dmotConfig.kitti((name,)), parts[k], 0.1)
        print("KITTI", sequence, file=sys.stderr, flush=True)
    for detector, n, scene, parts in ((d, n, *item) for d, items in scenes.items() for n, item in enumerate(items)):
        moved = [shaken(part, k) for k, part in enumerate(parts)]
        for moving in (False, True) if args.centerpoint else ():
            title = f"CenterPoint, nuScenes {detector}, {'made' if moving else 'no'} velocities"
            centerpoint(tally(title), scene, CenterPointPeer(args.centerpoint, NUSCENES_CLASSES), moved, moving)
        for k, name in enumerate(NUSCENES_CLASSES) if args.simpletrack and n < args.slow_scenes else ():
            other, own = SimpleTrackPeer(args.simpletrack, "nu_configs/giou.yaml"), SimpleTrackConfig.nuscenes((name,))
            stamps = times(len(moved[k]))
            simple_track(tally(f"SimpleTrack, nuScenes {detector}"), f"{scene} {name}", other, own, moved[k], stamps)
        for k, name in enumerate(NUSCENES_CLASSES) if args.ab3dmot and n < args.slow_scenes else ():
            peer = Ab3dmotPeer(args.ab3dmot, "nuScenes", detector, name.capitalize())
            config = Ab3dmotConfig.nuscenes((name,), detector)  # type: ignore[arg-type]
            ab3dmot(tally(f"AB3DMOT, nuScenes {detector}"), f"{scene} {name}", peer, config, parts[k], 0.5)
        print(detector, scene, file=sys.stderr, flush=True)
    for sequence, parts in on_kitti[: args.simpletrack_sequences] if args.simpletrack else ():
        for k, (name, kind) in enumerate(zip(KITTI_CLASSES, ("vehicle", "pedestrian", "cyclist"), strict=True)):
            file = "pd_kf_giou" if kind == "pedestrian" else "vc_kf_giou"
            other, own = (
                SimpleTrackPeer(args.simpletrack, f"waymo_configs/{file}.yaml"),
                SimpleTrackConfig.waymo((kind,)),
            )
            found = probabilities(shaken(parts[k], k))
            stamps = 1 + np.arange(len(found)) * 0.1
            simple_track(tally("SimpleTrack, KITTI, Waymo's set"), f"{sequence} {name}", other, own, found, stamps)
    print(save(args, tallies))


def save(args: argparse.Namespace, tallies: dict[str, Tally]) -> str:
    """Write what was compared so far; returns it as text."""
    peers = [f"--{peer} CHECKOUT" for peer in ("ab3dmot", "centerpoint", "simpletrack") if getattr(args, peer)]
    limits = [
        f"--{name.replace('_', '-')} {getattr(args, name)}"
        for name in ("sequences", "scenes", "slow_scenes", "simpletrack_sequences")
    ]
    report: dict[str, Any] = {
        "benchmark": "tracker_parity",
        "command": " ".join(["python -m benchmarks.tracker_parity DATA", *peers, *limits]),
        "close": CLOSE,
        "machine": machine(),
        "results": {name: asdict(t) for name, t in tallies.items()},
    }
    text = json.dumps(report, indent=2)
    if args.out:
        args.out.write_text(text + "\n")
    return text


if __name__ == "__main__":
    main()
