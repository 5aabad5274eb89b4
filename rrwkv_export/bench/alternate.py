"""Timing several things in alternation, so that what else the machine does touches all of them alike.

Rounds: each thing once, then each thing again in the opposite order, and so on; the first round warms up and does not
count. Before each run the process's own threads come to rest: onnxruntime's spin for tens of milliseconds after a run,
and would take the cores from whatever is timed next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time, sleep
from typing import TypeVar

from rrwkv_export.bench.machine import busy_seconds
from rrwkv_export.progress import Progress

Key = TypeVar("Key", bound=Hashable)
Prepared = Callable[[], object]
Run = Callable[[], Prepared]
"""Called, it makes everything ready, untimed, and gives back what is timed."""

_LEAST_ROUNDS = 2
# Others may use this share of a core, on top of what the system's counters (10 ms steps, one a core) cannot tell.
DISTURBING, _COUNTING = 0.05, 0.02
_REST, _RESTING, _MOST_RESTS = 0.005, 3, 100


@dataclass(frozen=True)
class Sample:
    """One run. others: CPU time that other processes used meanwhile, as a share of a core; None if unknown."""

    seconds: float
    others: float | None

    @property
    def disturbed(self) -> bool:
        """Whether others used more than a few percent of a core."""
        return self.others is not None and self.others * self.seconds > DISTURBING * self.seconds + _COUNTING


def alternate(
    runs: Mapping[Key, Run],
    rounds: int,
    *,
    most_seconds: float | None = None,
    watch: Callable[[Run], Sample] | None = None,
    progress: Progress | None = None,
) -> dict[Key, list[Sample]]:
    """Samples of every run, one a round, in the order of the rounds.

    most_seconds: after two rounds, no further one is begun when so much time has passed. watch: what times a run.
    """
    found: dict[Key, list[Sample]] = {key: [] for key in runs}
    watch, started = watch or timed, perf_counter()
    for turn in range(rounds + 1):
        late = most_seconds is not None and perf_counter() - started > most_seconds
        if late and turn > _LEAST_ROUNDS:
            break
        for key in runs if turn % 2 else reversed(list(runs)):
            sample = watch(runs[key])
            if turn:
                found[key].append(sample)
        if progress:
            progress("measuring", turn + 1, rounds + 1)
    return found


def timed(run: Run) -> Sample:
    """One run, from rest."""
    _rest()
    prepared = run()
    before, own, started = busy_seconds(), process_time(), perf_counter()
    prepared()
    seconds = perf_counter() - started
    own, after = process_time() - own, busy_seconds()
    if before is None or after is None:
        return Sample(seconds, None)
    share, most = (after - before - own) / seconds, float(os.cpu_count() or 1)
    return Sample(seconds, min(max(0.0, share), most))  # the counters' steps are coarse for a short run


def share_of_others(samples: Sequence[Sample]) -> float | None:
    """Over all of some runs; None if unknown."""
    known = [sample for sample in samples if sample.others is not None]
    seconds = sum(sample.seconds for sample in known)
    return sum((sample.others or 0.0) * sample.seconds for sample in known) / seconds if known else None


def _rest() -> None:
    """Until this process's threads have used next to nothing for a while, half a second at most."""
    resting = 0
    for _ in range(_MOST_RESTS):
        used = process_time()
        sleep(_REST)
        resting = resting + 1 if process_time() - used < 0.2 * _REST else 0
        if resting == _RESTING:
            return
