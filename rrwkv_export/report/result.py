"""A finished report: everything measured, and its headline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rrwkv_export.bench.plan import graph_bytes, scheme
from rrwkv_export.format import MISSING, count, megabytes, milliseconds, number, percent, verdict
from rrwkv_export.report.compare import Comparison
from rrwkv_export.report.continuations import Continuation
from rrwkv_export.report.drift import LEAST_WINDOWS, WINDOW
from rrwkv_export.report.gates import Gate, require
from rrwkv_export.report.layers import LayerErrors
from rrwkv_export.report.speed import Speed
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.placement import Placement


@dataclass(frozen=True)
class Size:
    """Bytes. graphs: graph and weight files. bundle: all files. state: of a conversation in memory. resident: by how
    much a process grows by loading and running the bundle; None if it was not measured.
    """

    graphs: int
    bundle: int
    state: int
    resident: int | None = None


@dataclass(frozen=True)
class Subject:
    """A bundle. scheme: what its weights are; recipe: the manifest's `quantization`."""

    name: str
    bundle_id: str
    model_id: str
    scheme: str
    recipe: dict[str, Any] | None
    size: Size


def subject(path: Path, manifest: Manifest, resident: int | None = None) -> Subject:
    """A bundle as a report speaks of it."""
    size = Size(
        graphs=graph_bytes(manifest),
        bundle=sum(entry.bytes for entry in manifest.files),
        state=sum(spec.nbytes for spec in manifest.states),
        resident=resident,
    )
    name = path.resolve().name.encode("utf-8", "replace").decode()  # a name on disk need not be text
    return Subject(name, manifest.bundle_id, manifest.model_id, scheme(manifest), manifest.quantization, size)


@dataclass(frozen=True)
class Measured:
    """One bundle held against the reference, on each text. speed: (the reference's, its own), if it was measured."""

    subject: Subject
    comparisons: tuple[Comparison, ...]
    speed: tuple[Speed, Speed] | None

    @property
    def first(self) -> Comparison:
        """On the first text: what the headline is about."""
        return self.comparisons[0]


class Row(NamedTuple):
    """One line of the headline, ready to print."""

    name: str
    reference: str
    value: str


@dataclass(frozen=True)
class Report:
    """What quantization cost. `main` is the bundle it is about, `against` are others beside it.

    busy: the machine had other work when the report was begun.
    """

    reference: Subject
    main: Measured
    against: tuple[Measured, ...]
    layers: LayerErrors
    placement: Placement
    continuations: tuple[Continuation, ...]
    gates: tuple[Gate, ...]
    chunk: int
    machine: dict[str, str]
    busy: bool

    def headline(self) -> list[Row]:
        """The figures one looks at first: name, the reference's, the bundle's."""
        first, mine, theirs = self.main.first, self.main.subject.size, self.reference.size
        figures, drift = first.figures, first.drift
        rows = [
            Row("perplexity", number(figures.reference_perplexity, 5), number(figures.perplexity, 5)),
            Row("mean KL divergence", MISSING, f"{number(figures.kl.mean)} nats"),
            Row("p99 KL divergence", MISSING, f"{number(figures.kl.p99)} nats"),
            Row("top-1 agreement", MISSING, percent(figures.top1_agreement)),
            Row("top-5 agreement", MISSING, percent(figures.top5_agreement)),
            Row("drift of the states", MISSING, f"{percent(drift.largest)} at most, {verdict(drift.flat)}"),
            Row("graph and weights", megabytes(theirs.graphs), megabytes(mine.graphs)),
        ]
        if mine.resident is not None and theirs.resident is not None:
            rows.append(Row("resident memory", megabytes(theirs.resident), megabytes(mine.resident)))
        if self.main.speed:
            reference, own = self.main.speed
            rows.append(Row("decode, a token", milliseconds(reference.decode_ms), milliseconds(own.decode_ms)))
            prefill = (f"{count(speed.prefill)} tokens/s" for speed in (reference, own))
            rows.append(Row("prefill, 256 tokens", *prefill))
        return rows

    def verdict(self) -> str:
        """The report in one line."""
        first, sizes = self.main.first, (self.reference.size.graphs, self.main.subject.size.graphs)
        parts = [
            f"KL {number(first.figures.kl.mean)} nats",
            f"top-1 {percent(first.figures.top1_agreement)}",
            f"{sizes[0] / 1e6:,.1f} → {megabytes(sizes[1])}",
        ]
        if self.main.speed:
            before, after = self.main.speed
            parts.append(f"decode {before.decode_ms:.2f} → {milliseconds(after.decode_ms)}")
        return ", ".join(parts)

    def notes(self) -> list[str]:
        """What a reader must know to read the figures right."""
        return [*self._notes_on_texts(), *self._notes_on_bundles()]

    def _notes_on_texts(self) -> list[str]:
        notes = []
        for comparison in self.main.comparisons:
            name, tokens = comparison.text.name, comparison.figures.tokens
            if tokens < comparison.asked:
                notes.append(
                    f"{name} has {count(tokens)} predictions; {count(comparison.asked)} were asked for, so the drift's "
                    "horizon is shorter."
                )
            if comparison.drift.flat is None:
                notes.append(
                    f"{name} is too short to tell whether the drift grows: that takes {LEAST_WINDOWS} chunks of "
                    f"{WINDOW} tokens or more, {count(LEAST_WINDOWS * WINDOW)} in all, and more where it varies much."
                )
        return notes

    def _notes_on_bundles(self) -> list[str]:
        notes = []
        if self.busy and self.main.speed:
            notes.append("The machine had other work when the report was begun: its speeds are of little worth.")
        if self.reference.recipe is not None:
            notes.append(f"The reference is itself quantized ({self.reference.scheme}).")
        if self.layers.missing:
            names = ", ".join(site.name for site in self.layers.missing)
            notes.append(
                f"Not compared, because one of the graphs has no value of the name or none was computed: {names}."
            )
        states = self.main.first.drift.states
        if "medium_bank" in states and "medium_open" not in states:
            notes.append(
                "The open segment (medium_sum, medium_weight) is empty wherever a chunk ends, so it has no drift."
            )
        return notes

    def require(self) -> None:
        """Raises GateError that names every broken gate."""
        require(self.gates)
