"""Drives in many scenes on a Ray cluster (extra ``cluster``): the same work as in a pool of processes here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from drive.errors import UserError
from drive.ray_session import ray_session
from drive.rollouts.many import KILLED, Drives, SceneSpec, SimulationWork
from drive.rollouts.rollout import not_simulated


def drive_on_ray(
    work: SimulationWork, specs: Sequence[SceneSpec], address: str, jobs: int = 1, *, batch: int = 32
) -> Iterator[Drives]:
    """Drive in all scenes, ``batch`` of them side by side in a task. Yields batches as they end.

    `address` as ``ray.init`` takes it, or "local" to start a cluster on this machine with `jobs` processors. The logs
    must lie on a file system that all nodes share, and this package (and the planner's) be installed on each. A task
    that dies with its process or node is tried once more, scene by scene; who dies again is recorded as failed.

    Raises:
        UserError: Ray is not installed, nothing answers at the address, a node cannot run this at all.
    """
    if not specs:
        return
    with ray_session(address, jobs) as ray:
        # No retries by Ray: the same batch would die of the same scene and take the others with it again.
        remote = ray.remote(_on_node).options(max_retries=0, num_cpus=1, scheduling_strategy="SPREAD")
        shared = ray.put(work)
        ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        batches = [specs[i : i + batch] for i in range(0, len(specs), batch)]
        waiting = [(own, False) for own in reversed(batches)]  # (scenes, whether it is their second time)
        flying: dict[Any, tuple[Sequence[SceneSpec], bool]] = {}
        while waiting or flying:
            while waiting and len(flying) < ahead:
                task = waiting.pop()
                flying[remote.remote(shared, task[0])] = task
            (done,), _ = ray.wait(list(flying), num_returns=1)
            own, again = flying.pop(done)
            try:
                yield ray.get(done)
            except ray.exceptions.RayTaskError as error:  # no such package there, no such planner
                what = f"a node of the cluster cannot run this ({str(error).splitlines()[-1]})"
                raise UserError(f"--ray {address}", what, "install the same packages on every node") from error
            except ray.exceptions.RayError:
                if again:
                    yield Drives(tuple(not_simulated(s.name, s.log.name, work.name, KILLED) for s in own))
                else:
                    waiting += [([spec], True) for spec in own]


def _on_node(work: SimulationWork, specs: Sequence[SceneSpec]) -> Drives:
    return work(specs)
