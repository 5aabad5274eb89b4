"""Runs on the workers of a Ray cluster, each a task of one core. Ray is an extra.

Workers import a run's function by its name: every machine of a cluster needs this package, and what the function is in.
Only the calling process writes results.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from rrwkv_export.errors import RunError
from rrwkv_export.runs.execute import LOCAL, Outcome, in_one_line, try_run
from rrwkv_export.runs.grid import Run
from rrwkv_runtime.common import install
from rrwkv_runtime.common.reading import brief

_TRIES = 3  # of a run whose worker is killed


def on_ray(runs: Sequence[Run], address: str, workers: int | None) -> Iterator[Outcome]:
    """Outcomes as runs end, in any order. Raises RunError where there is no Ray, or none at the address."""
    ray = _connected(address, workers)
    try:
        task = ray.remote(num_cpus=1, max_retries=_TRIES - 1)(try_run)
        tasks = {task.remote(run): run for run in runs}
        while tasks:
            (ended, *_), _ = ray.wait(list(tasks), num_returns=1)
            yield _outcome(ray, ended, tasks.pop(ended))
    finally:
        ray.shutdown()


def _outcome(ray: Any, ended: Any, run: Run) -> Outcome:
    try:
        found: Outcome = ray.get(ended)
    except ray.exceptions.RayTaskError as error:  # raised before try_run, which itself raises nothing
        return Outcome(run, None, f"no worker can begin it ({in_one_line(error)})", 0.0)
    except ray.exceptions.RayError as error:  # its worker is gone, or its machine
        return Outcome(run, None, f"its worker was lost {_TRIES} times ({in_one_line(error)})", 0.0)
    return found


def _connected(address: str, workers: int | None) -> Any:
    if find_spec("ray") is None:
        raise RunError(f"--ray needs ray: {install.hint('rrwkv-export', 'ray')}")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it tells its makers of each cluster otherwise
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address == LOCAL:
            ray.init(address=LOCAL, num_cpus=workers or os.cpu_count(), include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # a bare one where a node does not come up in time
        raise RunError(f"--ray {address}: no Ray there ({brief(error)}); give an address, or {LOCAL}") from None
    return ray
