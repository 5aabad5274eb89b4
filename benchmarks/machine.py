"""What the figures were measured on, and how much memory a phase took."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from rrwkv_export.bench.machine import load_average, machine


def describe() -> str:
    memory = f"memory {psutil.virtual_memory().total / 1e9:.0f} GB"
    return ", ".join([memory, *(f"{what} {which}" for what, which in machine(load=load_average()).items())])


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def anonymous_bytes() -> int:
    """Memory that is the process's own: not what it maps from files."""
    return next(1024 * int(line.split()[1]) for line in _lines("/proc/self/status") if line.startswith("RssAnon"))


class PeakMemory:
    """Samples anonymous memory in a thread; `lap` gives the peak since the last lap."""

    def __init__(self) -> None:
        self._peak = 0
        self._stop = threading.Event()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            self._peak = max(self._peak, anonymous_bytes())

    def lap(self) -> int:
        peak, self._peak = max(self._peak, anonymous_bytes()), 0
        return peak


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    peak = PeakMemory()
    thread = threading.Thread(target=peak._run, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak._stop.set()
        thread.join()
