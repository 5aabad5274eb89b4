"""Random weights in onnxruntime alone and by tables of rrwkv-native, in alternation, beside the memory's limit.

python -m benchmarks.speed.kernels [--in FOLDER] [--native TABLE,…] [--threads N,…] [SIZE[:SCHEME] …]

Sizes of benchmarks.models.SIZES, schemes of `rrwkv quantize`; tables as `--native` takes them, by default the best.
FOLDER keeps the bundles (169m: minutes and gigabytes), and those that are there already are used.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.machine import describe
from benchmarks.models import SIZES, write_bundle, write_directory, write_quantized
from rrwkv_export.bench.alternate import Run, alternate
from rrwkv_export.bench.cold_start import fresh
from rrwkv_export.bench.plan import Subject, subjects
from rrwkv_export.bench.roof import Roof, Roofs
from rrwkv_export.bench.workloads import decode, prefill
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.markdown import table
from rrwkv_runtime import Model
from rrwkv_runtime.execution import native as kernels

DEFAULT = [
    *(f"demo:{scheme}" for scheme in ("int8", "int8-static", "int8-dynamic", "int4")),
    *(
        f"169m:{scheme}"
        for scheme in ("int8-static", "int8-dynamic", "int8", "int8-weight", "int4", "float16", "float32")
    ),
    *(f"rwkv7-0.19b:{scheme}" for scheme in ("int8-dynamic", "int4", "float32")),
]
PREFILLED, DECODED, ROUNDS = 256, 64, 7
ALONE = "onnxruntime's"
COLUMNS = (
    *("bundle", "threads", "kernels", "nodes", "decode, ms a token", "× alone", "of the roof"),
    *("moved, GB/s", "memory, GB/s"),
    *(f"prefill {PREFILLED}, tokens/s", "× alone", "load, ms", "peak, MB"),
)


@dataclass(frozen=True)
class Result:
    """One bundle by one table, or ALONE. decode: seconds a token. prefill: tokens/s. share: of the roof."""

    name: str
    threads: int
    kernels: str
    nodes: int
    decode: float
    prefill: float
    moved: int
    roof: Roof | None
    load_ms: float | None
    peak: int | None

    @property
    def share(self) -> float | None:
        return self.roof and self.moved / self.roof.memory.rate / self.decode


def make(name: str, folder: Path) -> Path:
    """The bundle of a SIZE[:SCHEME], named after it."""
    size, _, scheme = name.partition(":")
    weights, bundle = folder / "weights" / size, folder / size
    if not bundle.exists():
        if not weights.exists():
            write_directory(weights, SIZES[size])
        write_bundle(bundle, open_checkpoint(weights))
    if not scheme:
        return bundle
    quantized = folder / f"{size}-{scheme}"
    if not quantized.exists():
        write_quantized(bundle, quantized, scheme, SIZES[size].vocab_size)
    return quantized


def measure(name: str, bundle: Path, tables: Sequence[str], threads: int) -> list[Result]:
    """By onnxruntime alone and by each of the tables, in alternation with the probes of memory."""
    found = {
        ALONE: _subject(bundle, threads, kernels.OFF),
        **{each: _subject(bundle, threads, each) for each in tables},
    }
    runs: dict[tuple[str, str], Run] = {}
    for used in found:
        model = Model.load(bundle, threads=threads, native=kernels.OFF if used == ALONE else used)
        ids = np.random.default_rng(0).integers(0, model.vocab_size, PREFILLED)
        runs |= {(used, "decode"): decode(model, ids[:DECODED]), (used, "prefill"): prefill(model, ids)}
    roofs = Roofs([found[ALONE]])
    samples = alternate(runs | {("memory", which): run for (_, which), run in roofs.runs.items()}, ROUNDS)
    roof = roofs.found(found[ALONE])
    roofs.close()

    def seconds(used: str, test: str) -> float:
        return median(sample.seconds for sample in samples[used, test])

    results = []
    for used, subject in found.items():
        process = fresh(bundle, "cpu", threads, native=kernels.OFF if used == ALONE else used)
        said = (process.load_ms, process.peak) if process else (None, None)
        step, read = seconds(used, "decode") / DECODED, PREFILLED / seconds(used, "prefill")
        results.append(Result(name, threads, used, subject.cost.nodes, step, read, subject.cost.moved, roof, *said))
    return results


def _subject(bundle: Path, threads: int, native: str) -> Subject:
    (subject,) = subjects([bundle], [threads], fused=kernels.find("cpu", native) is not None)
    return subject


def rows(results: Sequence[Result]) -> Iterator[list[str]]:
    """Of one bundle and number of threads, the first without kernels of ours."""
    alone = results[0]
    for result in results:
        ratios = (alone.decode / result.decode, result.prefill / alone.prefill)
        decoding, reading = ("–", "–") if result is alone else (f"{ratio:.2f}" for ratio in ratios)
        moved = f"{result.moved / result.decode / 1e9:.1f}"
        share, memory = (f"{result.share:.3f}", _memory(result.roof)) if result.roof else ("–", "–")
        load = "–" if result.load_ms is None else f"{result.load_ms:.0f}"
        peak = "–" if result.peak is None else f"{result.peak / 1e6:.0f}"
        speed = [f"{1e3 * result.decode:.2f}", decoding, share, moved, memory, f"{result.prefill:,.0f}", reading]
        yield [result.name, str(result.threads), result.kernels, f"{result.nodes:,}", *speed, load, peak]


def _memory(roof: Roof) -> str:
    at_size = f" (L{roof.cache.level}: {roof.at_size.rate / 1e9:.1f})" if roof.cache else ""
    return f"{roof.memory.rate / 1e9:.1f}{at_size}"


def default_tables() -> list[str]:
    """The best of the processor, where rrwkv-native is installed."""
    found = kernels.find("cpu", None)
    return [found.name] if found else []


def measure_all(names: Sequence[str], folder: Path, tables: Sequence[str], threads: Sequence[int]) -> list[Result]:
    """Prints the table a bundle at a time."""
    heading = table(COLUMNS, [])
    print(heading, flush=True)
    found: list[Result] = []
    for name in names:
        bundle = make(name, folder)
        for count in threads:
            results = measure(name, bundle, tables, count)
            print(table(COLUMNS, list(rows(results))).removeprefix(heading).strip("\n"), flush=True)
            found += results
    print(f"\nMedians of {ROUNDS} rounds in alternation.")
    return found


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--in", dest="folder", type=Path)
    made.add_argument("--native", type=lambda text: text.split(","), default=None, metavar="TABLE,…")
    made.add_argument("--threads", type=lambda text: [int(each) for each in text.split(",")], default=[2, 1])
    made.add_argument("names", nargs="*", default=DEFAULT, metavar="SIZE[:SCHEME]")
    return made


if __name__ == "__main__":
    given = parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = given.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        measure_all(given.names, place, given.native or default_tables(), given.threads)
    print(f"\n{describe()}")
