"""The two recurrences inside wkv, in two ways of running them over T tokens. Both give the same numbers.

loop  an ONNX Scan: cheapest on a CPU
step  T = 1: no control flow, fixed shapes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir

from rrwkv_export.onnx.scope import Array, Scope

Body = Callable[[Scope, ir.Value, Sequence[ir.Value]], tuple[ir.Value, ir.Value]]
"""scope, S, one token's rows of the sequences -> the next S, and what is given out for the token."""


class Recurrence(Protocol):
    """S [2, D] and p [1, D] have a leading 1 where `states_are_rows` (they are rows of a [T, ..., D] sequence)."""

    states_are_rows: bool

    def decay(self, scope: Scope, S: ir.Value, x: ir.Value, d: Array) -> Sequence[ir.Value]:
        """S <- exp(-d) ⊙ S + x_t: the last S, and S before every step [T, 2, D]. x [T, 2, D], d [D]."""

    def keep(self, scope: Scope, S: ir.Value, x: ir.Value, w: ir.Value) -> Sequence[ir.Value]:
        """S <- w_t ⊙ S + x_t, as above, with w [T, 1, D]."""

    def maximum(self, scope: Scope, p: ir.Value, k: ir.Value, d: Array) -> Sequence[ir.Value]:
        """p <- max(p - d, k_t): the last p; p before and p after every step [T, 1, D]. k [T, 1, D]."""

    def shaped(self, scope: Scope, x: ir.Value, row: Sequence[int], name: str) -> ir.Value:
        """x, T tokens in any shape, as a sequence of rows for `scan`."""

    def scan(self, scope: Scope, S: ir.Value, rows: Mapping[str, ir.Value], body: Body) -> tuple[ir.Value, ir.Value]:
        """S after the last of T tokens, and what the body gives out for each."""


class Loop:
    """A Scan with two operations a step."""

    states_are_rows = False

    def decay(self, scope: Scope, S: ir.Value, x: ir.Value, d: Array) -> Sequence[ir.Value]:
        return self._linear(scope, S, [x], scope.const(np.exp(-d), np.float32, "exp_minus_d"))

    def keep(self, scope: Scope, S: ir.Value, x: ir.Value, w: ir.Value) -> Sequence[ir.Value]:
        return self._linear(scope, S, [x, w], None)

    def _linear(
        self, scope: Scope, S_0: ir.Value, sequences: Sequence[ir.Value], constant: ir.Value | None
    ) -> Sequence[ir.Value]:
        body = Scope.body(scope / "step")
        S, x, w = (body.input(name) for name in ("S", "x", "w"))
        S_next = body.op("Add", body.op("Mul", S, constant or w, name="decayed"), x, name="S_next")
        # Without Identity, onnxruntime 1.32 hands out what the next iteration left in the state's buffer.
        before = body.op("Identity", S, name="S_before")
        step = body.graph([S, x, w][: 1 + len(sequences)], [S_next, before])
        return scope.ops("Scan", S_0, *sequences, names=["last", "before"], body=step, num_scan_inputs=len(sequences))

    def maximum(self, scope: Scope, p: ir.Value, k: ir.Value, d: Array) -> Sequence[ir.Value]:
        decay = scope.const(d, np.float32, "maximum.d")
        body = Scope.body(scope / "maximum_step")
        p_t, k_t = body.input("p"), body.input("k")
        p_next = body.op("Max", body.op("Sub", p_t, decay, name="decayed"), k_t, name="p_next")
        before, after = body.op("Identity", p_t, name="p_before"), body.op("Identity", p_next, name="p_after")
        step = body.graph([p_t, k_t], [p_next, before, after])
        names = ["maximum.last", "maximum.before", "maximum"]
        return scope.ops("Scan", p, k, names=names, body=step, num_scan_inputs=1)

    def shaped(self, scope: Scope, x: ir.Value, row: Sequence[int], name: str) -> ir.Value:
        return _rows(scope, x, [-1, *row], name)

    def scan(self, scope: Scope, S: ir.Value, rows: Mapping[str, ir.Value], body: Body) -> tuple[ir.Value, ir.Value]:
        inner = Scope.body(scope / "step")
        given = [inner.input(name) for name in ("S", *rows)]
        step = inner.graph(given, body(inner, given[0], given[1:]))
        last, found = scope.ops("Scan", S, *rows.values(), names=["S_last", "y"], body=step, num_scan_inputs=len(rows))
        return last, found


class Step:
    """One token: the definition itself."""

    states_are_rows = True

    def decay(self, scope: Scope, S: ir.Value, x: ir.Value, d: Array) -> Sequence[ir.Value]:
        return self.keep(scope, S, x, scope.const(np.exp(-d), np.float32, "exp_minus_d"))

    def keep(self, scope: Scope, S: ir.Value, x: ir.Value, w: ir.Value) -> Sequence[ir.Value]:
        return scope.op("Add", scope.op("Mul", S, w, name="decayed"), x, name="last"), S

    def maximum(self, scope: Scope, p: ir.Value, k: ir.Value, d: Array) -> Sequence[ir.Value]:
        decayed = scope.op("Sub", p, scope.const(d, np.float32, "maximum.d"), name="maximum.decayed")
        after = scope.op("Max", decayed, k, name="maximum")
        return after, p, after

    def shaped(self, scope: Scope, x: ir.Value, row: Sequence[int], name: str) -> ir.Value:
        return _rows(scope, x, row, name)

    def scan(self, scope: Scope, S: ir.Value, rows: Mapping[str, ir.Value], body: Body) -> tuple[ir.Value, ir.Value]:
        return body(scope, S, list(rows.values()))


def _rows(scope: Scope, x: ir.Value, shape: Sequence[int], name: str) -> ir.Value:
    label = "_".join(str(n) for n in shape).replace("-1", "T")
    return scope.op("Reshape", x, scope.common(shape, np.int64, f"shape_{label}"), name=f"{name}.rows")


class Postponed(Step):
    """One token, the plain form: a layer gives what is added to its state, and all states decay at once at the end."""

    def __init__(self) -> None:
        self._decays: list[Array] = []

    def decay(self, scope: Scope, S: ir.Value, x: ir.Value, d: Array) -> Sequence[ir.Value]:
        self._decays.append(np.exp(-d))
        return x, S

    def finish(self, scope: Scope, S: ir.Value, x: ir.Value) -> ir.Value:
        """S <- exp(-d) ⊙ S + x of all layers: [L, 2, D]."""
        decays = scope.const(np.stack(self._decays)[:, None], np.float32, "exp_minus_d")
        return scope.op("Add", scope.op("Mul", S, decays, name="decayed"), x, name="last")
