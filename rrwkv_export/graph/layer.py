"""One layer as ONNX nodes, whatever its generation: norms, mediums, the shift and the mixes.

What time-mix and channel-mix make of the mixes is drawn in `rrwkv_export.graph.prefill`, a module for each generation.
Sequences are [T, 1, C]: time first, so that a scan and the shift need no transpose; rank three, so that all mixes of a
block are one broadcast [T, mixes, C].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.prefill.medium import MediumClock, MediumState
from rrwkv_export.graph.prefill.rwkv4_chunked import Blocked
from rrwkv_export.graph.prefill.rwkv7_chunked import DeltaBlocks
from rrwkv_export.graph.recurrence import Recurrence
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope

Chunked = Blocked | DeltaBlocks


@dataclass(frozen=True)
class Clock:
    """What all layers share about the place in the text, and how they run over the tokens.

    shift_sizes: [T, 1] splits T + 1 rows into a shifted sequence and the row to carry. medium: None for RWKV-4.
    """

    recurrence: Recurrence | Chunked
    shift_sizes: ir.Value
    medium: MediumClock | None


@dataclass
class LayerState:
    """One layer's share of the states, replaced by the new values as the layer is built.

    shift: two of [1, 1, C]. recurrent: what time-mix carries, as its drawing has it.
    """

    shift: list[ir.Value]
    recurrent: list[ir.Value]
    medium: MediumState | None = None


Crossing = dict[str, ir.Value]
"""What one layer hands on to the later ones within a run (RWKV-7's v_first)."""


class Drawing(Protocol):
    """How a generation is drawn. block: "blocks.3". mixed: the mixes of its time-mix or channel-mix, [T, 1, C] each."""

    def time_mix(
        self,
        w: GraphWeights,
        scope: Scope,
        block: str,
        mixed: Sequence[ir.Value],
        over: Any,
        state: list[ir.Value],
        crossing: Crossing,
    ) -> tuple[ir.Value, list[ir.Value]]:
        """What is added to x, and the layer's new share of the recurrent state."""

    def channel_mix(self, w: GraphWeights, scope: Scope, block: str, mixed: Sequence[ir.Value]) -> ir.Value:
        """What is added to x."""


def layer(
    draw: Drawing,
    w: GraphWeights,
    scope: Scope,
    index: int,
    x: ir.Value,
    clock: Clock,
    state: LayerState,
    crossing: Crossing,
) -> ir.Value:
    """x [T, 1, C] to x [T, 1, C]."""
    block, M = f"blocks.{index}", None
    h, inner = w.norm(scope, x, f"{block}.ln1", name="ln1"), scope / "time_mix"
    if clock.medium and state.medium:
        M = clock.medium.retrospect(w, scope / "medium", block, h, state.medium)
    before = before_mix(w, inner, f"{block}.att", _shifted(inner, h, clock, state, 0))
    mixed = mixes(w, inner, f"{block}.att", h, before, M)
    added, state.recurrent = draw.time_mix(w, inner, block, mixed, clock.recurrence, state.recurrent, crossing)
    x = scope.op("Add", x, added, name="after_time_mix")
    h, inner = w.norm(scope, x, f"{block}.ln2", name="ln2"), scope / "channel_mix"
    before = before_mix(w, inner, f"{block}.ffn", _shifted(inner, h, clock, state, 1))
    added = draw.channel_mix(w, inner, block, mixes(w, inner, f"{block}.ffn", h, before, M))
    return scope.op("Add", x, added, name="after_channel_mix")


def mixes(
    w: GraphWeights, scope: Scope, block: str, h: ir.Value, before: ir.Value, M: ir.Value | None
) -> list[ir.Value]:
    """mix(q) = h ⊙ a + h' ⊙ b + M ⊙ c for every q of the block at once [T, mixes, C], then one [T, 1, C] for each,
    lowered where all that reads them is.
    """
    letters = w.letters(block)
    a, _, c = w.mix(block, letters)
    mixed = scope.op("Add", _scaled(scope, h, a, "now"), before, name="mix")
    if M is not None and c is not None:
        mixed = scope.op("Add", mixed, _scaled(scope, M, c, "recalled"), name="mix_with_medium")
    if w.mixes_are_lowered(block):
        mixed = w.lowered(scope, mixed, "mix.half")
    if len(letters) == 1:
        return [mixed]
    return list(scope.ops("Split", mixed, names=[f"mix_{q}" for q in letters], axis=1, num_outputs=len(letters)))


def before_mix(w: GraphWeights, scope: Scope, block: str, h_prev: ir.Value) -> ir.Value:
    """h' ⊙ b: [T, mixes, C]."""
    return _scaled(scope, h_prev, w.mix(block, w.letters(block))[1], "before")


def _scaled(scope: Scope, x: ir.Value, weight: np.ndarray, name: str) -> ir.Value:
    return scope.op("Mul", x, scope.const(weight, np.float32, f"{name}.weight"), name=name)


def _shifted(scope: Scope, h: ir.Value, clock: Clock, state: LayerState, block: int) -> ir.Value:
    """h': the carried row, then all rows but the last, which is carried on."""
    rows = scope.op("Concat", state.shift[block], h, name="shift", axis=0)
    h_prev, state.shift[block] = scope.ops("Split", rows, clock.shift_sizes, names=["previous", "last"], axis=0)
    return h_prev
