"""A Ray cluster to hand work to (extra ``cluster``): the converters' and the simulator's way into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from drive.errors import UserError


@contextmanager
def ray_session(address: str, processors: int) -> Iterator[Any]:
    """The module ``ray``, connected; what was begun here is ended here.

    Args:
        address: as ``ray.init`` takes it, or "local" to start a cluster on this machine.
        processors: of a local one.

    Raises:
        UserError: Ray is not installed, or nothing answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray", "Ray is not installed", "pip install 'drivewright[cluster]'") from error
    local = address == "local"
    where: dict[str, Any] = {"num_cpus": processors, "include_dashboard": False} if local else {"address": address}
    began = not ray.is_initialized()
    if began:
        try:
            ray.init(logging_level="ERROR", log_to_driver=False, **where)
        except Exception as error:  # of many kinds, a bare one where a node does not start in time
            what = f"no Ray cluster answers there ({str(error).splitlines()[0]})"
            raise UserError(f"--ray {address}", what, "start one by `ray start --head`, or use --ray local") from error
    try:
        yield ray
    finally:
        if began:
            ray.shutdown()
