"""What the memory allows each subject of a bench: probes that run in alternation with its tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rrwkv_export.bench.alternate import Run
from rrwkv_export.bench.bandwidth import Bandwidth, Probe, buffer_of
from rrwkv_export.bench.caches import Cache, caches, free_memory, holding, past
from rrwkv_export.bench.plan import Subject
from rrwkv_runtime.execution.cores import usable

MEMORY, AT_SIZE = "memory", "at size"  # the probes' names beside a subject's tests
_LEAST_READ = 10**6  # bytes a token: with less, memory is not what decoding waits for


@dataclass(frozen=True)
class Roof:
    """memory: of a buffer that no cache holds. at_size: of one as large as what a token reads. cache: that holds it."""

    memory: Bandwidth
    at_size: Bandwidth
    cache: Cache | None


class Roofs:
    """Of the subjects that read enough for one; `runs` are to be timed beside their tests."""

    def __init__(self, chosen: Sequence[Subject]) -> None:
        self._caches = caches()
        self._memory: dict[int, Probe] = {}  # by threads
        self._at_size: dict[Subject, Probe] = {}
        self.runs: dict[tuple[Subject, str], Run] = {}
        chosen = [subject for subject in chosen if subject.cost.read >= _LEAST_READ]
        if not chosen:
            return
        buffer = buffer_of(past(self._caches, free_memory()), usable())
        for subject in chosen:
            threads = _threads(subject)
            if threads not in self._memory:
                self._memory[threads] = Probe(buffer, threads)
                self.runs[subject, MEMORY] = self._memory[threads]
            self._at_size[subject] = Probe(buffer[: subject.cost.read], threads)
            self.runs[subject, AT_SIZE] = self._at_size[subject]

    def found(self, subject: Subject) -> Roof | None:
        """After the runs."""
        if subject not in self._at_size:
            return None
        threads = _threads(subject)
        cache = holding(subject.cost.read, threads, self._caches)
        return Roof(self._memory[threads].found(), self._at_size[subject].found(), cache)

    def close(self) -> None:
        """End the probes' threads."""
        for probe in (*self._memory.values(), *self._at_size.values()):
            probe.close()


def _threads(subject: Subject) -> int:
    return subject.threads or usable()
