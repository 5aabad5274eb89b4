"""Memory and time per token over 10,000 generated and 1,000,000 prefilled tokens: both should stay flat.

python -m benchmarks.speed.endurance BUNDLE [GENERATED] [PREFILLED]
"""

from __future__ import annotations

import sys
from time import perf_counter

import numpy as np

from benchmarks.machine import anonymous_bytes, describe
from rrwkv_runtime import Model

PARTS = 10


def generation(model: Model, count: int) -> None:
    print("| generated tokens | ms a token | anonymous memory, MB |\n|---|---|---|")
    tokens = model.generate([0], max_tokens=count, temperature=1.0, seed=0, ignore_eos=True)
    started = perf_counter()
    for done, _ in enumerate(tokens, 1):
        if done % (count // PARTS) == 0:
            now = perf_counter()
            print(
                f"| {done:,} | {(now - started) / (count // PARTS) * 1e3:.3f} | {anonymous_bytes() / 1e6:.1f} |",
                flush=True,
            )
            started = now


def prefill(model: Model, count: int) -> None:
    print("\n| prefilled tokens | µs a token | anonymous memory, MB |\n|---|---|---|")
    ids = np.random.default_rng(0).integers(0, model.vocab_size, count)
    part, started = count // PARTS, perf_counter()
    reported = 0

    def report(done: int, _: int) -> None:
        nonlocal started, reported
        if done - reported >= part or done == count:
            now = perf_counter()
            rate = (now - started) / (done - reported) * 1e6
            print(f"| {done:,} | {rate:.1f} | {anonymous_bytes() / 1e6:.1f} |", flush=True)
            started, reported = now, done

    model.decoder().prefill(ids, report)


if __name__ == "__main__":
    print(describe())
    loaded = Model.load(sys.argv[1])
    generation(loaded, int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
    prefill(loaded, int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000)
