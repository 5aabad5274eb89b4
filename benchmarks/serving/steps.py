"""Which way of running several conversations' steps is the fastest: threads over steps, or threads within each.

python -m benchmarks.serving.steps BUNDLE [BUNDLE …]

Steps a second of all conversations together, of one and of four: by one thread on sessions of as many threads as there
are cores, and by as many threads on sessions of one. In alternation, with rrwkv-native where it is installed, and
without.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from threading import Thread
from time import perf_counter

from benchmarks.machine import describe
from rrwkv_export.markdown import table
from rrwkv_runtime import Model
from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.execution.cores import usable
from rrwkv_runtime.execution.decoder import Decoder

SECONDS, ROUNDS = 0.5, 5
CONVERSATIONS = (1, 4)


def steps_a_second(model: Model, workers: int, conversations: int) -> float:
    """Conversations are divided among the workers, each of which runs its own in turn."""
    decoders = [model.decoder() for _ in range(conversations)]
    counts, until = [0] * workers, perf_counter() + SECONDS

    def work(worker: int, mine: list[Decoder]) -> None:
        while mine and perf_counter() < until:
            for decoder in mine:
                decoder.step(counts[worker] % model.vocab_size)
                counts[worker] += 1

    threads = [Thread(target=work, args=(i, decoders[i::workers])) for i in range(workers)]
    began = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (perf_counter() - began)


def measure(bundle: Path, native: bool) -> list[str]:
    """A row: for one conversation and for four, threads within steps, then threads over steps."""
    cores = usable()
    ways = [
        (Model.load(bundle, threads=cores, native=native), 1),
        (Model.load(bundle, threads=1, native=native), cores),
    ]
    found: dict[tuple[int, int], list[float]] = {}
    for _ in range(ROUNDS):
        for conversations in CONVERSATIONS:
            for way, (model, workers) in enumerate(ways):
                found.setdefault((conversations, way), []).append(steps_a_second(model, workers, conversations))
    return [f"{median(rates):,.0f}" for rates in found.values()]


def main(bundles: list[Path]) -> None:
    cores = usable()
    print(describe(), "\n")
    rows = []
    for bundle in bundles:
        for native in (False, True):
            try:
                rows.append([bundle.name, "rrwkv-native" if native else "onnxruntime", *measure(bundle, native)])
            except RRWKVError as error:
                print(f"{bundle.name}: {error}")
    heads = [f"{n} at once, {way}" for n in CONVERSATIONS for way in (f"1 × {cores} threads", f"{cores} × 1 thread")]
    print(table(("steps a second", "kernels", *heads), rows))


if __name__ == "__main__":
    main(list(map(Path, sys.argv[1:])))
