"""The command line: ``drive VERB ...``. Each verb is a few lines over the Python function that does the work."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from drive import __version__
from drive.errors import UserError

Verb = Callable[[Sequence[str]], int]


def _convert(argv: Sequence[str]) -> int:
    return int(importlib.import_module("data_tools.convert").main(argv) or 0)


def _verify(argv: Sequence[str]) -> int:
    return int(importlib.import_module("data_tools.verify").main(argv) or 0)


def _train(argv: Sequence[str]) -> int:
    from drive.runs import train_command

    return train_command(argv)


def _detect(argv: Sequence[str]) -> int:
    from drive.detect import detect_command

    return detect_command(argv)


def _score(argv: Sequence[str]) -> int:
    from drive.runs import score_command

    return score_command(argv)


def _plan(argv: Sequence[str]) -> int:
    from drive.plan import plan_command

    return plan_command(argv)


def _view(argv: Sequence[str]) -> int:
    from drive.view.drive_command import names_a_run, view_drives_command

    if names_a_run(argv):
        return view_drives_command(argv)
    from drive.runs import view_command

    return view_command(argv)


def _simulate(argv: Sequence[str]) -> int:
    from drive.simulate import simulate_command

    return simulate_command(argv)


def _track(argv: Sequence[str]) -> int:
    from drive.track import track_command

    return track_command(argv)


def _doctor(argv: Sequence[str]) -> int:
    from drive.doctor import main as doctor_main

    return int(doctor_main(argv) or 0)


VERBS: dict[str, tuple[Verb, str]] = {
    "convert": (_convert, "raw data set -> logs:            drive convert nuscenes RAW OUT"),
    "verify": (_verify, "check logs and their frames:     drive verify LOGS"),
    "train": (_train, "train a recipe:                  drive train configs.town_swformer --out runs/mine"),
    "detect": (_detect, "boxes in scans or logs:          drive detect runs/mine SCANS --out boxes"),
    "simulate": (_simulate, "planners in closed loop:         drive simulate LOGS --planner idm"),
    "track": (_track, "boxes of logs -> objects:        drive track configs.town_ab3dmot --logs LOGS --run runs/mine"),
    "score": (_score, "score a run or a result file:    drive score runs/mine"),
    "plan": (_plan, "train a planner:                 drive plan configs.town_diffusion --out runs/mine"),
    "view": (_view, "pictures of a log or a run:      drive view LOG --frame 3, or drive view runs/simulate"),
    "doctor": (_doctor, "what is installed, what is wrong: drive doctor"),
}


def usage() -> str:
    lines = [f"drive {__version__}: from raw driving logs to scored detections", "", "verbs:"]
    lines += [f"  {name:8s} {text}" for name, (_, text) in VERBS.items()]
    return "\n".join([*lines, "", "drive VERB --help shows a verb's options."])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Exit status 0; 1 where something failed and is listed; 2 for input that we cannot use."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # Torch's threads spin while they wait for each other. On a machine that does anything else beside us that made a
    # training step up to 20 times slower; waiting in the kernel costs next to nothing. Set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        print(__version__)
        return 0
    try:
        if argv[0] not in VERBS:
            raise UserError(f"drive {argv[0]}", "there is no such verb", f"use one of {', '.join(VERBS)}")
        return VERBS[argv[0]][0](argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("drive", "ops", "configs", "data_tools"):
            raise
        hint = "pip install 'drivewright[all]', or `make install` in a checkout"
        print(f"error: drive {argv[0]}: the package {error.name!r} is not installed; {hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished work is kept, the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
