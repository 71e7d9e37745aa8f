"""Planners as a command line names them."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from pathlib import Path

from drive.errors import UserError
from drive.plans.baselines import BASELINES
from drive.plans.planner import Planner

# Planners that stand further right than this room: named here, loaded when they are asked for.
ELSEWHERE = {"pdm_closed": "drive.scores.pdm_closed:pdm_closed"}


def find_planner(name: str) -> Planner:
    """A rule-based planner by its name, the folder of a run of ``drive plan``, or ``package.module:thing``: a planner,
    or what makes one without arguments.

    Modules in the folder that the command runs in are found too.

    Raises:
        UserError: neither; what it names is no planner; a planner whose name is no folder's.
    """
    planner = _find(name)
    if not re.fullmatch(r"\w[\w.+ -]*", planner.name):
        what = f"calls itself {planner.name!r}, which cannot name a folder of results"
        raise UserError(f"planner {name!r}", what, "give it a name of letters, digits and _ . + -")
    return planner


def _find(name: str) -> Planner:
    if name in BASELINES:
        return BASELINES[name]
    if os.path.isfile(os.path.join(name, "config.json")):
        trained: Planner = importlib.import_module("drive.plan").load_planner(Path(name))
        return trained
    module, colon, thing = ELSEWHERE.get(name, name).partition(":")
    if not colon or not module or not thing:
        known = ", ".join([*BASELINES, *ELSEWHERE])
        raise UserError(f"planner {name!r}", f"is none of {known}", "name one of them, or yours as module:name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), thing)
        made = found() if inspect.isclass(found) or inspect.isfunction(found) else found
    except Exception as error:  # somebody's module can fail in any way
        what = f"cannot be loaded ({type(error).__name__}: {error})"
        raise UserError(f"planner {name!r}", what, "mend the module, or name another") from error
    if not isinstance(made, Planner):
        what = f"is a {type(made).__name__} without a name and plan(observation)"
        raise UserError(f"planner {name!r}", what, "see drive.plans.planner")
    return made
