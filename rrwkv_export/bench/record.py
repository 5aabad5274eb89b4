"""One line of a bench: everything known of one test of one bundle, flat, as it is written and read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from rrwkv_export.errors import BenchError
from rrwkv_runtime.common.reading import boundary, parse_json

Key: TypeAlias = tuple[str, str, int | None, str]
_LARGEST = 8 * 2**20


@dataclass(frozen=True)
class Record:
    """bundle … graph_bytes: which; nodes, weights_read: nodes and bytes of weights of a one-token run; state_moved: the
    bytes of state that it reads and writes.

    avg_ts, stddev_ts, median_ts: tokens/s over the repetitions. avg_ms … samples_ms: milliseconds a token. others: CPU
    time of other processes in each repetition, as a share of a core; others_share: over all of them. disturbed:
    repetitions in which it was more than a few percent. bandwidth: bytes/s at which the fastest pattern, `probe`, reads
    a buffer of probe_bytes, which no cache holds, in alternation with the tests; roof_ms: the least that the weights
    and the state of a token can take at that; roof_share: roof_ms / median_ms, of tests that generate. cache: which
    could hold weights_read ("L3"), if one could; bandwidth_at_size: bytes/s of a buffer of as many bytes. imports_ms,
    load_ms, peak_bytes, above_imports_bytes: of a fresh process, medians. before_ts: median_ts of an earlier run;
    ratio: median_ts over it. None is what was not measured.
    """

    bundle: str
    bundle_id: str
    model_id: str
    scheme: str
    graph_bytes: int
    nodes: int
    weights_read: int
    state_moved: int
    provider: str
    threads: int | None
    test: str
    tokens: int
    repetitions: int
    avg_ts: float
    stddev_ts: float
    median_ts: float
    avg_ms: float
    stddev_ms: float
    median_ms: float
    samples_ms: tuple[float, ...]
    others: tuple[float | None, ...]
    others_share: float | None
    disturbed: int
    bandwidth: float | None
    probe: str | None
    probe_bytes: int | None
    roof_ms: float | None
    roof_share: float | None
    cache: str | None
    bandwidth_at_size: float | None
    imports_ms: float | None
    load_ms: float | None
    peak_bytes: int | None
    above_imports_bytes: int | None
    time: str
    machine: Mapping[str, str]
    before_ts: float | None = None
    ratio: float | None = None

    @property
    def key(self) -> Key:
        """By which it is found in an earlier run."""
        return (self.bundle, self.provider, self.threads, self.test)


@dataclass(frozen=True)
class Earlier:
    """An earlier run: tokens/s by key, and what it was measured on."""

    path: Path
    median_ts: Mapping[Key, float]
    machine: Mapping[str, str]
    time: str

    def compared(self, records: Sequence[Record]) -> list[Record]:
        """The records, with what was measured before where it was."""
        made = []
        for record in records:
            before = self.median_ts.get(record.key)
            ratio = record.median_ts / before if before else None
            made.append(replace(record, before_ts=before, ratio=ratio))
        return made

    def require(self, keys: Sequence[Key]) -> None:
        """Raises BenchError if nothing of it can be compared."""
        if not set(keys) & set(self.median_ts):
            has = ", ".join(sorted({f"{name} {test}" for name, _, _, test in self.median_ts})[:4]) or "nothing"
            raise BenchError(
                f"{self.path}: none of its tests is among those asked for (it has {has} …); "
                "give bundles of the same names, and the same provider, threads and tests"
            )


def read_earlier(path: Path) -> Earlier:
    """The output of an earlier run in json or jsonl. Raises BenchError."""
    try:
        if path.stat().st_size > _LARGEST:
            raise BenchError(f"{path}: larger than any output of `rrwkv bench`")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror}); give the output of an earlier run") from None
    except UnicodeDecodeError:
        text = ""
    with boundary(BenchError, f"{path}: not the output of `rrwkv bench -o json` or `-o jsonl`"):
        lines = [line for line in text.split("\n") if line.strip()]
        found = parse_json(text) if text.lstrip().startswith("[") else list(map(parse_json, lines))
        rates = dict(map(_rate, found))
        first: Any = found[0]
        return Earlier(path, rates, {str(k): str(v) for k, v in first["machine"].items()}, str(first["time"]))


def _rate(fields: Any) -> tuple[Key, float]:
    threads = None if fields["threads"] is None else int(fields["threads"])
    key = (str(fields["bundle"]), str(fields["provider"]), threads, str(fields["test"]))
    rate = float(fields["median_ts"])
    if not 0 < rate < float("inf"):
        raise ValueError(rate)
    return key, rate
