"""A recipe by its name, and typed overrides from the command line."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Sequence
from typing import TypeVar

import tyro

from drive.errors import UserError
from drive.experiment import Experiment, TrackExperiment

AnyExperiment = TypeVar("AnyExperiment", Experiment, TrackExperiment)
_VERB = {Experiment: "drive train", TrackExperiment: "drive track"}


def load_recipe(name: str) -> Experiment:
    """The Experiment that ``module.experiment()`` returns; ``name`` is the module's dotted name.

    Raises:
        UserError: no such module, no such function in it, or one that returns another kind of experiment.
    """
    return _load(name, Experiment)


def load_track_recipe(name: str) -> TrackExperiment:
    """As :func:`load_recipe`, of a TrackExperiment."""
    return _load(name, TrackExperiment)


def _load(name: str, kind: type[AnyExperiment]) -> AnyExperiment:
    name = name.removesuffix(".py").replace("/", ".")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        mend = "name a module with a function experiment(), such as configs.town_swformer"
        raise UserError(f"recipe {name}", "there is no such module", mend) from error
    recipe = getattr(module, "experiment", None)
    if recipe is None:
        raise UserError(f"recipe {name}", "it has no function experiment()", "define one that returns an Experiment")
    experiment = recipe()
    if not isinstance(experiment, kind):
        other = _VERB.get(type(experiment))
        mend = f"use it with `{other}`" if other else f"return one of {kind.__name__}"
        raise UserError(f"recipe {name}", f"experiment() returned {type(experiment).__name__}", mend)
    return experiment


def override(experiment: AnyExperiment, argv: Sequence[str], program: str = "drive train RECIPE") -> AnyExperiment:
    """``--train.epochs 12`` and the like applied to a recipe, checked against the dataclasses' types.

    Raises:
        UserError: a field that does not exist, or a value of the wrong type.
    """
    if "-h" in argv or "--help" in argv:
        return _parse(experiment, list(argv), program, True)
    known = sorted(_fields(experiment))
    for word in argv:
        if not word.startswith("--"):
            continue
        field = word[2:].split("=")[0].replace("-", "_")
        if field not in known:
            near = difflib.get_close_matches(field, known, 1, 0.5)
            mend = f"did you mean --{near[0]}?" if near else "`--help` lists the fields"
            raise UserError(word, "the recipe has no such field", mend)
    try:
        return _parse(experiment, list(argv), program, False)
    except SystemExit as error:
        words = " ".join(argv)
        raise UserError(words, "a value that does not fit its field's type", "`--help` shows the types") from error


def _parse(experiment: AnyExperiment, argv: list[str], program: str, output: bool) -> AnyExperiment:
    markers = (tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff)
    return tyro.cli(
        type(experiment), default=experiment, args=argv, prog=program, config=markers, console_outputs=output
    )


def _fields(value: object, prefix: str = "") -> set[str]:
    """Dotted names of every field of nested dataclasses, and of dataclasses inside tuples by their index."""
    names: set[str] = set()
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        name, inner = prefix + field.name, getattr(value, field.name)
        names.add(name)
        if dataclasses.is_dataclass(inner):
            names |= _fields(inner, f"{name}.")
        elif isinstance(inner, tuple):
            for i, part in enumerate(inner):
                if dataclasses.is_dataclass(part):
                    names |= _fields(part, f"{name}.{i}.")
    return names
