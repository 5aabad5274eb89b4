"""From bundles and texts to a folder with a report: check, measure, write; the gates come last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rrwkv_export.output import new_directory
from rrwkv_export.progress import Progress
from rrwkv_export.report.compare import compare
from rrwkv_export.report.continuations import continuations
from rrwkv_export.report.gates import Gates, check_gates
from rrwkv_export.report.layers import layer_errors
from rrwkv_export.report.machine import machine
from rrwkv_export.report.placement import placement
from rrwkv_export.report.render_html import render_html
from rrwkv_export.report.render_json import render_json
from rrwkv_export.report.render_markdown import render_markdown
from rrwkv_export.report.result import Measured, Report, subject
from rrwkv_export.report.speed import resident_bytes, speeds
from rrwkv_export.texts import Text, read_text
from rrwkv_runtime.checks import check_whole
from rrwkv_runtime.errors import BundleError, InputError
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.session import Model

PAGE, MARKDOWN, JSON = "report.html", "report.md", "report.json"
FILES = frozenset({PAGE, MARKDOWN, JSON})
TOKENS, CHUNK = 16_384, 256
NO_GATES = Gates()


@dataclass(frozen=True)
class _Settings:
    tokens: int
    chunk: int
    speed: bool
    provider: str
    threads: int | None
    progress: Progress | None

    def load(self, bundle: Path) -> Model:
        return Model.load(bundle, self.provider, self.threads)

    def resident(self, bundle: Path) -> int | None:
        return resident_bytes(bundle, self.provider, self.threads) if self.speed else None


def report(
    bundle: Path,
    reference: Path,
    texts: Sequence[Path],
    out: Path,
    *,
    gates: Gates = NO_GATES,
    tokens: int = TOKENS,
    chunk: int = CHUNK,
    against: Sequence[Path] = (),
    speed: bool = True,
    provider: str = "cpu",
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Compare a bundle with its reference on texts, and write report.html, report.md and report.json into a new folder.

    tokens: predictions of each text that count, from its beginning. chunk: tokens that a run is given. against: further
    bundles, held against the same reference. speed: whether to measure speed and memory. overwrite: replace an earlier
    report. Raises GateError, after the files are written, if a gate is broken; and BundleError, TextError, OutputError.
    """
    made = write_report(
        bundle,
        reference,
        texts,
        out,
        gates=gates,
        tokens=tokens,
        chunk=chunk,
        against=against,
        speed=speed,
        provider=provider,
        threads=threads,
        overwrite=overwrite,
        progress=progress,
    )
    made.require()
    return made


def write_report(
    bundle: Path,
    reference: Path,
    texts: Sequence[Path],
    out: Path,
    *,
    gates: Gates = NO_GATES,
    tokens: int = TOKENS,
    chunk: int = CHUNK,
    against: Sequence[Path] = (),
    speed: bool = True,
    provider: str = "cpu",
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """As `report`, but a broken gate raises nothing: the result's `require` does."""
    settings = _Settings(
        check_whole("tokens", tokens, 1, None, "a whole number from 1"),
        check_whole("chunk", chunk, 1, None, "a whole number from 1"),
        speed,
        provider,
        threads,
        progress,
    )
    if not texts:
        raise InputError("a report needs at least one text")
    _check_models(reference, [bundle, *against])
    read = [read_text(path, reference) for path in texts]
    replaceable = FILES if overwrite else None
    with new_directory(out, replaceable, marker=JSON, what="a report") as folder:
        made = _measure(bundle, reference, read, against, gates, settings)
        for name, render in ((JSON, render_json), (MARKDOWN, render_markdown), (PAGE, render_html)):
            (folder / name).write_bytes(render(made).encode("utf-8", "replace"))
    return made


def _check_models(reference: Path, bundles: Sequence[Path]) -> None:
    model_id = Manifest.load(reference).model_id
    for bundle in bundles:
        if (its := Manifest.load(bundle).model_id) != model_id:
            raise BundleError(
                f"{bundle} is of model {its[:12]}, {reference} of model {model_id[:12]}; give bundles of one model"
            )


def _measure(
    bundle: Path, reference: Path, texts: Sequence[Text], against: Sequence[Path], gates: Gates, settings: _Settings
) -> Report:
    first, second = settings.load(reference), settings.load(bundle)
    main = _compare(first, second, texts, settings)
    ids = texts[0].ids
    provider, progress = settings.provider, settings.progress
    return Report(
        reference=subject(reference, first.manifest, settings.resident(reference)),
        main=main,
        layers=layer_errors(first, second, ids, provider=provider, chunk=settings.chunk, progress=progress),
        placement=placement(second, provider),
        continuations=continuations(first, second, texts[0]),
        against=tuple(_compare(first, settings.load(path), texts, settings) for path in against),
        gates=check_gates(gates, main.comparisons),
        chunk=settings.chunk,
        machine=machine(provider, settings.threads),
    )


def _compare(reference: Model, other: Model, texts: Sequence[Text], settings: _Settings) -> Measured:
    # Speed first: what comes after warms the machine.
    measured = speeds(reference, other, texts[0].ids) if settings.speed else None
    options = {"tokens": settings.tokens, "chunk": settings.chunk}
    comparisons = (compare(reference, other, text, progress=settings.progress, **options) for text in texts)
    its = subject(other.path, other.manifest, settings.resident(other.path))
    return Measured(its, tuple(comparisons), measured)
