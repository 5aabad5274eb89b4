"""Limits on what quantization may cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rrwkv_export.errors import GateError
from rrwkv_export.report.measure.compare import Comparison
from rrwkv_export.report.measure.tasks import Answered
from rrwkv_runtime.errors import UsageError


@dataclass(frozen=True)
class Gates:
    """Limits, None for no limit; each holds for every text, or every task.

    max_kl: of the mean KL divergence in nats. max_ppl_ratio: of perplexity over the reference's. min_top1: of the
    share of predictions with the same likeliest token. max_drift: of the largest last-quarter mean of any state's
    drift. max_task_loss: of the reference's accuracy less the bundle's.
    Raises UsageError for a limit that is no number, or that was meant in percent where a share or a ratio is taken.
    """

    max_kl: float | None = None
    max_ppl_ratio: float | None = None
    min_top1: float | None = None
    max_drift: float | None = None
    max_task_loss: float | None = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if limit is not None and (limit != limit or limit < 0):
                raise UsageError(f"{_option(name)} takes a number from 0, not {limit}")
        if self.min_top1 is not None and self.min_top1 > 1:
            _refuse("min_top1", "a share from 0 to 1", self.min_top1, self.min_top1 / 100)
        # As much as the state itself is no limit; a perplexity 50 times the reference's neither.
        if self.max_drift is not None and 1 <= self.max_drift <= 100:
            _refuse("max_drift", "a share of the state, below 1", self.max_drift, self.max_drift / 100)
        if self.max_task_loss is not None and self.max_task_loss >= 1:
            _refuse("max_task_loss", "a share of the items, below 1", self.max_task_loss, self.max_task_loss / 100)
        if self.max_ppl_ratio is not None and 50 <= self.max_ppl_ratio <= 1000:
            _refuse("max_ppl_ratio", "a ratio such as 1.01", self.max_ppl_ratio, self.max_ppl_ratio / 100)
        if self.max_ppl_ratio is not None and self.max_ppl_ratio < 0.5:
            more = self.max_ppl_ratio
            raise UsageError(
                f"{_option('max_ppl_ratio')} takes perplexity over the reference's, where 1 is as good, not {more:g}; "
                f"for {100 * more:g} % more give {1 + more:g}"
            )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _refuse(name: str, what: str, given: float, meant: float) -> None:
    remedy = f"for {given:g} % give {meant:g}" if meant <= 1 or name == "max_ppl_ratio" else "leave it out for no limit"
    raise UsageError(f"{_option(name)} takes {what}, not {given:g}; {remedy}")


@dataclass(frozen=True)
class Gate:
    """One limit and the value that comes closest to it, or is beyond it; `text` is where, a text or a task."""

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


def check_gates(gates: Gates, comparisons: Sequence[Comparison], tasks: Sequence[Answered] = ()) -> tuple[Gate, ...]:
    """Those that were asked for, each at its worst text, or at the task where most is lost."""
    every = [gate for comparison in comparisons for gate in _of(gates, comparison)]
    if (limit := gates.max_task_loss) is not None:
        lost = [(task, -task.difference.accuracy.mean) for task in tasks]
        every += [Gate("max-task-loss", "accuracy lost", limit, loss, task.name, False) for task, loss in lost]
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
