"""Where segments end, of an adaptive interval, as ONNX nodes: what tokens tell, and how a border shares one out.

What a token tells follows from it and the one before, as LN1 of layer 0 sees nothing else: so it is read from tables
that the export computes, in float64, and is the same whatever the rest of a graph is computed or stored in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.mediums import UNIT, AdaptiveInterval
from rrwkv_export.graph import names
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope


@dataclass(frozen=True)
class Told:
    """Of T tokens in their order, int64. n [T]: what each tells. before [T]: I before each. states: the new values of
    those that are counted, by the names of their inputs.
    """

    n: ir.Value
    before: ir.Value
    states: Mapping[str, ir.Value]

    @property
    def after(self) -> ir.Value:
        """I after all of them: []."""
        return self.states[names.MEDIUM_INFORMATION]


def told_by(scope: Scope, w: GraphWeights, ids: ir.Value, states: Mapping[str, ir.Value]) -> Told:
    """ids [T]; states: the graph's inputs."""
    I, token = states[names.MEDIUM_INFORMATION], states[names.MEDIUM_TOKEN]
    first, minus_one = scope.common([0], np.int64, "0"), scope.common([-1], np.int64, "-1")
    earlier = scope.op("Slice", ids, first, minus_one, first, name="earlier")
    previous = scope.op("Concat", scope.op("Unsqueeze", token, first, name="token"), earlier, name="previous", axis=0)
    n = _told(scope, w, ids, previous)
    after = scope.op("Add", scope.op("CumSum", n, scope.common(0, np.int64, "scalar_0"), name="sums"), I, name="I_each")
    before = scope.op("Sub", after, n, name="I_before")
    last = scope.common(-1, np.int64, "scalar_minus_1")
    return Told(n, before, _states(scope, scope.op("Gather", after, last, name="I_after"), ids))


def told_by_one(scope: Scope, w: GraphWeights, ids: ir.Value, states: Mapping[str, ir.Value]) -> Told:
    """The same of ids [1]."""
    I, token = states[names.MEDIUM_INFORMATION], states[names.MEDIUM_TOKEN]
    n = _told(scope, w, ids, token)
    after = scope.op("Squeeze", scope.op("Add", I, n, name="I_each"), name="I_after")
    return Told(n, I, _states(scope, after, ids))


def _states(scope: Scope, after: ir.Value, ids: ir.Value) -> dict[str, ir.Value]:
    last = scope.common(-1, np.int64, "scalar_minus_1")
    return {names.MEDIUM_INFORMATION: after, names.MEDIUM_TOKEN: scope.op("Gather", ids, last, name="last_token")}


def _told(scope: Scope, w: GraphWeights, ids: ir.Value, previous: ir.Value) -> ir.Value:
    """n = round(2¹⁶ (1/longest + (1/shortest - 1/longest) σ(…))). previous: -1 where there is none."""
    interval = adaptive(w)
    now, before = w.information(scope.root)
    sums = [scope.op("Gather", now, ids, name="now"), scope.op("Gather", before, previous, name="then")]
    least, most = 1 / interval.longest, 1 / interval.shortest
    share = scope.op("Sigmoid", scope.op("Add", *sums, name="told"), name="share")
    above = scope.op("Mul", share, scope.const(most - least, np.float64, "range"), name="above_least")
    ι = scope.op("Add", above, scope.const(least, np.float64, "least"), name="information")
    exact = scope.op("Mul", ι, scope.const(UNIT, np.float64, "unit"), name="units")
    return scope.op("Cast", scope.op("Round", exact, name="rounded"), name="n", to=ir.DataType.INT64)


def adaptive(w: GraphWeights) -> AdaptiveInterval:
    """The interval of a model that has such a one."""
    assert w.config.medium is not None
    assert w.config.medium.adaptive is not None
    return w.config.medium.adaptive


@dataclass(frozen=True)
class Shares:
    """How a token is shared out, float32: between the segment that is open when it comes, and the next one.

    ends: bool, whether the first of these ends with it.
    """

    inside: ir.Value
    rest: ir.Value
    ends: ir.Value


def shares(scope: Scope, told: Told, shape: list[int]) -> Shares:
    """Of every token, in this shape."""
    unit = scope.common(UNIT, np.int64, "UNIT")
    left = scope.op("Sub", unit, scope.op("Mod", told.before, unit, name="into_segment"), name="left")
    inside = scope.op("Min", told.n, left, name="inside")

    def shaped(x: ir.Value, name: str) -> ir.Value:
        return scope.op("Reshape", x, scope.common(shape, np.int64, "_".join(map(str, shape))), name=name)

    rest = scope.op("Sub", told.n, inside, name="rest")
    ends = scope.op("GreaterOrEqual", told.n, left, name="ends")
    rows = (part(scope, shaped(x, name)) for x, name in ((inside, "inside_rows"), (rest, "rest_rows")))
    inside_share, rest_share = rows
    return Shares(inside_share, rest_share, shaped(ends, "ended"))


def part(scope: Scope, count: ir.Value) -> ir.Value:
    """A count of 2⁻¹⁶, at most one whole, as float32: exact."""
    name = str(count.name).rpartition(".")[2]
    x = scope.op("Cast", count, name=f"{name}.float", to=ir.DataType.FLOAT)
    return scope.op("Mul", x, scope.common(1 / UNIT, np.float32, "one_over_UNIT"), name=f"{name}.share")
