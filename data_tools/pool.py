"""Convert logs in parallel, one log one unit of work: in this process, in a pool of processes, or on a Ray cluster.

The same `Work` runs everywhere, and every runner keeps the same promise: it yields one (name, error or None) a log, a
process that dies takes only its own log with it, and that log is tried once more before it counts as failed.
"""

from __future__ import annotations

import importlib
import multiprocessing
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.claim import is_finished
from drive.errors import UserError
from drive.logs.choice import Choice, choosing
from drive.logs.partial import sweep_partials
from drive.logs.tables import disk_full
from drive.ray_session import ray_session
from drive.samples.workers import end_with_parent

Outcome = tuple[str, str | None]
KILLED = "the converting process was killed (out of memory?)"


@dataclass(frozen=True)
class Work:
    """Converts one log when it is called with its spec; returns the error as one line, or None.

    Attributes:
        module: The converter's name (it is imported where the work is done).
        raw, out: Folders that every worker sees under these names.
        options: The data set's options; choice: what of a log is written.
    """

    module: str
    raw: Path
    out: Path
    options: Any
    choice: Choice

    def __call__(self, spec: Any) -> str | None:
        try:
            if not is_finished(self.out / spec.name):  # it may be: a process that died after the log was whole
                with choosing(self.choice):
                    importlib.import_module(self.module).convert_log(self.raw, spec, self.out, self.options)
        except UserError as error:
            # Another host may have finished the same log while this one was at it.
            return None if _there(self.out / spec.name) else str(error)
        except OSError as error:
            return str(disk_full(self.out, error) or f"{error.filename or spec.name}: {error.strerror or error}")
        except Exception as error:  # a log that trips our own code must not stop the others: name the place, go on
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}:{frame.lineno}"
            return f"{spec.name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} ({place})"
        return None


def _there(path: Path) -> bool:
    try:
        return is_finished(path)
    except UserError:
        return False


def run(work: Work, specs: Sequence[Any], workers: int) -> Iterator[Outcome]:
    """Convert on this machine, with one worker in this very process. Yields as logs end."""
    if workers == 1:
        for spec in specs:
            yield spec.name, work(spec)
        return
    waiting: list[Any] = list(reversed(specs))
    suspects: list[Any] = []
    while waiting or suspects:
        # After a death nobody knows whose log it was: those in flight run again one by one.
        alone = not waiting
        with _pool(1 if alone else workers) as pool:
            flying: dict[Future[str | None], Any] = {}
            try:
                while waiting or flying or (alone and suspects):
                    queue = suspects if alone else waiting
                    while queue and len(flying) < (1 if alone else workers):
                        spec = queue.pop()
                        flying[pool.submit(work, spec)] = spec
                    done, _ = wait(flying, return_when=FIRST_COMPLETED)
                    for future in done:
                        error = future.result()
                        yield flying.pop(future).name, error
            except BrokenProcessPool:
                if alone:
                    (spec,) = flying.values()
                    yield spec.name, f"{spec.name}: {KILLED}"
                else:
                    suspects.extend(flying.values())
        sweep_partials(work.out)


def _pool(workers: int) -> ProcessPoolExecutor:
    # A driver that is killed must not leave workers behind that wait for work for ever.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=spawn, initializer=end_with_parent)


def run_ray(work: Work, specs: Sequence[Any], address: str, workers: int) -> Iterator[Outcome]:
    """Convert on a Ray cluster; `address` as ``ray.init`` takes it, or "local" to start one with `workers` processors.

    `work.raw` and `work.out` must be on a file system that all nodes share, and this package installed on each.

    Raises:
        UserError: Ray is not installed, or nothing answers at the address.
    """
    try:
        with ray_session(address, workers) as ray:
            # Once more where a node or process dies; an exception of the work itself is an outcome, not a reason.
            remote = ray.remote(_on_node).options(max_retries=1, num_cpus=1, scheduling_strategy="SPREAD")
            shared = ray.put(work)
            ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
            waiting = list(reversed(specs))
            flying: dict[Any, Any] = {}
            while waiting or flying:
                while waiting and len(flying) < ahead:
                    spec = waiting.pop()
                    flying[remote.remote(shared, spec)] = spec
                (done,), _ = ray.wait(list(flying), num_returns=1)
                spec = flying.pop(done)
                try:
                    yield spec.name, ray.get(done)
                except ray.exceptions.RayTaskError as error:  # the node cannot even begin: no such package there
                    what = f"a node of the cluster cannot run this ({str(error).splitlines()[-1]})"
                    yield spec.name, f"{spec.name}: {what}"
                except ray.exceptions.RayError:
                    yield spec.name, f"{spec.name}: {KILLED}"
    finally:
        sweep_partials(work.out)


def _on_node(work: Work, spec: Any) -> str | None:
    sweep_partials(work.out)  # of processes that died on this node
    return work(spec)
