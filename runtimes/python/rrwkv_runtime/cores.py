"""How many threads to take: onnxruntime counts the machine's cores, and not those that a process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/cpu.max")


def limited() -> int | None:
    """The cores that this process may use where they are fewer than the machine's, by its affinity or by the quota of
    its container; None where nothing limits it.
    """
    machine = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    usable = max(1, min(affinity, _quota() or machine))
    return usable if usable < machine else None


def _quota() -> int | None:
    """Of control group v2: "200000 100000" is two cores, "max 100000" no limit."""
    try:
        quota, period = CGROUP.read_text(encoding="ascii").split()
        return None if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None
