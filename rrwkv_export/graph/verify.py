"""Hold a bundle against the float64 reference, in every way in which a runtime may split a text; or a provider against
the CPU.

Errors are the largest absolute difference of any logit over the largest absolute logit of the reference; for states, of
any value over the largest value of that state and layer, with wkv compared as A / B, which all its forms share.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, from_numpy

from rrwkv_export import model
from rrwkv_export.config import ModelConfig
from rrwkv_export.errors import ParityError
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.progress import Progress
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.providers import Provider
from rrwkv_runtime.session import OPTIMIZATION_LEVELS, Model
from rrwkv_runtime.state import State

DEFAULT_RTOL = {"float32": 1e-5, "float16": 5e-3}
# Between two ways of computing one quantized graph: on the demo, OpenVINO and the CPU differ by 0.13 in a state.
QUANTIZED_RTOL = 0.2
PLAIN_KEY_LIMIT = 40.0  # keys seen must stay this far inside the ± 60 to which the plain form clips them
_PLAIN_BONUS_LIMIT = 20.0  # exp(60 + u) must stay a float32
_TOKEN_PARAMETERS = 2e10  # how much arithmetic a verification may cost: tokens times parameters
_FEWEST, _MOST = 48, 1024
FLOAT64, CPU = "the float64 reference", "this bundle on the CPU"
_NUMBER_OF_CHECKS = 6 + len(OPTIMIZATION_LEVELS) - 1
_NUMBER_OF_VARIANT_CHECKS = 4

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Reference:
    """What is right: logits [T, V] for ids, the state after them, and magnitudes seen.

    largest_key: of any |k|. largest_exponent: of any |k| or |u + k|. largest_bonus: the largest u. name: what it is.
    """

    ids: tuple[int, ...]
    logits: Array
    state: model.State
    largest_key: float
    largest_exponent: float
    largest_bonus: float
    name: str = FLOAT64

    @property
    def largest_logit(self) -> float:
        return float(np.abs(self.logits).max())

    @property
    def wkv_form(self) -> WKVForm:
        """The form of wkv that is right for these keys: "plain" or "stable"."""
        small = self.largest_exponent < PLAIN_KEY_LIMIT and self.largest_bonus < _PLAIN_BONUS_LIMIT
        return "plain" if small else "stable"


@dataclass(frozen=True)
class Check:
    """One way of running the bundle, and its error."""

    name: str
    error: float


@dataclass(frozen=True)
class Parity:
    """The result of a verification; `to_json` is what the manifest keeps. tolerance: why rtol is no less."""

    rtol: float
    tokens: int
    mediums: int
    largest_logit: float
    largest_key: float
    provider: str
    checks: tuple[Check, ...]
    against: str = FLOAT64
    tolerance: str = ""

    @property
    def error(self) -> float:
        return max(check.error for check in self.checks)

    @property
    def passed(self) -> bool:
        return self.error <= self.rtol

    def require(self) -> None:
        """Raises ParityError naming the worst check if any is over the tolerance."""
        if not self.passed:
            worst = max(self.checks, key=lambda check: check.error)
            raise ParityError(
                f"parity failed: {worst.name!r} is off by {worst.error:.2e}, more than --rtol {self.rtol:.0e}; "
                "if that is expected (float16 weights, say), raise --rtol",
                self,
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "rtol": self.rtol,
            "error": _finite(self.error),
            "passed": self.passed,
            "tokens": self.tokens,
            "mediums": self.mediums,
            "largest_logit": self.largest_logit,
            "largest_key": _finite(self.largest_key),
            "provider": self.provider,
            "checks": [{"name": check.name, "error": _finite(check.error)} for check in self.checks],
        }


def _finite(error: float) -> float | None:
    """JSON knows no infinity."""
    return error if math.isfinite(error) else None


def verification_length(config: ModelConfig) -> int:
    """How many tokens are worth comparing: past the point where the bank is full, as far as the model's size allows."""
    medium = config.medium
    affordable = min(int(_TOKEN_PARAMETERS / config.parameters()), _MOST)
    if medium is None:
        return max(_FEWEST, min(200, affordable))
    # However dear: a medium is made and read, and another one is made.
    fewest = max(_FEWEST, 2 * medium.interval + 5)
    return max(fewest, min(medium.interval * (medium.slots + 2) + 5, affordable))


def compute_reference(config: ModelConfig, weights: Mapping[str, Tensor], ids: Sequence[int]) -> Reference:
    """Run the float64 reference over ids, one layer's weights in memory at a time. Raises ParityError, TensorError."""
    magnitudes = {"key": 0.0, "key_with_bonus": 0.0}

    def observe(name: str, value: Tensor) -> None:
        kind = name.rpartition(".")[2]
        magnitudes[kind] = max(magnitudes[kind], float(value.abs().max()))

    logits, state = model.forward(config, weights, ids, observe=observe)
    if not bool(logits.isfinite().all()):
        raise ParityError("the checkpoint itself gives logits that are not finite; its weights are unusable")
    bonuses = [float(weights[f"blocks.{i}.att.time_first"].max()) for i in range(config.num_layers)]
    largest = max(magnitudes.values())
    return Reference(tuple(ids), logits.numpy(), state, magnitudes["key"], largest, max(bonuses))


def cpu_reference(bundle: Path, ids: Sequence[int]) -> Reference:
    """What the bundle gives on the CPU, to hold another provider against. Magnitudes of keys are not known."""
    logits, state = Model.load(bundle).forward(ids, num_logits=len(ids))
    values = {name: from_numpy(np.array(value)) for name, value in state.values.items() if name != "position"}
    after = model.State(int(state.values["position"]), **values)
    return Reference(tuple(ids), logits, after, math.nan, math.nan, math.nan, name=CPU)


def verify(
    bundle: Path,
    reference: Reference,
    rtol: float | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Parity:
    """Run the bundle in every way of `_checks` and compare.

    options: provider, threads, provider_options and strict, of `Model.load`. rtol: by default what the weights' dtype
    and the provider's arithmetic explain. Raises BundleError, ProviderError; never ParityError.
    """
    manifest = Manifest.load(bundle)
    interval = _interval(manifest.config)
    report = progress or (lambda *_: None)
    checks: list[Check] = []
    total = _NUMBER_OF_VARIANT_CHECKS * len(_variants(manifest))
    loaded = Model.load(bundle, **options)
    total += _NUMBER_OF_CHECKS if "main" in loaded.sessions else 0
    report("verifying", 0, total)
    provider = loaded.engine.provider
    rtol, tolerance = _tolerance(manifest, provider) if rtol is None else (rtol, "")
    measuring = _checks(loaded, reference, {**options, "provider": provider.name})
    del loaded  # it is theirs now: one session in memory at a time
    for check in measuring:
        checks.append(check)
        report("verifying", len(checks), total)
    return Parity(
        rtol,
        tokens=len(reference.ids),
        mediums=reference.state.position // interval if interval else 0,
        largest_logit=reference.largest_logit,
        largest_key=reference.largest_key,
        provider=provider.name,
        checks=tuple(checks),
        against=reference.name,
        tolerance=tolerance,
    )


def _tolerance(manifest: Manifest, provider: Provider) -> tuple[float, str]:
    """The largest error that can be explained, and by what if it is not float32's own."""
    dtype = manifest.graphs["main"].dtype
    explained = [(provider.rtol, f"{provider.name} computes in {provider.arithmetic}")]
    if manifest.quantization:
        explained.append((QUANTIZED_RTOL, "the smallest difference decides how a quantized graph rounds an activation"))
    else:
        explained.append((DEFAULT_RTOL[dtype], "" if dtype == "float32" else f"weights in {dtype}"))
    return max(explained, key=lambda pair: (pair[0], not pair[1]))


def _checks(loaded: Model, reference: Reference, options: Mapping[str, Any]) -> Iterator[Check]:
    """Of the main graph, unless the provider takes none of any length, and of the variants. options: of the loading."""
    bundle, manifest, main = loaded.path, loaded.manifest, "main" in loaded.sessions
    if main:
        yield from _main_checks(loaded, reference, options)
    del loaded
    for variant in _variants(manifest):
        yield from _variant_checks(bundle, reference, options, variant)


def _main_checks(loaded: Model, reference: Reference, options: Mapping[str, Any]) -> Iterator[Check]:
    """One measurement after the other, with one session in memory at a time. options: with which it was loaded."""
    bundle, ids, T = loaded.path, reference.ids, len(reference.ids)

    def chunked(using: Model, size: int) -> float:
        return logits_error(reference, using.forward(ids, num_logits=T, chunk=size)[0])

    lengths = chunk_lengths(loaded.manifest.config)
    yield Check("all tokens at once", chunked(loaded, T))
    yield Check("token by token", logits_error(reference, token_by_token(loaded, ids)))
    for size in lengths:
        yield Check(f"in chunks of {size}", chunked(loaded, size))
    yield Check("state saved and restored", logits_error(reference, _restored(loaded, ids)))
    yield Check("states after the last token", states_error(reference, loaded.forward(ids)[1]))
    del loaded
    for level in OPTIMIZATION_LEVELS[:-1]:
        other = Model.load(bundle, optimization=level, verify=False, **options)
        yield Check(f"optimization level {level}", max(chunked(other, T), chunked(other, lengths[-1])))
        del other


def _variants(manifest: Manifest) -> list[str]:
    return sorted({graph.variant for graph in manifest.graphs.values() if graph.variant})


def _variant_checks(bundle: Path, reference: Reference, options: Mapping[str, Any], variant: str) -> Iterator[Check]:
    """Graphs in static shapes: as they are meant to be run, and every graph where it is not the usual one."""
    ids, T = reference.ids, len(reference.ids)
    loaded = Model.load(bundle, variant=variant, verify=False, **options)
    logits, state = loaded.forward(ids, num_logits=T)
    yield Check(f"{variant}: whole segments", logits_error(reference, logits))
    yield Check(f"{variant}: token by token", logits_error(reference, token_by_token(loaded, ids)))
    head = min(T - 1, _interval(loaded.manifest.config) // 2 + 1)  # in the middle of a segment
    decoder = loaded.decoder()
    parts = [decoder.run(piece, len(piece)) for piece in (ids[:head], ids[head:]) if len(piece)]
    yield Check(f"{variant}: from within a segment", logits_error(reference, np.concatenate(parts)))
    yield Check(f"{variant}: states", max(states_error(reference, s) for s in (state, decoder.state())))


def _interval(config: Mapping[str, Any]) -> int:
    """The medium interval; 0 without mediums."""
    return int((config.get("medium") or {}).get("interval", 0))


def chunk_lengths(config: Mapping[str, Any]) -> list[int]:
    """Two chunk lengths, one short and one long, that share no factor with the medium interval."""
    interval = _interval(config) or 1
    starts = (5, interval + 6)
    return [next(n for n in range(start, 2 * start + interval) if math.gcd(n, interval) == 1) for start in starts]


def token_by_token(loaded: Model, ids: Sequence[int]) -> Array:
    """Logits [T, V] of one-token steps."""
    decoder = loaded.decoder()
    return np.stack([decoder.step(token).copy() for token in ids])


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


def logits_error(reference: Reference, logits: Array) -> float:
    """Largest absolute difference over the largest absolute logit; infinite if anything is not finite."""
    return _relative(logits, reference.logits)


def states_error(reference: Reference, state: State) -> float:
    """The largest error of any state in any layer, relative to the largest value of that state in that layer."""
    expected = {name: np.asarray(value) for name, value in vars(reference.state).items()}
    found = dict(state.values)
    if int(found.pop("position")) != reference.state.position:
        return math.inf
    found["wkv"], expected["wkv"] = (values["wkv"][:, 0] / values["wkv"][:, 1] for values in (found, expected))
    return max(
        _relative(found[name][layer], expected[name][layer]) for name in found for layer in range(len(found[name]))
    )


def _relative(found: Array, expected: Array) -> float:
    if found.shape != expected.shape or not np.isfinite(found).all():
        return math.inf
    error, scale = float(np.abs(found - expected).max()), float(np.abs(expected).max())
    if scale == 0:
        return 0.0 if error == 0 else math.inf
    return error / scale
