"""Calling somebody else's planner: a limit on its time, and any way in which it fails is a sentence."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from drive.plans.plan import Modes, Plan
from drive.plans.planner import BatchPlanner, Observation, Planner


@dataclass(frozen=True)
class Answer:
    """A plan, or why there is none; and how long it took."""

    plan: Plan | None
    failure: str
    seconds: float


class Caller:
    """Calls in a thread of their own, so that one can stop waiting. A call that is given up goes on in the background
    until it returns (Python cannot stop it); the next one gets another thread."""

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = limit_s
        self._jobs: queue.SimpleQueue[Any] | None = None

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> tuple[Any, str, float]:
        """(result or None, failure or "", seconds)."""
        start = time.perf_counter()
        if self.limit_s is None:
            result, failure = _tried(function, arguments)
            return result, failure, time.perf_counter() - start
        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._jobs,), daemon=True, name="planner").start()
        answer: queue.SimpleQueue[tuple[Any, str]] = queue.SimpleQueue()
        self._jobs.put((function, arguments, answer))
        try:
            result, failure = answer.get(timeout=self.limit_s)
        except queue.Empty:
            self._jobs.put(None)  # when it is done at last, its thread ends
            self._jobs = None
            return None, f"took longer than {self.limit_s:g} s", time.perf_counter() - start
        return result, failure, time.perf_counter() - start

    def close(self) -> None:
        """End the thread."""
        if self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None


def _serve(jobs: queue.SimpleQueue[Any]) -> None:
    while (job := jobs.get()) is not None:
        function, arguments, answer = job
        answer.put(_tried(function, arguments))


def _tried(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, str]:
    try:
        return function(*arguments), ""
    except Exception as error:  # whatever somebody's planner raises is a failed drive, not the end of the others
        said = str(error).splitlines()
        return None, f"raised {type(error).__name__}: {said[0] if said else ''}".rstrip(": ")


def ask(caller: Caller, planners: Sequence[Planner], observations: Sequence[Observation]) -> list[Answer]:
    """One answer an observation. A planner of all drives that answers for many is called once; should that fail, each
    drive is asked for alone, so that one bad scene does not take the others with it."""
    first = planners[0] if planners else None
    if len(planners) > 1 and isinstance(first, BatchPlanner) and all(p is first for p in planners):
        plans, failure, seconds = caller(first.plan_many, observations)
        if not failure and isinstance(plans, Sequence) and len(plans) == len(observations):
            return [_checked(plan, "", seconds / len(plans)) for plan in plans]
    return [_checked(*caller(p.plan, o)) for p, o in zip(planners, observations, strict=True)]


def _checked(plan: Any, failure: str, seconds: float) -> Answer:
    if failure:
        return Answer(None, failure, seconds)
    if not isinstance(plan, Plan):
        return Answer(None, f"returned {type(plan).__name__}, not a Plan", seconds)
    try:
        Plan(plan.poses, plan.times_s)  # its arrays may have been changed since it was made
        if plan.modes is not None:
            Modes(plan.modes.poses, plan.modes.scores)
    except ValueError as error:
        return Answer(None, f"returned {error}", seconds)
    return Answer(plan, "", seconds)
