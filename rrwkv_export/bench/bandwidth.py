"""How fast this machine's memory can be read: the roof of decoding, which reads every weight for every token.

A buffer is read in short rounds, each thread a stretch of its own, once or, where caches hold the buffer, several times
over; by every pattern in turn, since which is fastest depends on the processor. What others do to the machine, what a
host keeps from a virtual one and what a container's quota stops make rounds slower and none faster: so a pattern is as
fast as the best tenth of its rounds, and memory as the best pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from rrwkv_export.bench.alternate import Prepared
from rrwkv_export.bench.readers import FILL, LEAST, Bytes, Reader, readers

ROUNDS = 8  # of each pattern, a turn
_STRETCH = 48 * 2**20  # bytes a thread reads a round: milliseconds, beside which the threads' start is nothing
_BEST = 0.9
_PAGE, _HUGE = 4096, 2**21


@dataclass(frozen=True)
class Bandwidth:
    """rate: bytes/s. pattern: that was the fastest. size: bytes of the buffer."""

    rate: float
    pattern: str
    size: int


class Probe:
    """Reads a buffer by `threads` threads. Calling it gives back a turn: some rounds of every pattern.

    patterns: by name; `readers()` if None.
    """

    def __init__(self, buffer: Bytes, threads: int, patterns: Mapping[str, Reader] | None = None) -> None:
        self._patterns = readers() if patterns is None else patterns
        self._spans = _spans(buffer, threads)
        self._passes = max(1, round(_STRETCH / len(self._spans[0][0])))
        self._rates: dict[str, list[float]] = {name: [] for name in self._patterns}
        self._threads = [ThreadPoolExecutor(1) for _ in range(threads)]  # each keeps to its part, as its caches do
        self._next = 0
        self.size = sum(len(part) for span in self._spans for part in span)

    def __call__(self) -> Prepared:
        return self.turn

    def turn(self) -> None:
        """Read, and take down how fast."""
        for name, read in self._patterns.items():
            self._rates[name] += [self._round(read) for _ in range(ROUNDS)]

    def found(self) -> Bandwidth:
        """By what has been read till now, at least a turn."""
        rates = {name: float(np.quantile(found, _BEST)) for name, found in self._rates.items()}
        best = max(rates, key=lambda name: rates[name])
        return Bandwidth(rates[best], best, self.size)

    def close(self) -> None:
        """End its threads."""
        for thread in self._threads:
            thread.shutdown()

    def _round(self, read: Reader) -> float:
        """Bytes/s from the first thread's start to the last one's end. The next round reads the next span."""
        parts = self._spans[self._next]
        self._next = (self._next + 1) % len(self._spans)

        def through(part: Bytes) -> tuple[float, float]:
            started = perf_counter()
            for _ in range(self._passes):
                read(part)
            return started, perf_counter()

        running = [thread.submit(through, part) for thread, part in zip(self._threads, parts)]
        times = [each.result() for each in running]
        seconds = max(ended for _, ended in times) - min(started for started, _ in times)
        return self._passes * sum(map(len, parts)) / seconds


def measured(buffer: Bytes, threads: int, turns: int = 4) -> Bandwidth:
    """Of a buffer, by itself."""
    probe = Probe(buffer, threads)
    try:
        for _ in range(turns):
            probe.turn()
        return probe.found()
    finally:
        probe.close()


def buffer_of(size: int, threads: int) -> Bytes:
    """Of bytes FILL, beginning where a huge page may.

    Each thread writes its share first, so that on a machine with several memories each has some.
    """
    room = np.empty(size + _HUGE, np.int8)  # numpy asks for huge pages
    start = -room.ctypes.data % _HUGE
    buffer: Bytes = room[start : start + size]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: part.fill(FILL), np.array_split(buffer, threads)))
    return buffer


def _spans(buffer: Bytes, threads: int) -> list[list[Bytes]]:
    """The buffer in as many spans as there are rounds to read all of it, each in a part for every thread.

    All parts are of one size, a multiple of what patterns need.
    """
    count = max(1, round(len(buffer) / (threads * _STRETCH)))
    part = len(buffer) // (count * threads)
    part = max(LEAST, part // _PAGE * _PAGE if part >= _PAGE else part // LEAST * LEAST)
    parts = [buffer[each * part :][:part] for each in range(count * threads)]
    return [parts[span * threads :][:threads] for span in range(count)]
