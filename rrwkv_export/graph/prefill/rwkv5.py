"""RWKV-5's time-mix as ONNX nodes, in the symbols of `rrwkv_export.architectures.reference.rwkv5`; its channel-mix is
RWKV-4's. A layer's recurrent state is S [H, N, N], i of the key, j of the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.rwkv5 import RWKV5Config
from rrwkv_export.graph.layer import Crossing
from rrwkv_export.graph.prefill.heads import gated, heads, projected, recurrence
from rrwkv_export.graph.prefill.rwkv4 import channel_mix as channel_mix
from rrwkv_export.graph.recurrence import Recurrence
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Array, Scope


def time_mix(
    w: GraphWeights,
    scope: Scope,
    block: str,
    mixed: Sequence[ir.Value],
    over: Recurrence,
    state: list[ir.Value],
    _: Crossing,
) -> tuple[ir.Value, list[ir.Value]]:
    """Woutput (GN(y) ⊙ SiLU(Wgate mix(g))), and the new S; 5.0 has no gate."""
    att = f"{block}.att"
    by_letter = dict(zip(w.letters(att), mixed))
    decay, u = _rates(w, att)
    of = projected(w, scope, att, by_letter)
    y, S = recurrence(w, scope / "recurrence", over, state[0], of, u, decay)
    return gated(w, scope, att, y, by_letter.get("g")), [S]


def _rates(w: GraphWeights, att: str) -> tuple[Array, Array]:
    """w = exp(-exp(time_decay)) and u = time_faaaa, [H, N]; u = exp(time_first) in 5.1 and 5.0."""
    config = cast(RWKV5Config, w.config)
    decay = np.exp(-np.exp(w.load(f"{att}.time_decay").astype(np.float64)))
    u = w.load(f"{att}.{config.bonus}").astype(np.float64)
    if config.version != "5.2":
        decay, u = (np.broadcast_to(value[:, None], heads(w)) for value in (decay, np.exp(u)))
    return decay, u
