"""What of a grid is not finished, run after run; whatever stops it, no finished run is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rrwkv_export.progress import Progress
from rrwkv_export.runs.grid import Run, check_grid
from rrwkv_export.runs.store import Store
from rrwkv_runtime.common.printable import writable

Say = Callable[[str], None]
LOCAL = "local"


@dataclass(frozen=True)
class Outcome:
    """How one run ended: with a result, or with an error in one line. seconds: of the last try."""

    run: Run
    result: dict[str, Any] | None
    error: str
    seconds: float


@dataclass(frozen=True)
class Done:
    """Runs of a grid: finished now; finished before, or by another process meanwhile; and failed, by name."""

    finished: int
    before: int
    failed: tuple[str, ...]


def execute(
    runs: Sequence[Run],
    store: Store,
    *,
    ray: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    say: Say = print,
) -> Done:
    """Run all that is not finished, in order, and keep each result as it comes. Raises RunError.

    ray: the address of a Ray cluster, or "local" for one on this machine while this runs; None for this process, where
    run follows run. workers: of a local one, None for one a core. A run that fails is recorded and stops no other; so
    is one whose worker is lost again and again. The next call tries both anew.
    """
    check_grid(runs)
    kept = store.finished_keys()
    missing = [run for run in runs if run.key not in kept]
    before, finished, failed = len(runs) - len(missing), 0, list[Run]()
    if before:
        say(f"{before} of {len(runs)} runs are finished already")
    for done, outcome in enumerate(_outcomes(missing, store, ray, workers), before + 1):
        run, place = outcome.run, f"[{done}/{len(runs)}]"
        if outcome.result is None:
            store.fail(run, outcome.error)
            failed.append(run)
            say(f"{place} {run.name}: failed after {outcome.seconds:.0f} s: {outcome.error}")
        else:
            store.finish(run, outcome.result, outcome.seconds)
            finished += 1
            say(f"{place} {run.name}: {outcome.seconds:.0f} s")
        if progress:
            progress("runs", done, len(runs))
    errors = store.failed()
    names = tuple(run.name for run in failed if run.key in errors)
    return Done(finished, len(runs) - finished - len(names), names)


def _outcomes(missing: Sequence[Run], store: Store, ray: str | None, workers: int | None) -> Iterable[Outcome]:
    if not missing or ray is None:
        return _here(missing, store)
    from rrwkv_export.runs.on_ray import on_ray

    return on_ray(missing, ray, workers)


def _here(missing: Iterable[Run], store: Store) -> Iterator[Outcome]:
    """None of those that another process has finished meanwhile."""
    for run in missing:
        if run.key not in store.finished_keys():
            yield try_run(run)


def try_run(run: Run) -> Outcome:
    """Its outcome, whatever its function raises."""
    begun = time.perf_counter()
    try:
        result, error = run.call(), ""
    except Exception as raised:
        result, error = None, in_one_line(raised)
    return Outcome(run, result, error, time.perf_counter() - begun)


def in_one_line(error: BaseException) -> str:
    try:
        text = writable(" ".join(str(error).split()))
    except Exception:  # an error that cannot even be told
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
