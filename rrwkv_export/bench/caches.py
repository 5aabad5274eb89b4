"""What the processor's caches hold, and how much memory is free: a probe of memory must read more than the first.

Sizes are those that Linux tells under /sys; a virtual machine may be told another size than its share, and elsewhere
nothing is known.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from rrwkv_runtime.execution.cores import PROCESSORS

MEMORY = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
_PAST = 8  # times what the last caches hold
_LEAST, _UNKNOWN = 2**28, 2**30  # bytes: at least, and where no cache is known
_SHARE = 4  # of the free memory one part in so many


@dataclass(frozen=True)
class Cache:
    """The caches of a level that the usable processors have: the size of each in bytes, the largest first."""

    level: int
    sizes: tuple[int, ...]

    def reach(self, threads: int) -> int:
        """Bytes that so many threads have at most, each on the largest that is left."""
        return sum(self.sizes[:threads])

    def __str__(self) -> str:
        """As "L2 2 x 512 KiB"."""
        counts = [(size, self.sizes.count(size)) for size in dict.fromkeys(self.sizes)]
        return f"L{self.level} " + " + ".join(_said(size, count) for size, count in counts)


def caches(root: Path = PROCESSORS, processors: Collection[int] | None = None) -> tuple[Cache, ...]:
    """Of data, the nearest first. processors: numbers of those that count, by default those usable; nothing if unknown.

    A cache that several processors share counts once.
    """
    found: dict[int, dict[tuple[int, str], int]] = {}
    for number in sorted(_usable() if processors is None else processors):
        for place in sorted((root / f"cpu{number}" / "cache").glob("index[0-9]*")):
            try:
                level, kind, size, shared = _fields(place)
            except (OSError, ValueError, KeyError):
                continue
            if kind != "Instruction" and size > 0:
                found.setdefault(level, {})[size, shared] = size
    return tuple(Cache(level, tuple(sorted(found[level].values(), reverse=True))) for level in sorted(found))


def holding(size: int, threads: int, of: Sequence[Cache]) -> Cache | None:
    """The nearest in which so many bytes have room when so many threads read them; None if there is none."""
    return next((cache for cache in of if cache.reach(threads) >= size), None)


def past(of: Sequence[Cache], memory: int | None) -> int:
    """Bytes of a buffer that no cache holds: eight times the last ones, as far as a quarter of the free memory goes."""
    wanted = max(_LEAST, _PAST * sum(of[-1].sizes)) if of else _UNKNOWN
    return wanted if memory is None else min(wanted, memory // _SHARE)


def free_memory(memory: Path = MEMORY, group: Path = GROUP) -> int | None:
    """Bytes that can be had without swapping, by the system and by the limit of the container; None if unknown."""
    found = [size for size in (_available(memory), _left(group)) if size is not None]
    return min(found) if found else None


def _usable() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _fields(place: Path) -> tuple[int, str, int, str]:
    """Level, kind, bytes, and which processors share it."""
    level, kind, size, shared = (
        (place / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size", "shared_cpu_list")
    )
    return int(level), kind, int(size[:-1]) * _UNITS[size[-1]] if size[-1:].isalpha() else int(size), shared


def _said(size: int, count: int) -> str:
    unit, name = (2**20, "MiB") if size >= 2**20 else (2**10, "KiB")
    each = f"{size / unit:g} {name}"
    return each if count == 1 else f"{count} x {each}"


def _available(memory: Path) -> int | None:
    try:
        lines = memory.read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _left(group: Path) -> int | None:
    """Of control group v2; its files may be "max"."""
    try:
        most, used = ((group / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        return max(0, int(most) - int(used))
    except (OSError, ValueError):
        return None
