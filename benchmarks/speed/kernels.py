"""`rrwkv bench` of bundles with random weights, in onnxruntime alone and with the native kernels where they run.

python -m benchmarks.speed.kernels [--in FOLDER] [SIZE[:SCHEME] ...]     sizes of benchmarks.models.SIZES, schemes of
`rrwkv quantize`; FOLDER keeps the bundles (169m: minutes and gigabytes), and those that are there already are used
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.models import SIZES, write_bundle, write_directory, write_quantized
from rrwkv_export.bench import Record, bench
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.markdown import table
from rrwkv_runtime.execution import native as kernels

DEFAULT = [
    *(f"demo:{scheme}" for scheme in ("int8", "int8-static", "int8-dynamic", "int4")),
    *(f"169m:{scheme}" for scheme in ("int8", "int8-static", "int8-dynamic", "int4", "float16")),
    "169m-medium:int8-static",
    "169m-recall:int8-static",
]
PREFILLED, DECODED, THREADS = 256, 128, 2
COLUMNS = (
    "kernels",
    "nodes",
    f"prefill {PREFILLED}, tokens/s",
    "decode, ms a token",
    "of the roof",
    "load, ms",
    "peak, MB",
)


def make(name: str, folder: Path) -> Path:
    """The bundle of a SIZE[:SCHEME], named after it."""
    size, _, scheme = name.partition(":")
    weights, bundle = folder / "weights" / size, folder / size
    if not bundle.exists():
        if not weights.exists():
            write_directory(weights, SIZES[size])
        write_bundle(bundle, open_checkpoint(weights))
    quantized = folder / f"{size}-{scheme}"
    if scheme and not quantized.exists():
        write_quantized(bundle, quantized, scheme, SIZES[size].vocab_size)
    return quantized if scheme else bundle


def row(name: str, used: str, records: Sequence[Record]) -> list[str]:
    """Of one bundle."""
    read, written = (next(r for r in records if r.test.startswith(kind)) for kind in ("pp", "tg"))
    share = f"{written.roof_share:.3f}" if written.roof_share else "–"
    load = f"{written.load_ms:.0f}" if written.load_ms else "–"
    peak = f"{written.peak_bytes / 1e6:.0f}" if written.peak_bytes else "–"
    rates = [f"{read.median_ts:,.0f}", f"{written.median_ms:.2f}"]
    return [name, used, f"{written.nodes:,}", *rates, share, load, peak]


def main(names: Sequence[str], folder: Path) -> None:
    bundles = {make(name, folder): name for name in names}
    rows: dict[tuple[str, str], list[str]] = {}
    for native in (False, True) if kernels.find("cpu", None) else (False,):
        records = bench(
            list(bundles), prompts=(PREFILLED,), generated=(DECODED,), threads=(THREADS,), repetitions=7, native=native
        )
        for bundle, name in bundles.items():
            used = "rrwkv-native" if native else "onnxruntime's"
            rows[name, used] = row(name, used, [r for r in records if r.bundle == bundle.name])
    print(table(("bundle", *COLUMNS), [rows[key] for key in sorted(rows, key=lambda key: names.index(key[0]))]))
    print(f"\n{THREADS} threads; medians. {describe()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--in", dest="folder", type=Path)
    parser.add_argument("names", nargs="*", default=DEFAULT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(given.names, given.folder or Path(temporary))
