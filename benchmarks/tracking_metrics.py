"""Our tracking metrics against their official programs on real KITTI tracks: equal first, then how long each takes.

    python -m benchmarks.tracking_metrics LOGS TRACKS --ab3dmot CHECKOUT [--sequences 0001 0008 ...]

LOGS: ``drive convert kitti_tracking``; TRACKS: a tracks.arrow of ``drive track`` on them. AB3DMOT's evaluation
(github.com/xinshuoweng/AB3DMOT) gets the labels and tracks as text; TrackEval 1.3 (pip) and py-motmetrics 1.4 the
same overlaps as ours, at the threshold that AB3DMOT's metric chose. Every count of every threshold must be equal and
every mean to 1e-9, else the program fails. Seconds are of the processor, on one thread; ours the best of three, from
arrays to all figures.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.convert import machine
from drive.logs.store import list_logs
from drive.scores.clear_mot import evaluate_clear, without_ignored
from drive.scores.clear_mot_boxes import overlap_pairs
from drive.scores.clear_mot_kitti import (
    KITTI_MOT_CLASSES,
    KittiMotTruth,
    KittiTracks,
    kitti_sides,
    load_kitti_mot,
    place_in_camera,
)
from drive.scores.clear_mot_recall import COUNTS, MotRecall, evaluate_recall
from drive.scores.hota import evaluate_hota, similarity_of
from drive.tracks.sequence import read_tracks
from drive.train.weights import write_atomic
from tests.official import ab3dmot_peer, motmetrics_peer, trackeval_peer

CLOSE = 1e-9


def best_of(run: Callable[[], Any], times: int = 3) -> tuple[Any, float]:
    seconds = []
    for _ in range(times):
        begin = time.process_time()
        result = run()
        seconds.append(time.process_time() - begin)
    return result, min(seconds)


def texts(truth: KittiMotTruth, tracks: KittiTracks, logs: Path) -> tuple[list[tuple[list[str], list[str]]], list[int]]:
    """(label lines, result lines) and frames of every sequence; numbers with all their digits."""
    found, frames = [], []
    for number, name in enumerate(truth.log_names):
        rows = np.flatnonzero(truth.log_of == number)
        first, count = int(rows[0]), len(rows)
        labels = (logs / name / "files" / "label_02.txt").read_text().splitlines()
        lines = []
        for k in np.flatnonzero((tracks.frame >= first) & (tracks.frame < first + count)).tolist():
            box = tracks.boxes[k]
            numbers = [*tracks.image_box[k], box[5], box[4], box[3], -box[1], box[5] / 2 - box[2], box[0]]
            numbers += [-box[6] - np.pi / 2, tracks.score[k]]
            head = f"{tracks.frame[k] - first} {tracks.track[k]} {tracks.kind[k].capitalize()} 0 0 -10 "
            lines.append(head + " ".join(repr(float(v)) for v in numbers))
        found.append((labels, lines))
        frames.append(count)
    return found, frames


def differences(ours: MotRecall, official: dict[str, Any]) -> list[str]:
    out = [f"{n}: {ours.counts[n]}, {v}" for n, v in official["counts"].items() if ours.counts[n] != v]
    out += [f"{n}: {ours.values[n]}, {v}" for n, v in official["values"].items() if abs(ours.values[n] - v) > CLOSE]
    if len(official["curve"]) != len(ours.curve.threshold):
        return [*out, "another number of thresholds"]
    for i, row in enumerate(official["curve"]):
        counts = zip(COUNTS, ours.curve.counts[i].tolist(), strict=True)
        out += [f"threshold {i}, {n}: {c}, {row[n]}" for n, c in counts if n in row and row[n] != c]
    return out


def main() -> int:
    arguments = parse(sys.argv[1:])
    truth = load_kitti_mot(
        [p for p in sorted(list_logs(arguments.logs)) if p.name.endswith(tuple(arguments.sequences))]
    )
    tracks = place_in_camera(read_tracks(arguments.tracks), truth)[0]
    sequences, frames = texts(truth, tracks, arguments.logs)
    result: dict[str, Any] = {
        "benchmark": "tracking_metrics",
        "command": "python -m benchmarks.tracking_metrics LOGS TRACKS --ab3dmot CHECKOUT",
        "machine": machine(),
        "sequences": truth.log_names,
        "frames": int(sum(frames)),
        "rows": {},
    }
    bad: list[str] = []
    script = ab3dmot_peer.load(arguments.ab3dmot.resolve())
    for overlap in arguments.overlaps:
        begin = time.process_time()
        official = ab3dmot_peer.evaluate(script, sequences, frames, overlap)
        peer_s, ours_s, thresholds = time.process_time() - begin, 0.0, 0
        for name, wanted in official.items():
            sides = kitti_sides(truth.labels, tracks, name)
            found, seconds = best_of(partial(evaluate_recall, *sides, overlap))
            ours_s += seconds
            thresholds += len(found.curve.threshold)
            bad += [f"AB3DMOT {name} {overlap}: {text}" for text in differences(found, wanted)]
        add(result, f"ab3dmot.{overlap}", peer_s, ours_s, {"classes": list(official), "thresholds": thresholds})
    ends = np.cumsum(frames).tolist()
    ranges = [range(end - count, end) for end, count in zip(ends, frames, strict=True)]
    for name in KITTI_MOT_CLASSES:
        sides = kitti_sides(truth.labels, tracks, name)
        threshold = evaluate_recall(*sides, 0.25).values["threshold"]
        count = np.bincount(sides[1].track)
        mean = (np.bincount(sides[1].track, sides[1].score) / np.maximum(count, 1))[sides[1].track]
        kept = sides[0], sides[1].take(mean >= threshold - 1e-9)
        kept = without_ignored(*kept, overlap_pairs(*kept, 0.5))

        def clear(kept: Any = kept) -> Any:
            return evaluate_clear(*kept, overlap_pairs(*kept, 0.5))

        found, ours_s = best_of(clear)
        pairs = overlap_pairs(*kept, 0.5)
        begin = time.process_time()
        wanted = motmetrics_peer.figures(*kept, pairs)
        peer_s = time.process_time() - begin
        own = found.counts | found.values
        bad += [f"motmetrics {name} {n}: {own[n]}, {v}" for n, v in wanted.items() if not abs(own[n] - v) <= CLOSE]
        add(result, f"motmetrics.{name}", peer_s, ours_s, {"boxes": len(kept[0])})

        def hota(kept: Any = kept) -> Any:
            pairs = overlap_pairs(*kept, 1e-9)
            return evaluate_hota(*kept, pairs, similarity_of(pairs))

        found, ours_s = best_of(hota)
        pairs = overlap_pairs(*kept, 1e-9)
        begin = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            wanted = trackeval_peer.hota(*kept, pairs, similarity_of(pairs), ranges)
        peer_s = time.process_time() - begin
        for title, ours in (("HOTA", found.curves["hota"]), ("AssA", found.curves["assa"]), ("HOTA_TP", found.tp)):
            gap = float(np.abs(np.asarray(wanted[title]) - ours).max())
            if gap > CLOSE:
                bad.append(f"TrackEval {name} {title}: {gap}")
        add(result, f"trackeval.{name}", peer_s, ours_s, {"boxes": len(kept[0])})
    for text in bad:
        print("DIFFERS", text)
    if bad:
        return 1
    write_atomic(arguments.out, partial(_write, json.dumps(result, indent=1) + "\n"))
    return 0


def add(result: dict[str, Any], name: str, peer_s: float, ours_s: float, more: dict[str, Any]) -> None:
    row = {"peer_s": round(peer_s, 3), "ours_s": round(ours_s, 5), "times_faster": round(peer_s / ours_s, 1), **more}
    result["rows"][name] = row
    print(name, row, flush=True)


def _write(text: str, path: Path) -> None:
    path.write_text(text)


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("--ab3dmot", type=Path, required=True)
    parser.add_argument("--sequences", nargs="+", default=["0001", "0008", "0012", "0014", "0015", "0019"])
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0.25])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "tracking_metrics.json")
    return parser.parse_args(words)


if __name__ == "__main__":
    raise SystemExit(main())
