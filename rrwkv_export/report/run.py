"""From bundles and texts to a folder with a report: check, measure, write; the gates come last."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rrwkv_export.atomic import new_directory
from rrwkv_export.bench.cold_start import Fresh, fresh
from rrwkv_export.bench.machine import is_busy, load_average, machine, threads_name
from rrwkv_export.evaluate.answers import Answers
from rrwkv_export.evaluate.run import evaluate
from rrwkv_export.progress import Progress
from rrwkv_export.report.gates import Gates, check_gates
from rrwkv_export.report.measure.compare import compare
from rrwkv_export.report.measure.continuations import continuations
from rrwkv_export.report.measure.layers import layer_errors
from rrwkv_export.report.measure.placement import placement
from rrwkv_export.report.measure.speed import speeds
from rrwkv_export.report.measure.tasks import answered
from rrwkv_export.report.render.html import render_html
from rrwkv_export.report.render.json import render_json
from rrwkv_export.report.render.markdown import render_markdown
from rrwkv_export.report.result import Measured, Report, subject
from rrwkv_export.report.shipped_text import shipped_text
from rrwkv_export.texts import Text, check_text, read_text
from rrwkv_runtime.common.checks import check_whole
from rrwkv_runtime.errors import BundleError, UsageError
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.model import Model

PAGE, MARKDOWN, JSON = "report.html", "report.md", "report.json"
FILES = frozenset({PAGE, MARKDOWN, JSON})
TOKENS, CHUNK = 16_384, 256
NO_GATES = Gates()


@dataclass(frozen=True)
class Options:
    """How to measure.

    tokens: predictions of each text that count, from its beginning. chunk: tokens that a run is given. speed:
    whether to measure speed and memory. tasks: whether to ask both what the tasks that come along ask. provider,
    provider_options, strict, threads: as of `Model.load`. tuned: whether the reference may have other weights. Raises
    InputError.
    """

    tokens: int = TOKENS
    chunk: int = CHUNK
    speed: bool = True
    tasks: bool = False
    provider: str = "cpu"
    threads: int | None = None
    provider_options: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    tuned: bool = False

    def __post_init__(self) -> None:
        check_whole("tokens", self.tokens, 1, None, "a whole number from 1")
        check_whole("chunk", self.chunk, 1, None, "a whole number from 1")

    def load(self, bundle: Path) -> Model:
        options = self.provider_options
        return Model.load(bundle, self.provider, self.threads, provider_options=options, strict=self.strict)

    def process(self, bundle: Path) -> Fresh | None:
        """What a process needs that loads a bundle and runs it; None if unknown."""
        how = {"provider_options": dict(self.provider_options), "strict": self.strict}
        return fresh(bundle, self.provider, self.threads, **how) if self.speed else None


def report(
    bundle: Path,
    reference: Path,
    texts: Sequence[Path],
    out: Path,
    *,
    against: Sequence[Path] = (),
    gates: Gates = NO_GATES,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Compare a bundle with its reference on texts, and write report.html, report.md and report.json into a new folder.

    The first text makes the headline; with none, the one that comes along is read, where the tokenizer suits it.
    against: further bundles, held against the same reference. overwrite: replace an earlier report. options: the fields
    of Options. Raises GateError, after the files are written, if a gate is broken; and BundleError, TextError,
    InputError, OutputError.
    """
    made = write_report(
        bundle, reference, texts, out, against=against, gates=gates, overwrite=overwrite, progress=progress, **options
    )
    made.require()
    return made


def write_report(
    bundle: Path,
    reference: Path,
    texts: Sequence[Path],
    out: Path,
    *,
    overwrite: bool = False,
    **options: Any,
) -> Report:
    """As `report`, but a broken gate raises nothing: the result's `require` does."""
    _check(bundle, reference, texts, **options)  # in the order in which they are given, the place to write to last
    with new_directory(out, FILES if overwrite else None, marker=JSON, what="a report") as folder:
        made = measure(bundle, reference, texts, **options)
        pages = {MARKDOWN: render_markdown(made), PAGE: render_html(made)}
        written = {name: text.encode("utf-8", "replace") for name, text in pages.items()}  # names may hold anything
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}
        written[JSON] = render_json(made, hashes).encode("utf-8", "replace")
        for name, data in written.items():
            (folder / name).write_bytes(data)
    return made


def measure(
    bundle: Path,
    reference: Path,
    texts: Sequence[Path],
    *,
    against: Sequence[Path] = (),
    gates: Gates = NO_GATES,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """The report, not written anywhere; arguments as of `report`."""
    how, load = _check(bundle, reference, texts, against=against, **options), load_average()
    read = [read_text(path, reference) for path in texts] or [shipped_text(reference)]
    first, second = how.load(reference), how.load(bundle)
    known = evaluate(first, progress=progress) if how.tasks else ()
    main = _compare(first, second, read, how, known, progress)
    return Report(
        reference=subject(reference, first.manifest, how.process(reference)),
        main=main,
        layers=layer_errors(first, second, read[0].ids, chunk=how.chunk, progress=progress),
        placement=placement(second),
        continuations=continuations(first, second, read[0]),
        against=tuple(_compare(first, how.load(path), read, how, known, progress) for path in against),
        gates=check_gates(gates, main.comparisons, main.tasks),
        chunk=how.chunk,
        machine={**machine(second.provider, load), "threads": threads_name(how.threads)},
        busy=is_busy(load),
    )


def _check(
    bundle: Path,
    reference: Path,
    texts: Sequence[Path],
    *,
    against: Sequence[Path] = (),
    gates: Gates = NO_GATES,
    progress: Progress | None = None,
    **options: Any,
) -> Options:
    """What can be said at once of the arguments of `report`. Raises InputError, BundleError, TextError."""
    how = Options(**options)
    if gates.max_task_loss is not None and not how.tasks:
        raise UsageError("--max-task-loss is about tasks, which are asked with --tasks alone; give that too")
    _check_models(reference, [bundle, *against], how.tuned)
    for path in texts:
        check_text(path)
    return how


def _check_models(reference: Path, bundles: Sequence[Path], tuned: bool) -> None:
    """tuned: weights may differ, sizes may not."""
    first = Manifest.load(reference)
    for bundle in bundles:
        other = Manifest.load(bundle)
        if other.model_id != first.model_id and not (tuned and other.config == first.config):
            remedy = "of one model" if tuned else "of one model, or --tuned if its weights were tuned for the recipe"
            raise BundleError(
                f"{bundle} is of model {other.model_id[:12]}, {reference} of model {first.model_id[:12]}; give bundles "
                f"{remedy}"
            )


def _compare(
    reference: Model,
    other: Model,
    texts: Sequence[Text],
    how: Options,
    known: tuple[Answers, ...],
    progress: Progress | None,
) -> Measured:
    """known: the reference's answers to tasks, if they are asked."""
    measured = speeds(reference, other, texts[0].ids) if how.speed else None
    comparisons = [
        compare(reference, other, text, tokens=how.tokens, chunk=how.chunk, progress=progress) for text in texts
    ]
    tasks = answered(known, evaluate(other, progress=progress)) if how.tasks else ()
    return Measured(subject(other.path, other.manifest, how.process(other.path)), tuple(comparisons), measured, tasks)
