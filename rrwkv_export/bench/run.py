"""From bundles to records: fresh processes first, then every test of every bundle in alternation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from rrwkv_export.bench.alternate import Run, Sample, alternate, share_of_others
from rrwkv_export.bench.bandwidth import Probe, buffer_of
from rrwkv_export.bench.cold_start import Fresh, fresh
from rrwkv_export.bench.machine import load_average, machine
from rrwkv_export.bench.plan import Options, Subject, Test, graph_bytes, subjects
from rrwkv_export.bench.record import Record
from rrwkv_export.progress import Progress
from rrwkv_runtime.execution.cores import usable
from rrwkv_runtime.model import Model

PROCESSES = 3
_PROBED = "read"  # the probe's name beside a subject's tests
_LEAST_READ = 10**6  # bytes a token: with less, memory is not what decoding waits for


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


@dataclass(frozen=True)
class _Roof:
    """What the probe found beside a subject: bytes/s."""

    bandwidth: float
    reader: str


def _samples(
    chosen: Sequence[Subject], how: Options, progress: Progress | None
) -> tuple[dict[tuple[Subject, str], list[Sample]], dict[Subject, _Roof]]:
    runs: dict[tuple[Subject, str], Run] = {}
    with ExitStack() as stack:
        probes = _probes(chosen, stack) if how.provider == "cpu" and any(map(_decodes, how.tests)) else {}
        for subject in chosen:
            model = Model.load(subject.path, how.provider, subject.threads, **how.loading)
            for test in how.tests:
                ids = np.random.default_rng(0).integers(0, model.vocab_size, test.tokens)
                runs[subject, test.name] = test.run(model, ids)
            if subject in probes:
                runs[subject, _PROBED] = probes[subject]
        samples = alternate(runs, how.repetitions, progress=progress)
    roofs = {}
    for subject, probe in probes.items():
        seconds = median(sample.seconds for sample in samples[subject, _PROBED])
        roofs[subject] = _Roof(probe.bytes / seconds, probe.reader)
    return samples, roofs


def _decodes(test: Test) -> bool:
    return test.name.startswith("tg")


def _probes(chosen: Sequence[Subject], stack: ExitStack) -> Mapping[Subject, Probe]:
    """One for each subject, of the size that it reads a token, by as many threads; all over one buffer."""
    buffer = buffer_of(max(subject.cost.read for subject in chosen))
    probes = {}
    for subject in chosen:
        if subject.cost.read >= _LEAST_READ:
            probes[subject] = Probe(buffer[: subject.cost.read], subject.threads or usable())
            stack.callback(probes[subject].close)
    return probes


def _record(
    subject: Subject,
    how: Options,
    test: Test,
    samples: Sequence[Sample],
    roof: _Roof | None,
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
        **_roof_fields(roof if _decodes(test) else None, subject.cost.read, middle),
        **_process_fields(process),
        time=time,
        machine=machine,
    )


def _roof_fields(roof: _Roof | None, read: int, seconds: float) -> dict[str, Any]:
    if roof is None:
        return dict.fromkeys(("bandwidth", "probe", "roof_ms", "roof_share"))
    least = read / roof.bandwidth
    return {
        "bandwidth": roof.bandwidth,
        "probe": roof.reader,
        "roof_ms": 1e3 * least,
        "roof_share": least / seconds,
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
