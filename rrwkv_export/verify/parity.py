"""The result of a verification, and what explains an error: the default tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rrwkv_export.errors import ParityError
from rrwkv_export.verify.ids import Sample
from rrwkv_export.verify.reference import Float32Cost
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.providers import Provider

DEFAULT_RTOL = {"float32": 1e-5, "float16": 5e-3}
# Between two ways of computing one quantized graph: on the demo, OpenVINO and the CPU differ by 0.13 in a state.
QUANTIZED_RTOL = 0.2
FLOAT32_ROOM = 8.0  # times what float32 was seen to cost, see Float32Cost
MOST_FOR_FLOAT32 = 1e-2  # to be within more than this says little of a graph


@dataclass(frozen=True)
class Tolerance:
    """The largest errors allowed in logits and in states, and why they are no less ("" for the usual 1e-5)."""

    logits: float
    states: float
    reason: str = ""


@dataclass(frozen=True)
class Check:
    """One way of running the bundle, its error, and what is allowed. float32: what float32 itself costs here."""

    name: str
    error: float
    rtol: float
    float32: float = math.nan

    @property
    def passed(self) -> bool:
        return self.error <= self.rtol


@dataclass(frozen=True)
class Parity:
    """The result of a verification; `to_json` is what the manifest keeps.

    possible_key: what no key can exceed, NaN if not known. tolerance: why more is allowed than usual. notes: what is
    not proven, one line each.
    """

    sample: Sample
    mediums: int
    largest_logit: float
    largest_key: float
    provider: str
    checks: tuple[Check, ...]
    against: str
    possible_key: float = math.nan
    float32: Float32Cost | None = None
    tolerance: str = ""
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return len(self.sample.ids)

    @property
    def rtol(self) -> float:
        """The most that is allowed in any check."""
        return max(check.rtol for check in self.checks)

    @property
    def error(self) -> float:
        return max(check.error for check in self.checks)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def require(self) -> None:
        """Raises ParityError naming the worst check if any is over its tolerance."""
        if not self.passed:
            worst = max(self.checks, key=lambda check: check.error / check.rtol)
            itself = f"; float32 arithmetic itself costs {worst.float32:.0e} here" if worst.float32 > 1e-6 else ""
            raise ParityError(
                f"parity failed: {worst.name!r} is off by {worst.error:.2e}, more than --rtol {worst.rtol:.0e}"
                f"{itself}; if that is expected (float16 weights, say), raise --rtol",
                self,
            )

    def to_json(self) -> dict[str, Any]:
        checks = [{"name": check.name, "error": _finite(check.error), "rtol": check.rtol} for check in self.checks]
        cost = {name: _finite(value) for name, value in vars(self.float32).items()} if self.float32 else None
        return {
            "rtol": self.rtol,
            "error": _finite(self.error),
            "passed": self.passed,
            "tokens": self.tokens,
            "special_tokens": len(self.sample.special),
            "mediums": self.mediums,
            "largest_logit": self.largest_logit,
            "largest_key": _finite(self.largest_key),
            "possible_key": _finite(self.possible_key),
            "provider": self.provider,
            "float32": cost,
            "tolerance": self.tolerance,
            "notes": list(self.notes),
            "checks": checks,
        }


def _finite(error: float) -> float | None:
    """JSON knows no infinity."""
    return error if math.isfinite(error) else None


def default_tolerance(manifest: Manifest, provider: Provider, cost: Float32Cost | None) -> Tolerance:
    """What the weights' dtype, the provider's arithmetic and, on this checkpoint, float32's explain."""
    dtype = manifest.main.dtype
    explained = [(provider.rtol, f"{provider.name} computes in {provider.arithmetic}")]
    if manifest.quantization:
        explained.append((QUANTIZED_RTOL, "the smallest difference decides how a quantized graph rounds an activation"))
    else:
        explained.append((DEFAULT_RTOL[dtype], "" if dtype == "float32" else f"weights in {dtype}"))
    usual, reason = max(explained, key=lambda pair: (pair[0], not pair[1]))
    if cost is None:
        return Tolerance(usual, usual, reason)
    logits, states = (max(usual, min(FLOAT32_ROOM * c, MOST_FOR_FLOAT32)) for c in (cost.logits, cost.states))
    if max(logits, states) > usual:
        itself = f"on this checkpoint float32 arithmetic costs {cost.logits:.1e} in logits, {cost.states:.1e} in states"
        reason = f"{reason}; {itself}" if reason else itself
    return Tolerance(logits, states, reason)
