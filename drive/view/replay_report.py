"""The closed loop's report.html: a table of planners, and every scene as a replay that is drawn when it is opened.

One file that opens from a disk. Where all scenes together would make it too large, each lies in a file of its own
beside the page, which loads it as a script: pages from a disk may do that, and may not read other files.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from drive.boxes.table_file import whole_file
from drive.errors import UserError
from drive.rollouts.rollout import Rollout
from drive.rollouts.run_folder import RunFolder
from drive.view.replay import KINDS, replays, wrong
from drive.view.replay_code import packed, replay_document
from drive.view.replay_page import PAGE
from drive.view.replay_scores import RunScores, read_run_scores

REPORT = "report.html"
MAX_BYTES = 16_000_000
"""Of all scenes within the page; beyond, each has a file of its own."""
_OWN_FILE = re.compile(r"\d{5}-[0-9a-f]{8}\.js")


def write_replay_report(run: RunFolder, page: Path | None = None) -> Path:
    """Write the page of a folder (into it, unless told where). A scene whose log is gone is shown without its map.

    What ``drive score`` found, where it was run, gives columns of the table and the order of the scenes.

    Raises:
        UserError: the page cannot be written; the folder's scores.json is damaged.
    """
    page = page or run.path / REPORT
    scores, no_scores = read_run_scores(run)
    colours = {name: number for number, name in enumerate(run.drives)}
    beside = page.with_name(f"{page.stem}_scenes")
    entries: list[dict[str, Any]] = []
    inside: list[str] = []
    size, outside = 0, False
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        for number, replay in enumerate(replays(run)):
            data = packed(replay_document(replay, colours))
            entries.append({"name": replay.name, "drives": [_entry(d, colours, scores) for d in replay.drives]})
            size += len(data)
            inside.append(data)
            if size > MAX_BYTES:
                outside = True
                for k, own in enumerate(inside, number + 1 - len(inside)):
                    entries[k]["file"] = f"{beside.name}/{_write_beside(beside, k, own)}"
                inside = []
        if outside:
            for k, own in enumerate(inside, len(entries) - len(inside)):
                entries[k]["file"] = f"{beside.name}/{_write_beside(beside, k, own)}"
            inside = []
        text = _page(run, entries, inside, scores, no_scores)
        with whole_file(page) as file:
            file.write(text.encode())
        # What an earlier page left; the new one does not know of it.
        listed = {entry.get("file") for entry in entries}
        for old in beside.glob("*.js") if beside.is_dir() else []:
            if _OWN_FILE.fullmatch(old.name) and f"{beside.name}/{old.name}" not in listed:
                old.unlink()
    except OSError as error:
        raise UserError(page, f"cannot be written ({error})", "choose another folder or free some space") from error
    return page


def _write_beside(folder: Path, number: int, data: str) -> str:
    name = f"{number:05d}-{zlib.crc32(data.encode()):08x}.js"
    folder.mkdir(exist_ok=True)
    with whole_file(folder / name) as file:
        file.write(f'replay({number},"{data}")'.encode())
    return name


def _entry(drive: Rollout, colours: dict[str, int], scores: RunScores | None) -> list[Any]:
    """What the list of scenes tells of a drive; the page's script names the columns."""
    score = None if scores is None else scores.of_drive(drive.planner, drive.scene)
    seconds = round(max(len(drive.ego) - 1, 0) * 0.1, 1)
    return [drive.end, drive.failure, score, list(wrong(drive)), seconds, colours[drive.planner]]


def _page(
    run: RunFolder, entries: list[dict[str, Any]], inside: list[str], scores: RunScores | None, no_scores: str
) -> str:
    # "<" could end the script element early: a log may be called anything.
    index = json.dumps({"planners": list(run.drives), "kinds": KINDS, "scenes": entries}, separators=(",", ":"))
    data = "".join(f'<script type="text/plain" id="s{i}">{own}</script>\n' for i, own in enumerate(inside))
    failed = [drive for drives in run.drives.values() for drive in drives if drive.failed]
    return PAGE.substitute(
        title=escape(f"Closed loop: {run.path.resolve().name}"),
        text=_settings(run),
        figures=_planners(run, scores)
        + f'<p class="faint">{escape(no_scores)}</p>'
        + _pairs(scores)
        + _failures(failed),
        rule=escape(_rule(scores)),
        key=_KEY,
        index=index.replace("<", "\\u003c"),
        data=data,
    )


def _note(text: str) -> str:
    return f'<p class="faint">{escape(text)}</p>' if text else ""


def _settings(run: RunFolder) -> str:
    s = run.document["simulation"]
    ego = f", driven as {run.scene.ego}" if run.scene.ego else ""
    said = (
        f"{len(run.scenes)} scenes of {len(run.logs)} logs{ego}; the others: {s['actors']['mode']}; a plan every "
        f"{s['replan_s']:g} s, in force {s['latency_s']:g} s after it was asked for; tracking: {s['tracking']}."
    )
    whole = json.dumps({"simulation": s, "scene": run.document["scene"]}, indent=1)
    return f"<p>{escape(said)}</p><details><summary>settings</summary><pre>{escape(whole)}</pre></details>"


def _planners(run: RunFolder, scores: RunScores | None) -> str:
    scored = ""
    if scores is not None:
        cells = [[name, *(scores.of_planner(name, column) for column in scores.columns)] for name in run.drives]
        scored = _table(["planner", *scores.columns], cells)
    head = ["planner", "drives", "failed", "left out", "seconds driven", "ended early"]
    head += [kind.replace("_", " ") for kind in KINDS[1:]] + ["ms a plan, median", "at worst"]
    rows = []
    for name, drives in run.drives.items():
        counts = np.sum([wrong(drive) for drive in drives] or [(0,) * len(KINDS)], axis=0)
        took = np.concatenate([drive.plans.seconds for drive in drives] or [np.zeros(0)]) * 1e3
        early = sum(drive.end != "end of the log" and not drive.failed for drive in drives)
        seconds = sum(max(len(drive.ego) - 1, 0) for drive in drives) * 0.1
        left_out = len(run.document["planners"][name].get("left_out", ()))
        times = [f"{np.median(took):.1f}", f"{took.max():.1f}"] if len(took) else ["–", "–"]
        plain = [len(drives), counts[0], left_out, f"{seconds:.0f}", early, *counts[1:]]
        rows.append([name, *(str(value) for value in plain), *times])
    return scored + _table(head, rows)


def _pairs(scores: RunScores | None) -> str:
    if scores is None or not scores.pairs:
        return ""
    rule = f'<h2>Paired differences</h2><p class="faint">{escape(scores.pairs_rule)}</p>'
    return rule + _table(scores.pairs_head, scores.pairs)


def _failures(failed: Sequence[Rollout]) -> str:
    if not failed:
        return ""
    rows = [[drive.scene, drive.planner, drive.failure] for drive in failed]
    return f'<h2 class="bad">{len(failed)} failed</h2>' + _table(["scene", "planner", "why"], rows, "failures")


def _rule(scores: RunScores | None) -> str:
    counted = ", ".join(kind.replace("_", " ") for kind in KINDS)
    first = f"By score ({scores.label}), the mean over the planners; then by" if scores is not None else "By"
    return (
        f"{first} how often each of these happened, the gravest first: {counted}. A collision here is one by the ego's "
        "own fault, other contacts are not."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], name: str = "") -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide {name}"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
        if rows
        else "<p>None.</p>"
    )


_KEY = "".join(
    f'<span class="key"><i style="--s:{colour}"></i>{text}</span>'
    for colour, text in (
        ("#262c35", "drivable area"),
        ("#4a4636", "crossing"),
        ("#9aa7b8", "road edge"),
        ("#4c5665", "lane"),
        ("#3fb6a8", "route"),
        ("#8fa3bd", "vehicle"),
        ("#ffcf70", "pedestrian"),
        ("#a8e05f", "cyclist"),
        ("#7d7668", "thing"),
        ("#ffffff", "the plan of this instant"),
        ("linear-gradient(90deg,#625cb2,#3cafaa,#f5e664)", "modes, by score"),
        ("#c9d2de", "recorded drive (dotted)"),
        ("#ff465a", "collision (dashed: not at fault)"),
        ("#ffaa3c", "off the road"),
        ("#ff5fd2", "red light"),
        ("#c8a2ff", "off the route"),
    )
)
