"""How many threads to take: one for each core that a process may use. onnxruntime's own choice is all the machine's."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/cpu.max")
PROCESSORS = Path("/sys/devices/system/cpu")


def usable() -> int:
    """Cores that this process may use, by its affinity and by the quota of its container. Hyperthreads count with the
    core that they share: they read no more from memory than it does.
    """
    return _usable(_cores_of(_allowed()))


def limited() -> int | None:
    """The same where something limits the process; None where nothing does, and onnxruntime's choice is right."""
    allowed = _allowed()
    cores = _cores_of(allowed)
    chosen = _usable(cores)
    return None if chosen == cores and len(allowed) >= (os.cpu_count() or 1) else chosen


def _usable(cores: int) -> int:
    """Of so many cores, those that the quota lets a process use."""
    return max(1, min(cores, _quota() or cores))


def _allowed() -> Collection[int]:
    """Numbers of the logical processors."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _cores_of(processors: Collection[int]) -> int:
    """Of logical processors; each counts for one where the system does not tell which share a core."""
    places = [PROCESSORS / f"cpu{number}" / "topology" / "thread_siblings_list" for number in processors]
    try:
        return len({place.read_text(encoding="ascii") for place in places})
    except (OSError, ValueError):
        return len(processors)


def _quota() -> int | None:
    """Of control group v2: "200000 100000" is two cores, "max 100000" no limit."""
    try:
        quota, period = CGROUP.read_text(encoding="ascii").split()
        return None if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None
