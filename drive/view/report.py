"""report.html: one file, nothing from outside, read by a double click. Scores, curves, pictures, worst frames first."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from drive.errors import UserError
from drive.logs.store import Log
from drive.scores.curves import RECALL_POINTS, TP_ERRORS
from drive.scores.report import MEAN_NAMES, Report
from drive.scores.robustness import Robustness
from drive.view.charts import Points, line_chart
from drive.view.frames import FrameView, choose_frames, picture_frame
from drive.view.page import PAGE
from drive.view.robustness import read_robustness, robustness_part

MAX_BYTES = 14_000_000  # of the whole file; pictures beyond are left out, and the page says how many


@dataclass(frozen=True)
class RunSummary:
    """One run of a report.

    name: what its column is called. report: its score (pictures and per-class figures come from it). history: entries
    of metrics.jsonl. config: the resolved configuration as JSON text. facts: further rows of the table of figures
    (seconds of training, parameters, KITTI AP ...), in their order. robustness: its scores with failing sensors.
    """

    name: str
    report: Report
    history: Sequence[Mapping[str, Any]] = ()
    config: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    robustness: Robustness | None = None

    @staticmethod
    def of_folder(run: Path, report: Report, name: str = "", facts: Mapping[str, Any] | None = None) -> RunSummary:
        """With history and configuration from a run's folder, where they are there."""
        metrics, config = run / "metrics.jsonl", run / "config.json"
        history = read_history(metrics) if metrics.exists() else []
        text = config.read_text() if config.exists() else ""
        return RunSummary(name or run.name, report, history, text, facts or {}, read_robustness(run))


def read_history(path: Path) -> list[dict[str, Any]]:
    """Entries of metrics.jsonl; a half line at the end (a killed run) is left out, any other broken one a UserError."""
    lines = path.read_text().splitlines()
    out = []
    for number, line in enumerate(lines, 1):
        try:
            out.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise UserError(f"{path}:{number}", f"not JSON ({error})", "remove the line") from None
    return out


def write_report(
    out_html: Path,
    runs: Sequence[RunSummary],
    log_paths: Sequence[Path],
    *,
    title: str,
    text: str = "",
    max_frames: int = 24,
    width_px: int = 640,
    camera: bool = True,
) -> None:
    """Write the page of one run, or of several side by side, at once (temporary file, rename).

    runs: their reports must cover the same frames. log_paths: the logs of these frames. text: goes under the title.
    max_frames: pictures are made of at most so many frames: the worst, and others evenly spread.

    Raises ValueError: no run, or runs over different frames.
    """
    if not runs or any(run.report.truth.frames.ids != runs[0].report.truth.frames.ids for run in runs):
        raise ValueError("a report needs runs that were scored on the same frames")
    reports = [run.report for run in runs]
    logs = {log.name: log for log in (Log.open(path) for path in log_paths)}
    key_of = {row: key for key, row in reports[0].truth.frame_of.items()}
    views: list[FrameView] = []
    room = (MAX_BYTES - 400_000) * 3 // 4  # base64 takes four bytes for three
    chosen = choose_frames(reports, max_frames)
    for row in chosen:
        name, index = key_of[row]
        view = picture_frame(logs[name], index, row, reports, width_px=width_px, camera=camera)
        room -= view.size
        if room < 0:
            break
        views.append(view)
    page = PAGE.substitute(
        title=escape(title),
        text=f"<p>{escape(text)}</p>" if text else "",
        legend=_legend(runs),
        figures=_figures(runs),
        classes="".join(_classes(run) for run in runs),
        per_class=_per_class(runs),
        curves=_training_curves(runs) or "<p>No training log.</p>",
        precision=_precision_recall(runs),
        ranges=_ranges(runs),
        frame_count=f"{len(views)} of {len(reports[0].truth.frames)} frames",
        configs="".join(_config(run) for run in runs),
        missing=_missing(runs),
        robustness=robustness_part([run.name for run in runs], [run.robustness for run in runs]),
        # "</" would end the script element early.
        data=json.dumps([_embedded(view) for view in views]).replace("</", "<\\/"),
        names=json.dumps([run.name for run in runs]).replace("</", "<\\/"),
    )
    partial = out_html.with_name(f".{out_html.name}.partial-{os.getpid()}")
    partial.write_text(page, encoding="utf-8")
    partial.replace(out_html)


def _number(value: Any) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return escape(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def _legend(runs: Sequence[RunSummary]) -> str:
    return "".join(f'<span class="key run{i % 6}">{escape(run.name)}</span>' for i, run in enumerate(runs))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _figures(runs: Sequence[RunSummary]) -> str:
    """One column a run; the better of several in bold, by the direction in which the figure is better."""
    flats = [run.report.flat() for run in runs]
    up = [("mAP over the classes present", "mAP_present"), ("mAP", "mAP"), ("NDS", "NDS")]
    down = [(name, name) for name in MEAN_NAMES.values()]
    rows = []
    for label, key in up + down:
        values = [flat[key] for flat in flats]
        known = [value for value in values if value is not None]
        best = (max(known) if (label, key) in up else min(known)) if len(known) > 1 else None
        cells = [f"<b>{_number(v)}</b>" if best is not None and v == best else _number(v) for v in values]
        rows.append([escape(label), *cells])
    keys = dict.fromkeys(key for run in runs for key in run.facts)
    rows += [[escape(key), *(_number(run.facts.get(key)) for run in runs)] for key in keys]
    counts = {
        "frames": "counts.frames",
        "labels that count": "counts.truth",
        "predictions that count": "counts.predictions",
        "predictions in all": "counts.predictions_before_filters",
        "frames without predictions": "counts.missing_frames",
    }
    rows += [[escape(label), *(_number(flat[key]) for flat in flats)] for label, key in counts.items()]
    for label, values in (
        ("seeds", [", ".join(map(str, run.report.provenance.seeds)) or None for run in runs]),
        ("configuration", [run.report.provenance.config_hash or None for run in runs]),
        ("versions", [", ".join(f"{k} {v}" for k, v in run.report.versions.items()) for run in runs]),
    ):
        rows.append([label, *(_number(value) for value in values)])
    return _table(["", *(escape(run.name) for run in runs)], rows)


def _per_class(runs: Sequence[RunSummary]) -> str:
    """AP of the classes that occur, a bar a run."""
    metrics = runs[0].report.metrics
    rows = []
    for k, name in enumerate(metrics.config.class_names):
        if not metrics.truth_count[k]:
            continue
        bars = "".join(
            f'<div class="bar run{i % 6}"><i style="width:{400 * run.report.metrics.class_ap[k]:.0f}px"></i>'
            f"<span>{run.report.metrics.class_ap[k]:.3f}</span></div>"
            for i, run in enumerate(runs)
        )
        rows.append([escape(name), _number(int(metrics.truth_count[k])), bars])
    return _table(["class", "labels", "AP, mean over 0.5, 1, 2 and 4 m"], rows)


def _classes(run: RunSummary) -> str:
    m = run.report.metrics
    head = ["class", "labels", "predictions", "AP", *(f"AP {d:g} m" for d in m.config.thresholds_m)]
    head += [MEAN_NAMES[error].removeprefix("m") for error in TP_ERRORS]
    rows = []
    for k, name in enumerate(m.config.class_names):
        if m.truth_count[k] or m.prediction_count[k]:
            errors = [_number(float(m.tp_errors[k, i]) if m.tp_defined[k, i] else None) for i in range(len(TP_ERRORS))]
            counts = [_number(int(m.truth_count[k])), _number(int(m.prediction_count[k]))]
            rows.append(
                [escape(name), *counts, _number(float(m.class_ap[k])), *(_number(float(v)) for v in m.ap[k]), *errors]
            )
    return f"<details><summary>{escape(run.name)}: every figure of every class</summary>{_table(head, rows)}</details>"


def _training_curves(runs: Sequence[RunSummary]) -> str:
    """The loss and the learning rate, then every other number that the training logs carry."""
    keys = list(
        dict.fromkeys(k for run in runs for entry in run.history for k, v in entry.items() if _is_plottable(k, v))
    )
    keys.sort(key=lambda key: {"loss": 0, "lr": 1}.get(key, 2))
    charts = []
    for key in keys:
        series: dict[str, Points] = {
            run.name: [
                (float(e["step"]), float(e[key])) for e in run.history if "step" in e and _is_plottable(key, e.get(key))
            ]
            for run in runs
        }
        if any(len(points) > 1 for points in series.values()):
            charts.append(line_chart(key, series, x_name="step", logarithmic="loss" in key))
    return "".join(charts)


def _is_plottable(key: str, value: Any) -> bool:
    return key not in ("step", "progress") and isinstance(value, (int, float)) and not isinstance(value, bool)


def _precision_recall(runs: Sequence[RunSummary]) -> str:
    config = runs[0].report.metrics.config
    grid = np.linspace(0, 1, RECALL_POINTS).tolist()
    charts = []
    for k, name in enumerate(config.class_names):
        if runs[0].report.metrics.truth_count[k]:
            curves = {run.name: run.report.metrics.curves[name, config.tp_threshold_m].precision for run in runs}
            series = {run: list(zip(grid, curve.tolist(), strict=True)) for run, curve in curves.items()}
            charts.append(
                line_chart(name, series, x_name="recall", x_range=(0, 1), y_range=(0, 1), width=280, height=200)
            )
    return "".join(charts)


def _ranges(runs: Sequence[RunSummary]) -> str:
    metrics = runs[0].report.metrics
    head = ["class", *(f"{low:g}–{high:g} m" for low, high in metrics.config.range_bands_m)]
    rows = []
    for k, name in enumerate(metrics.config.class_names):
        if metrics.truth_count[k]:
            cells = [
                " / ".join(_number(float(run.report.metrics.band_ap[k, d])) for run in runs)
                + f" <small>of {metrics.band_truth[k, d]}</small>"
                if metrics.band_truth[k, d]
                else "–"
                for d in range(len(metrics.config.range_bands_m))
            ]
            rows.append([escape(name), *cells])
    return _table(head, rows)


def _config(run: RunSummary) -> str:
    body = f"<pre>{escape(run.config)}</pre>" if run.config else "<p>not recorded</p>"
    return f"<details><summary>{escape(run.name)}: configuration</summary>{body}</details>"


def _missing(runs: Sequence[RunSummary]) -> str:
    lines = [
        f"<p><b>{escape(run.name)}</b>: no predictions for {len(run.report.missing_frames)} frames, counted as empty: "
        f"{escape(', '.join(run.report.missing_frames))}</p>"
        for run in runs
        if run.report.missing_frames
    ]
    lines += [
        f"<p><b>{escape(run.name)}</b>, {escape(missing.line())}</p>"
        for run in runs
        for missing in run.report.missing_images
    ]
    return "".join(lines) or "<p>None: every labelled frame has predictions, and no camera failed.</p>"


def _embedded(view: FrameView) -> dict[str, Any]:
    def address(picture: bytes | None) -> str | None:
        return None if picture is None else "data:image/webp;base64," + base64.b64encode(picture).decode()

    return {
        "id": view.frame_id,
        "log": view.log,
        "index": view.index,
        "labels": view.labels,
        "missed": view.missed,
        "false": view.false,
        "predictions": view.predictions,
        "above": [address(picture) for picture in view.from_above],
        "ahead": [address(picture) for picture in view.ahead],
    }
