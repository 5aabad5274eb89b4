"""What the figures were measured on, and how much memory a phase took."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import psutil


def describe() -> str:
    cpu = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "?")
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("onnxruntime", "torch", "numpy"))
    memory = psutil.virtual_memory().total / 1e9
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GB; Python {platform.python_version()}, {packages}"


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
