"""Speed and memory of two bundles on this machine.

Speed is measured in alternation, so that what else the machine does touches both alike: rounds of decoding and of
prefill, first the one and then the other, the order changing from round to round; medians over the rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from rrwkv_export.report.metrics import Array
from rrwkv_runtime.decoder import Decoder
from rrwkv_runtime.session import Model

ROUNDS, DECODED, PREFILLED = 5, 64, 256
# A large model, or a machine with much else to do: two rounds will do.
_MOST_SECONDS = 10.0


@dataclass(frozen=True)
class Speed:
    """decode: milliseconds a token, one token a run. prefill: tokens a second, 256 tokens at once."""

    decode_ms: float
    prefill: float


def speeds(reference: Model, other: Model, ids: Array) -> tuple[Speed, Speed]:
    """(the reference's, the other's), reading ids [T] of a text, repeated if there are too few."""
    text = np.resize(ids, DECODED + PREFILLED)
    prompt, rest = text[:PREFILLED], text[PREFILLED:]
    models = (reference, other)
    decode: list[list[float]] = [[], []]
    prefill: list[list[float]] = [[], []]
    started = perf_counter()
    for turn in range(ROUNDS + 1):
        if turn > 2 and perf_counter() - started > _MOST_SECONDS:
            break
        order = (0, 1) if turn % 2 else (1, 0)
        for which in order:
            decoder = models[which].decoder()
            prefilling = _seconds(lambda decoder=decoder: decoder.prefill(prompt))  # type: ignore[misc]
            decoding = _seconds(lambda decoder=decoder: _steps(decoder, rest))  # type: ignore[misc]
            if turn:  # the first is to warm up
                prefill[which].append(PREFILLED / prefilling)
                decode[which].append(1e3 * decoding / DECODED)
    first, second = (Speed(median(decode[which]), median(prefill[which])) for which in (0, 1))
    return first, second


def _seconds(run: Callable[[], object]) -> float:
    started = perf_counter()
    run()
    return perf_counter() - started


def _steps(decoder: Decoder, ids: Array) -> None:
    for token in ids:
        decoder.step(int(token))


# Linux's peak is the process's own (VmHWM): getrusage's is carried over from the process that started it.
_PROBE = """
import json, sys
from pathlib import Path

def peak():
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

from rrwkv_runtime.providers import import_onnxruntime
from rrwkv_runtime.session import Model
import tokenizers
path, provider, threads = json.loads(sys.argv[1])
import_onnxruntime()
before = peak()
decoder = Model.load(path, provider, threads, verify=False).decoder()
decoder.prefill([0] * 256)
for _ in range(16):
    decoder.step(0)
print(peak() - before)
"""


def resident_bytes(bundle: Path, provider: str = "cpu", threads: int | None = None) -> int | None:
    """By how much a process's resident memory grows, at most, by loading a bundle and running it; None if unknown."""
    arguments = json.dumps([str(bundle.resolve()), provider, threads])
    done = subprocess.run([sys.executable, "-P", "-c", _PROBE, arguments], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdecimal() else None
