"""How steady the probe of the memory's bandwidth is: ten calls, past all caches and of the size of some weights.

python -m benchmarks.speed.bandwidth [MB ...]     sizes of weights in 10^6 bytes; by default 13 and 132, of
demo and 169m in int8
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from benchmarks.machine import describe
from rrwkv_export.bench.bandwidth import Bandwidth, buffer_of, measured
from rrwkv_export.bench.caches import caches, free_memory, holding, past
from rrwkv_export.markdown import table
from rrwkv_runtime.execution.cores import usable

CALLS = 10


def spread(found: Sequence[Bandwidth]) -> float:
    """The largest distance from the middle, over the middle."""
    rates = sorted(each.rate for each in found)
    middle = rates[len(rates) // 2]
    return max(rates[-1] - middle, middle - rates[0]) / middle


def row(title: str, threads: int, found: Sequence[Bandwidth]) -> list[str]:
    patterns = Counter(each.pattern for each in found)
    rates = " ".join(f"{each.rate / 1e9:.1f}" for each in found)
    said = ", ".join(f"{name} ({count})" for name, count in patterns.most_common(2))
    return [title, str(threads), rates, f"{spread(found):.1%}", said]


def main(sizes: Sequence[int]) -> None:
    machine, known = describe(), caches()
    buffer = buffer_of(past(known, free_memory()), usable())
    rows = []
    for threads in sorted({1, usable()}):
        held = {size: holding(size, threads, known) for size in sizes}
        titles = {len(buffer): f"{len(buffer) / 1e6:.0f} MB, past every cache"}
        for size in sizes:
            where = f"in L{cache.level}" if (cache := held[size]) else "in no cache"
            titles[min(size, len(buffer))] = f"{size / 1e6:.0f} MB, {where}"
        found: dict[int, list[Bandwidth]] = {size: [] for size in titles}
        for _ in range(CALLS):
            for size in titles:
                found[size].append(measured(buffer[:size], threads))
        rows += [row(titles[size], threads, found[size]) for size in titles]
    print(table(("buffer", "threads", f"GB/s, {CALLS} calls", "farthest from the middle", "fastest pattern"), rows))
    print(f"\n{machine}")


if __name__ == "__main__":
    main([int(1e6 * float(size)) for size in sys.argv[1:]] or [13 * 10**6, 132 * 10**6])
