"""A finished report: everything measured, and its headline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rrwkv_export.bench.cold_start import Fresh
from rrwkv_export.bench.plan import graph_bytes, scheme
from rrwkv_export.human import MISSING, count, megabytes, milliseconds, number, percent, verdict
from rrwkv_export.report.gates import Gate, require
from rrwkv_export.report.measure.compare import Comparison
from rrwkv_export.report.measure.continuations import Continuation
from rrwkv_export.report.measure.drift import LEAST_WINDOWS, WINDOW
from rrwkv_export.report.measure.layers import LayerErrors
from rrwkv_export.report.measure.speed import Speed
from rrwkv_export.report.measure.tasks import Answered
from rrwkv_runtime.common.printable import writable
from rrwkv_runtime.execution.placement import Placement
from rrwkv_runtime.manifest import Manifest


@dataclass(frozen=True)
class Size:
    """Bytes. graphs: graph and weight files. bundle: all files. state: of a conversation in memory. peak: the most
    resident memory of a process that loads the bundle, reads 256 tokens and generates 32; above_imports: what of it
    came after Python and the packages. None if they were not measured.
    """

    graphs: int
    bundle: int
    state: int
    peak: int | None = None
    above_imports: int | None = None


@dataclass(frozen=True)
class Subject:
    """A bundle. scheme: what its weights are; recipe: the manifest's `quantization`."""

    name: str
    bundle_id: str
    model_id: str
    scheme: str
    recipe: dict[str, Any] | None
    size: Size


def subject(path: Path, manifest: Manifest, process: Fresh | None = None) -> Subject:
    """A bundle as a report speaks of it. process: one that ran it, if memory was measured."""
    size = Size(
        graphs=graph_bytes(manifest),
        bundle=sum(entry.bytes for entry in manifest.files),
        state=sum(spec.nbytes for spec in manifest.states),
        peak=process.peak if process else None,
        above_imports=process.above_imports if process else None,
    )
    name = writable(path.resolve().name)
    return Subject(name, manifest.bundle_id, manifest.model_id, scheme(manifest), manifest.quantization, size)


@dataclass(frozen=True)
class Measured:
    """One bundle held against the reference, on each text. speed: (the reference's, its own), if it was measured.

    tasks: what both answer, if they were asked.
    """

    subject: Subject
    comparisons: tuple[Comparison, ...]
    speed: tuple[Speed, Speed] | None
    tasks: tuple[Answered, ...] = ()

    @property
    def first(self) -> Comparison:
        """On the first text: what the headline is about."""
        return self.comparisons[0]


# What the headline's names do not say by themselves.
WHAT = {
    "perplexity": "exp of the mean of -log p of the token that came; lower is better",
    "mean KL divergence": "of the bundle's predictions from the reference's; 0 where they are the same",
    "p99 KL divergence": "99 of 100 predictions have less",
    "top-1 agreement": "predictions whose likeliest token is the same",
    "top-5 agreement": "of the reference's five likeliest tokens, those that are among the bundle's five",
    "drift of the states": "relative error of the state farthest off, mean over the last quarter of the text",
    "peak memory": "of a process that loads it, reads 256 tokens and generates 32",
    "memory above imports": "of that, what came after Python, numpy, onnxruntime and tokenizers",
    "decode, a token": "one token a run",
    "prefill, 256 tokens": "all of them in one run",
}


class Row(NamedTuple):
    """One line of the headline, ready to print; `what` says what is measured, where the name does not."""

    name: str
    reference: str
    value: str
    what: str = ""


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
        shown = {
            "perplexity": (number(figures.reference_perplexity, 5), number(figures.perplexity, 5)),
            "mean KL divergence": (MISSING, f"{number(figures.kl.mean)} nats"),
            "p99 KL divergence": (MISSING, f"{number(figures.kl.p99)} nats"),
            "top-1 agreement": (MISSING, percent(figures.top1_agreement)),
            "top-5 agreement": (MISSING, percent(figures.top5_agreement)),
            "drift of the states": (MISSING, f"{percent(drift.largest)} at most, {verdict(drift.flat)}"),
            "graph and weights": (megabytes(theirs.graphs), megabytes(mine.graphs)),
        }
        for task in self.main.tasks:
            accuracies = (task.reference.accuracy, task.own.accuracy)
            shown[f"accuracy, {task.name}"] = (percent(accuracies[0].mean), percent(accuracies[1].mean))
        if mine.peak and theirs.peak and mine.above_imports and theirs.above_imports:
            shown["peak memory"] = (megabytes(theirs.peak), megabytes(mine.peak))
            shown["memory above imports"] = (megabytes(theirs.above_imports), megabytes(mine.above_imports))
        if self.main.speed:
            reference, own = self.main.speed
            shown["decode, a token"] = (milliseconds(reference.decode_ms), milliseconds(own.decode_ms))
            shown["prefill, 256 tokens"] = (
                f"{count(reference.prefill)} tokens/s",
                f"{count(own.prefill)} tokens/s",
            )
        return [Row(name, *values, WHAT.get(name, "")) for name, values in shown.items()]

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
            names = ", ".join(linear.name for linear in self.layers.missing)
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
