"""What mediums cost a token: RWKV-4 169M in int8-static without them, with 16 slots and with 64, in alternation.

python -m benchmarks.speed.mediums [--in FOLDER] [--native TABLE,…] [--threads N,…]     as in benchmarks.speed.kernels
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.machine import describe
from benchmarks.speed.kernels import ROUNDS, default_tables, make, parser
from rrwkv_export.bench.alternate import Run, alternate
from rrwkv_export.bench.workloads import decode
from rrwkv_export.markdown import table
from rrwkv_runtime import Model
from rrwkv_runtime.execution import native as kernels

PLAIN = "169m:int8-static"
BUNDLES = {
    PLAIN: "none",
    "169m-medium:int8-static": "16 slots, one in 32",
    "169m-recall:int8-static": "64 slots, one in 8",
}
DECODED = 128  # of which every interval is a part


def price(folder: Path, tables: Sequence[str], threads: Sequence[int]) -> dict[tuple[str, str, int], float]:
    """Seconds a token, by bundle, table and threads."""
    runs: dict[tuple[str, str, int], Run] = {}
    for name in BUNDLES:
        bundle = make(name, folder)
        for used in tables:
            for count in threads:
                model = Model.load(bundle, threads=count, native=used)
                ids = np.random.default_rng(0).integers(0, model.vocab_size, DECODED)
                runs[name, used, count] = decode(model, ids)
    samples = alternate(runs, ROUNDS)
    return {key: median(sample.seconds for sample in found) / DECODED for key, found in samples.items()}


def print_prices(found: dict[tuple[str, str, int], float]) -> None:
    rows = []
    for (name, used, count), seconds in sorted(found.items(), key=lambda item: (item[0][1], -item[0][2])):
        more = seconds / found[PLAIN, used, count] - 1
        rows.append([BUNDLES[name], used, str(count), f"{1e3 * seconds:.2f}", "–" if name == PLAIN else f"{more:+.1%}"])
    print(table(("mediums", "kernels", "threads", "decode, ms a token", "more"), rows))
    print(f"\nRWKV-4 169M, int8-static; medians of {ROUNDS} rounds in alternation.")


if __name__ == "__main__":
    given = parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = given.folder or Path(temporary)
        print_prices(price(place, given.native or default_tables() or [kernels.OFF], given.threads))
    print(f"\n{describe()}")
