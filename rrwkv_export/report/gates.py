"""Limits on what quantization may cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rrwkv_export.errors import GateError
from rrwkv_export.report.compare import Comparison


@dataclass(frozen=True)
class Gates:
    """Limits, None for no limit; each holds for every text.

    max_kl: of the mean KL divergence in nats. max_ppl_ratio: of perplexity over the reference's. min_top1: of the share
    of predictions with the same likeliest token. max_drift: of the largest last-quarter mean of any state's drift.
    """

    max_kl: float | None = None
    max_ppl_ratio: float | None = None
    min_top1: float | None = None
    max_drift: float | None = None


@dataclass(frozen=True)
class Gate:
    """One limit and the value that comes closest to it, or is beyond it; `text` is where."""

    name: str
    what: str
    limit: float
    value: float
    text: str
    least: bool

    @property
    def passed(self) -> bool:
        """A value that is not a number passes nothing."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        sign = "<" if self.least else ">"
        return f"{self.what} {self.value:.6g} {sign} {self.limit:g} (--{self.name}, {self.text})"


def check_gates(gates: Gates, comparisons: Sequence[Comparison]) -> tuple[Gate, ...]:
    """Those that were asked for, each at its worst text."""
    every = [gate for comparison in comparisons for gate in _of(gates, comparison)]
    names = dict.fromkeys(gate.name for gate in every)
    return tuple(max((gate for gate in every if gate.name == name), key=_badness) for name in names)


def require(gates: Sequence[Gate]) -> None:
    """Raises GateError that names every broken one."""
    if broken := [str(gate) for gate in gates if not gate.passed]:
        raise GateError(f"{'gates' if len(broken) > 1 else 'gate'} broken: {'; '.join(broken)}")


def _of(gates: Gates, comparison: Comparison) -> list[Gate]:
    figures, text = comparison.figures, comparison.text.name
    measured = [
        ("max-kl", "mean KL", gates.max_kl, figures.kl.mean, False),
        ("max-ppl-ratio", "perplexity ratio", gates.max_ppl_ratio, figures.perplexity_ratio, False),
        ("min-top1", "top-1 agreement", gates.min_top1, figures.top1_agreement, True),
        ("max-drift", "drift", gates.max_drift, comparison.drift.largest, False),
    ]
    return [
        Gate(name, what, limit, value, text, least) for name, what, limit, value, least in measured if limit is not None
    ]


def _badness(gate: Gate) -> float:
    if gate.value != gate.value:  # not a number: nothing is worse
        return float("inf")
    return -gate.value if gate.least else gate.value
