"""What the modules of this folder draw into: one graph in fixed shapes, in the making."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope
from rrwkv_runtime.bundle.fixed_shape import StatePart

Values = dict[str, ir.Value]


@dataclass(frozen=True)
class Making:
    """T: its tokens. before: inputs by name. after: what becomes of a part of a state, by its input's name. crossing:
    what one layer hands on to the later ones (RWKV-7's v_first).
    """

    config: ModelConfig
    w: GraphWeights
    scope: Scope
    T: int
    before: Values
    after: Values = field(default_factory=dict)
    crossing: Values = field(default_factory=dict)

    def last(self, scope: Scope, x: ir.Value, name: str) -> ir.Value:
        """The last token's row of x [..., T, C]."""
        return scope.slice(x, self.T - 1, self.T, 1, name=name)


class FixedDrawing(Protocol):
    """How a generation is drawn. mixed: the mixes of a block, [1, T, C] each."""

    def parts(self, config: ModelConfig, layer: int) -> list[StatePart]:
        """The parts of the state that time-mix keeps of a layer."""

    def time_mix(self, m: Making, scope: Scope, index: int, mixed: list[ir.Value]) -> ir.Value:
        """What is added to x [1, T, C]; puts the new parts into m.after."""

    def channel_mix(self, m: Making, scope: Scope, index: int, mixed: list[ir.Value]) -> ir.Value:
        """What is added to x [1, T, C]."""


def state_part(name: str, state: str, offset: int, shape: tuple[int, ...]) -> StatePart:
    return StatePart(name, f"{name}_out", state, offset, shape)
