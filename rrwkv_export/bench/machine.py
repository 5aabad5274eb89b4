"""On what something was measured, and what else that machine did."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from rrwkv_export.bench.caches import caches
from rrwkv_export.bundle import versions
from rrwkv_runtime.execution import native as kernels
from rrwkv_runtime.execution.cores import usable
from rrwkv_runtime.providers import import_onnxruntime


def load_average() -> float | None:
    """Processes that wanted to run in the last minute; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def is_busy(load: float | None) -> bool:
    """Whether others use so much of the machine that speeds measured on it mean little."""
    return load is not None and load > 0.5 * usable()


def busy_seconds() -> float | None:
    """CPU time that all processes of the machine have used, and its host has kept from it; None if unknown."""
    try:
        with open("/proc/stat", encoding="ascii") as stream:
            ticks = stream.readline().split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, ticks)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def machine(provider: str = "cpu", load: float | None = None, native: bool | str | None = None) -> dict[str, str]:
    """What -> which, for people: processor, cores, system, versions. native: see `Model.load`."""
    found = {
        "processor": _processor(),
        "cores": str(usable()),
        "caches": ", ".join(map(str, caches())) or "unknown",
        "provider": provider,
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    if load is not None:
        found["load average before"] = f"{load:.1f}"
    if provider == "cuda" and (gpu := _gpu()):
        found["gpu"] = gpu
    if provider == "cpu" and (used := kernels.find(provider, native)):
        found[kernels.PACKAGE] = f"{kernels.version()}, {used.name}"
    return {**found, **versions(), "onnxruntime": str(import_onnxruntime().__version__)}


def threads_name(threads: int | None) -> str:
    return "onnxruntime's choice" if threads is None else str(threads)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu() -> str | None:
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
