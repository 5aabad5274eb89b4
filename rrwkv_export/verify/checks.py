"""Hold a bundle against what is right, in every way in which a runtime may split a text."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rrwkv_export.architectures.mediums import MediumConfig, medium_from_json
from rrwkv_export.architectures.reference import State as ReferenceState
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.pages import drop_all
from rrwkv_export.progress import Progress
from rrwkv_export.verify.compare import Array, logits_error, states_error
from rrwkv_export.verify.parity import Check, Parity, Tolerance, default_tolerance
from rrwkv_export.verify.reference import Reference
from rrwkv_runtime.execution.loading import OPTIMIZATION_LEVELS
from rrwkv_runtime.manifest import Manifest, resolve_inside
from rrwkv_runtime.model import Model
from rrwkv_runtime.state import State

_NUMBER_OF_CHECKS = 6 + len(OPTIMIZATION_LEVELS) - 1
_NUMBER_OF_VARIANT_CHECKS = 4


def verify(
    bundle: Path,
    reference: Reference,
    rtol: float | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Parity:
    """Run the bundle in every way of `_checks` and compare.

    options: provider, threads, provider_options and strict, of `Model.load`. rtol: by default what the weights' dtype,
    the provider's arithmetic, and on this checkpoint float32's, explain. Raises BundleError, ProviderError; never
    ParityError.
    """
    manifest = Manifest.load(bundle)
    report = progress or (lambda *_: None)
    checks: list[Check] = []
    total = _NUMBER_OF_VARIANT_CHECKS * len(manifest.variants)
    if manifest.quantization is None:  # two copies of a large model's floats, one for each graph, might not fit
        options["prepack"] = False
    loaded = [Model.load(bundle, **options)]
    total += _NUMBER_OF_CHECKS if loaded[0].takes_any_length else 0
    report("verifying", 0, total)
    provider, bound = loaded[0].engine.provider, reference.bound
    tolerance = default_tolerance(manifest, provider, reference.float32) if rtol is None else Tolerance(rtol, rtol)
    measuring = _checks(loaded, _Measure(reference, tolerance), {**options, "provider": provider.name})
    for check in measuring:
        checks.append(check)
        _let_go(bundle, manifest)
        report("verifying", len(checks), total)
    return Parity(
        reference.sample,
        mediums=_mediums(manifest.config, reference.state),
        largest_logit=reference.largest_logit,
        largest_key=reference.largest_key,
        provider=provider.name,
        checks=tuple(checks),
        against=reference.name,
        possible_key=bound.key if bound else math.nan,
        float32=reference.float32,
        tolerance=tolerance.reason,
        notes=_doubts(manifest, reference),
    )


def _let_go(bundle: Path, manifest: Manifest) -> None:
    """What was read of mapped weights leaves memory: the next way may run another graph, which has mapped them anew."""
    for name in {data for graph in manifest.graphs.values() for data in graph.data}:
        drop_all(resolve_inside(bundle, name))


def _doubts(manifest: Manifest, reference: Reference) -> tuple[str, ...]:
    """What the compared tokens do not show of others."""
    form: WKVForm = "plain" if manifest.form == "plain" else "stable"
    doubt = reference.bound.doubt(form, blocked=manifest.main.over == "chunked") if reference.bound else ""
    seen = f"the largest key seen was {reference.largest_key:.0f}"
    return (f"not proven for every token: {doubt}; {seen}",) if doubt else ()


class _Measure:
    """Errors against the reference as checks, with what is allowed."""

    def __init__(self, reference: Reference, tolerance: Tolerance) -> None:
        self._reference, self._tolerance = reference, tolerance
        self.ids = reference.ids

    def logits(self, name: str, *found: Array) -> Check:
        """The largest error of several logits [T, V]."""
        cost = self._reference.float32
        error = max(logits_error(self._reference.logits, logits) for logits in found)
        return Check(name, error, self._tolerance.logits, cost.logits if cost else math.nan)

    def states(self, name: str, *found: State) -> Check:
        """The largest error of several states after all ids."""
        cost = self._reference.float32
        error = max(states_error(self._reference.state, state.values) for state in found)
        return Check(name, error, self._tolerance.states, cost.states if cost else math.nan)


def _checks(held: list[Model], measure: _Measure, options: Mapping[str, Any]) -> Iterator[Check]:
    """Of the main graph, unless the provider takes none of any length, and of the variants. options: of the loading.

    held: the model alone, which is taken out, so that no more than one is in memory at a time.
    """
    loaded = held.pop()
    bundle, manifest, main = loaded.path, loaded.manifest, loaded.takes_any_length
    held += [loaded] if main else []
    del loaded
    if main:
        yield from _main_checks(held, measure, options)
    for variant in manifest.variants:
        yield from _variant_checks(bundle, measure, options, variant)


def _main_checks(held: list[Model], measure: _Measure, options: Mapping[str, Any]) -> Iterator[Check]:
    """One measurement after the other. held: as in `_checks`. options: with which it was loaded."""
    loaded = held.pop()
    bundle, ids, T = loaded.path, measure.ids, len(measure.ids)

    def chunked(using: Model, size: int) -> Array:
        return using.forward(ids, num_logits=T, chunk=size)[0]

    lengths = chunk_lengths(loaded.manifest.config)
    yield measure.logits("all tokens at once", chunked(loaded, T))
    yield measure.logits("token by token", token_by_token(loaded, ids))
    for size in lengths:
        yield measure.logits(f"in chunks of {size}", chunked(loaded, size))
    yield measure.logits("state saved and restored", _restored(loaded, ids))
    yield measure.states("states after the last token", loaded.forward(ids)[1])
    del loaded
    for level in OPTIMIZATION_LEVELS[:-1]:
        other = Model.load(bundle, optimization=level, verify=False, **options)
        yield measure.logits(f"optimization level {level}", chunked(other, T), chunked(other, lengths[-1]))
        del other


def _variant_checks(bundle: Path, measure: _Measure, options: Mapping[str, Any], variant: str) -> Iterator[Check]:
    """Graphs in fixed shapes: as they are meant to be run, and every graph where it is not the usual one."""
    ids, T = measure.ids, len(measure.ids)
    loaded = Model.load(bundle, variant=variant, verify=False, **options)
    logits, state = loaded.forward(ids, num_logits=T)
    yield measure.logits(f"{variant}: whole segments", logits)
    yield measure.logits(f"{variant}: token by token", token_by_token(loaded, ids))
    head = min(T - 1, _interval(loaded.manifest.config) // 2 + 1)  # in the middle of a segment
    decoder = loaded.decoder()
    parts = [decoder.run(piece, len(piece)) for piece in (ids[:head], ids[head:]) if len(piece)]
    yield measure.logits(f"{variant}: from within a segment", np.concatenate(parts))
    yield measure.states(f"{variant}: states", state, decoder.state())


def _medium(config: Mapping[str, Any]) -> MediumConfig | None:
    return medium_from_json(config.get("medium"), "manifest.json")


def _interval(config: Mapping[str, Any]) -> int:
    """The most tokens of a segment; 0 without mediums."""
    medium = _medium(config)
    return medium.longest if medium else 0


def _mediums(config: Mapping[str, Any], state: ReferenceState) -> int:
    """How many were made."""
    medium = _medium(config)
    return getattr(state, medium.counted) // medium.unit if medium else 0


def chunk_lengths(config: Mapping[str, Any]) -> list[int]:
    """Two chunk lengths, one short and one long, that share no factor with the medium interval."""
    interval = _interval(config) or 1
    starts = (5, interval + 6)
    return [next(n for n in range(start, 2 * start + interval) if math.gcd(n, interval) == 1) for start in starts]


def token_by_token(loaded: Model, ids: Sequence[int]) -> Array:
    """Logits [T, V] of one-token steps."""
    decoder, logits = loaded.decoder(), np.empty((len(ids), loaded.vocab_size), np.float32)
    for row, token in zip(logits, ids):
        row[:] = decoder.step(token)
    return logits


def _restored(loaded: Model, ids: Sequence[int]) -> Array:
    """Logits [T, V] with the state written to a file and read again half way."""
    half = max(1, len(ids) // 2)
    first, state = loaded.forward(ids[:half], num_logits=half)
    if half == len(ids):
        return first
    with tempfile.TemporaryDirectory() as folder:
        state.save(Path(folder) / "state")
        state = loaded.load_state(Path(folder) / "state")
    return np.concatenate([first, loaded.forward(ids[half:], state, num_logits=len(ids) - half)[0]])
