"""From bundles to records: fresh processes first, then every test of every bundle in alternation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from rrwkv_export.bench.alternate import Run, Sample, alternate, share_of_others
from rrwkv_export.bench.cold_start import Fresh, fresh
from rrwkv_export.bench.machine import load_average, machine
from rrwkv_export.bench.plan import Options, Subject, Test, graph_bytes, subjects
from rrwkv_export.bench.record import Record
from rrwkv_export.bench.roof import Roof, Roofs
from rrwkv_export.progress import Progress
from rrwkv_runtime.model import Model

PROCESSES = 3


def bench(bundles: Sequence[Path], *, progress: Progress | None = None, **options: Any) -> list[Record]:
    """Speed, share of the roof, load time and memory of bundles: a record for each bundle, thread count and test.

    options: the fields of Options. Raises BundleError, ProviderError, InputError.
    """
    how = Options(**options)
    return measure(subjects(bundles, how.threads, how.fused), how, progress)


def measure(chosen: Sequence[Subject], how: Options, progress: Progress | None = None) -> list[Record]:
    """As `bench`, of subjects."""
    said = machine(how.provider, load_average(), native=how.native)
    processes = _processes(chosen, how, progress)
    samples, roofs = _samples(chosen, how, progress)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return [
        _record(subject, how, test, samples[subject, test.name], roofs.get(subject), processes[subject], time, said)
        for subject in chosen
        for test in how.tests
    ]


def _processes(chosen: Sequence[Subject], how: Options, progress: Progress | None) -> dict[Subject, Fresh | None]:
    """Medians of a few processes each, in alternation."""
    found: dict[Subject, list[Fresh | None]] = {subject: [] for subject in chosen}
    for turn in range(PROCESSES):
        for subject in chosen:
            found[subject].append(fresh(subject.path, how.provider, subject.threads, **how.loading))
        if progress:
            progress("loading", turn + 1, PROCESSES)
    return {subject: _median_process(each) for subject, each in found.items()}


def _median_process(found: Sequence[Fresh | None]) -> Fresh | None:
    whole = [each for each in found if each]
    if not whole:
        return None
    return Fresh(
        imports_ms=median(each.imports_ms for each in whole),
        load_ms=median(each.load_ms for each in whole),
        peak=round(median(each.peak for each in whole)),
        above_imports=round(median(each.above_imports for each in whole)),
    )


def _samples(
    chosen: Sequence[Subject], how: Options, progress: Progress | None
) -> tuple[dict[tuple[Subject, str], list[Sample]], dict[Subject, Roof | None]]:
    runs: dict[tuple[Subject, str], Run] = {}
    roofed = chosen if how.provider == "cpu" and any(map(_decodes, how.tests)) else ()
    with closing(Roofs(roofed)) as roofs:
        for subject in chosen:
            model = Model.load(subject.path, how.provider, subject.threads, **how.loading)
            for test in how.tests:
                ids = np.random.default_rng(0).integers(0, model.vocab_size, test.tokens)
                runs[subject, test.name] = test.run(model, ids)
        samples = alternate(runs | roofs.runs, how.repetitions, progress=progress)
        return samples, {subject: roofs.found(subject) for subject in roofed}


def _decodes(test: Test) -> bool:
    return test.name.startswith("tg")


def _record(
    subject: Subject,
    how: Options,
    test: Test,
    samples: Sequence[Sample],
    roof: Roof | None,
    process: Fresh | None,
    time: str,
    machine: Mapping[str, str],
) -> Record:
    manifest, seconds = subject.manifest, [sample.seconds / test.tokens for sample in samples]
    rates, middle = [1 / each for each in seconds], median(seconds)
    return Record(
        bundle=subject.name,
        bundle_id=manifest.bundle_id,
        model_id=manifest.model_id,
        scheme=subject.scheme,
        graph_bytes=graph_bytes(manifest),
        nodes=subject.cost.nodes,
        weights_read=subject.cost.read,
        state_moved=subject.cost.state,
        provider=how.provider,
        threads=subject.threads,
        test=test.name,
        tokens=test.tokens,
        repetitions=len(samples),
        avg_ts=mean(rates),
        stddev_ts=stdev(rates) if len(rates) > 1 else 0.0,
        median_ts=1 / middle,
        avg_ms=1e3 * mean(seconds),
        stddev_ms=1e3 * stdev(seconds) if len(seconds) > 1 else 0.0,
        median_ms=1e3 * middle,
        samples_ms=tuple(1e3 * each for each in seconds),
        others=tuple(sample.others for sample in samples),
        others_share=share_of_others(samples),
        disturbed=sum(sample.disturbed for sample in samples),
        **_roof_fields(roof if _decodes(test) else None, subject.cost.moved, middle),
        **_process_fields(process),
        time=time,
        machine=machine,
    )


def _roof_fields(roof: Roof | None, moved: int, seconds: float) -> dict[str, Any]:
    if roof is None:
        return dict.fromkeys(
            ("bandwidth", "probe", "probe_bytes", "roof_ms", "roof_share", "cache", "bandwidth_at_size")
        )
    least = moved / roof.memory.rate
    return {
        "bandwidth": roof.memory.rate,
        "probe": roof.memory.pattern,
        "probe_bytes": roof.memory.size,
        "roof_ms": 1e3 * least,
        "roof_share": least / seconds,
        "cache": roof.cache and f"L{roof.cache.level}",
        "bandwidth_at_size": roof.at_size.rate,
    }


def _process_fields(process: Fresh | None) -> dict[str, Any]:
    if process is None:
        return dict.fromkeys(("imports_ms", "load_ms", "peak_bytes", "above_imports_bytes"))
    return {
        "imports_ms": process.imports_ms,
        "load_ms": process.load_ms,
        "peak_bytes": process.peak,
        "above_imports_bytes": process.above_imports,
    }
