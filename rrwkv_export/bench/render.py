"""Records as Markdown for people, and as CSV, JSON and JSON lines for programs, a test a row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any

from rrwkv_export.bench.record import Earlier, Record
from rrwkv_export.human import MISSING, count, megabytes, number, ratio
from rrwkv_export.markdown import escaped, table
from rrwkv_runtime.common.printable import json_escaped

_SPEED_COLUMNS = ("bundle", "threads", "test", "tokens/s", "ms a token", "median", "of the roof", "others' CPU")
_BUNDLE_COLUMNS = (
    *("bundle", "threads", "scheme", "graph and weights", "nodes", "weights read a token", "state moved", "fit in"),
    *("bandwidth", "roof", "load", "peak memory", "above imports"),
)

_OVER = 1.03  # a share of the roof that is not the probe's own spread


def render_markdown(records: Sequence[Record], earlier: Earlier | None = None) -> str:
    """Tables of speed, of bundles and of the machine, and how to read them."""
    first = records[0]
    compared = [f"before, {earlier.time[:10]}", "ratio"] if earlier else []
    parts = [
        table([*_SPEED_COLUMNS, *compared], [_speed(record, bool(earlier)) for record in records]),
        table(
            _BUNDLE_COLUMNS,
            list(dict.fromkeys(_bundle(record) for record in _first_tests(records))),
        ),
        table(("machine", ""), [*first.machine.items(), ("time", first.time)]),
        *(escaped(note) for note in _notes(records, earlier)),
    ]
    return "\n\n".join(parts) + "\n"


def _speed(record: Record, compared: bool) -> tuple[str, ...]:
    mark = " (!)" if record.disturbed else ""
    cells = (
        record.bundle,
        _threads(record),
        record.test,
        f"{number(record.avg_ts)} ± {number(record.stddev_ts, 2)}",
        f"{number(record.avg_ms)} ± {number(record.stddev_ms, 2)}",
        number(record.median_ms),
        MISSING if record.roof_share is None else number(record.roof_share),
        MISSING if record.others_share is None else f"{record.others_share:.0%}{mark}",
    )
    return (*cells, number(record.before_ts), ratio(record.ratio)) if compared else cells


def _first_tests(records: Sequence[Record]) -> list[Record]:
    """One record for each bundle and number of threads, one that knows the roof if there is any."""
    found: dict[tuple[str, int | None], Record] = {}
    for record in records:
        key = (record.bundle, record.threads)
        if key not in found or found[key].roof_ms is None:
            found[key] = record
    return list(found.values())


def _bundle(record: Record) -> tuple[str, ...]:
    return (
        record.bundle,
        _threads(record),
        record.scheme,
        megabytes(record.graph_bytes),
        count(record.nodes),
        megabytes(record.weights_read),
        megabytes(record.state_moved),
        _fit(record),
        _speed_of_memory(record.bandwidth),
        _ms(record.roof_ms),
        _ms(record.load_ms),
        MISSING if record.peak_bytes is None else megabytes(record.peak_bytes),
        MISSING if record.above_imports_bytes is None else megabytes(record.above_imports_bytes),
    )


def _fit(record: Record) -> str:
    """In which cache the weights are, if that can be."""
    if record.bandwidth_at_size is None:
        return MISSING
    return f"{record.cache}, {_speed_of_memory(record.bandwidth_at_size)}" if record.cache else "no cache"


def _speed_of_memory(value: float | None) -> str:
    return MISSING if value is None else f"{value / 1e9:.1f} GB/s"


def _ms(value: float | None) -> str:
    return MISSING if value is None else f"{number(value)} ms"


def _threads(record: Record) -> str:
    return "default" if record.threads is None else str(record.threads)


def _notes(records: Sequence[Record], earlier: Earlier | None) -> list[str]:
    first = records[0]
    notes = [
        f"pp: a prompt read at once; tg: tokens one by one. Mean ± deviation and median of {first.repetitions} "
        "repetitions, all tests in alternation, after one that warms up.",
    ]
    notes += _notes_on_roof(records)
    if any(record.load_ms is not None for record in records):
        notes.append(
            "Load: in a fresh process, from Model.load to the first logits, files in the page cache, the packages "
            f"imported before ({_ms(first.imports_ms)}). Peak memory: of such a process that reads 256 tokens and "
            "generates 32."
        )
    if disturbed := sum(record.disturbed for record in records):
        total = sum(record.repetitions for record in records)
        notes.append(
            f"(!) Other processes used more than a few percent of a core in {disturbed} of {total} repetitions: repeat "
            "it on a quiet machine before you believe it."
        )
    return [*notes, *_notes_on_earlier(first, earlier)]


def _notes_on_roof(records: Sequence[Record]) -> list[str]:
    roofed = [record for record in records if record.roof_share is not None]
    if not roofed:
        return []
    first = roofed[0]
    size = "" if first.probe_bytes is None else megabytes(first.probe_bytes)
    notes = [
        f"Roof: the weights and the state that a token moves over the bandwidth at which as many threads read {size} "
        f"that no cache holds ({first.probe}: the fastest pattern, the best tenth of its rounds, in alternation with "
        f"the tests; caches: {first.machine.get('caches', 'unknown')}). The share is the roof over the measured median."
    ]
    if held := [record for record in roofed if record.cache]:
        said = ", ".join(dict.fromkeys(f"{record.bundle} in {_fit(record)}" for record in held))
        notes.append(f"Weights that a cache can hold, and how fast a buffer of that size is read: {said}.")
    if any((record.roof_share or 0) > _OVER and not record.cache for record in roofed):
        notes.append(
            "A share over 1 of weights that no cache holds: either a cache kept part of them, or something had the "
            "memory while the probe read. Repeat it on a quiet machine."
        )
    return notes


def _notes_on_earlier(first: Record, earlier: Earlier | None) -> list[str]:
    if earlier is None:
        return []
    names = sorted(first.machine.keys() | earlier.machine.keys() - {"load average before"})
    other = [name for name in names if earlier.machine.get(name) != first.machine.get(name)]
    other = [name for name in other if name != "load average before"]
    notes = [f"Before: medians of {earlier.path.name}, {earlier.time}; the ratio is tokens/s now over then."]
    if other:
        was = ", ".join(f"{name} {earlier.machine.get(name, MISSING)}" for name in other)
        notes.append(f"Not the same machine or versions then: {was}.")
    return notes


def render_json(records: Sequence[Record], earlier: Earlier | None = None) -> str:
    return json_escaped(json.dumps([_plain(record) for record in records], indent=1, ensure_ascii=False)) + "\n"


def render_jsonl(records: Sequence[Record], earlier: Earlier | None = None) -> str:
    return "".join(json_escaped(json.dumps(_plain(record), ensure_ascii=False)) + "\n" for record in records)


def render_csv(records: Sequence[Record], earlier: Earlier | None = None) -> str:
    """With a header; what is a list or a mapping is in JSON, what was not measured is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [each.name for each in fields(Record)], lineterminator="\n")
    writer.writeheader()
    for record in records:
        values = asdict(record).items()
        writer.writerow({n: json.dumps(v, ensure_ascii=False) if isinstance(v, tuple | dict) else v for n, v in values})
    return text.getvalue()


def _plain(record: Record) -> dict[str, Any]:
    return asdict(record)


RENDERERS: dict[str, Callable[[Sequence[Record], Earlier | None], str]] = {
    "md": render_markdown,
    "csv": render_csv,
    "json": render_json,
    "jsonl": render_jsonl,
}
