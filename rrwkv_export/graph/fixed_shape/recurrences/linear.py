"""RWKV-5's and 6's recurrence in fixed shapes: one token as it is defined, more in blocks.

    y_t = S_{t-1}ᵀ r_t;   S_t = w_t ⊙ S_{t-1} + k_t v_tᵀ         w, r, k by row of S

In a block, with E_t the sum of ln w up to t and S the state at its beginning:

    y_t = Sᵀ (r_t ⊙ exp E_{t-1}) + Σ_{u<t} (Σ_i r_ti k_ui exp(E_{t-1} - E_u)_i) v_u
    S ← exp E_B ⊙ S + Σ_u (k_u ⊙ exp(E_B - E_u)) v_uᵀ

A decay may be nearly 0, so that its inverse is no number: every pair of tokens has an exponential of its own, and no
exponent is over 0. What a token tells itself is not part of this.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.fixed_shape.heads import apart, mean, shaped
from rrwkv_export.graph.fixed_shape.making import Values
from rrwkv_export.graph.fixed_shape.recurrences.blocks import Blocks
from rrwkv_export.graph.fixed_shape.recurrences.wkv import LOWEST_EXPONENT
from rrwkv_export.onnx.scope import Array, Scope


def one_token(scope: Scope, S: ir.Value, of: Values, H: int, N: int) -> tuple[ir.Value, ir.Value]:
    """y [1, H, N] and the new S [1, H, N, N]; of: r, k, v and ln w, [1, 1, C] each."""
    r, v = (shaped(scope, of[name], [1, H, 1, N], f"{name}.row") for name in ("r", "v"))
    k = shaped(scope, of["k"], [1, H, N, 1], "k.column")
    decay = shaped(scope, _exp(scope, of["ln_w"], "w"), [1, H, N, 1], "w.column")
    y = scope.op("MatMul", r, S, name="y")
    kept, added = scope.op("Mul", S, decay, name="decayed"), scope.op("MatMul", k, v, name="added")
    return shaped(scope, y, [1, H, N], "y.heads"), scope.op("Add", kept, added, name="S_next")


def many_tokens(scope: Scope, S: ir.Value, of: Values, T: int, H: int, N: int) -> tuple[ir.Value, ir.Value]:
    """y [T, H, N] and the new S; of: as above, [1, T, C] each."""
    blocks = Blocks(T, H, N)
    B = blocks.tokens
    r, k, v, ln_w = (blocks.split(scope, of[name], name) for name in ("r", "k", "v", "ln_w"))
    ln_w = _bounded(scope, ln_w, "ln_w")
    v = blocks.rows(scope, v, B, "v")
    from_start, to_end = np.tri(B, k=-1), np.triu(np.ones((B, B)), 1)
    asked = scope.op("Mul", r, _decays(scope, from_start, ln_w, "from_start"), name="r_decayed")
    told = scope.op("Mul", k, _decays(scope, to_end, ln_w, "to_end"), name="k_decayed")
    whole = blocks.columns(scope, _decays(scope, np.ones((1, B)), ln_w, "whole"), 1, "whole")
    added = scope.op("MatMul", blocks.columns(scope, told, B, "k"), v, name="added")
    S, starts = _through(scope, S, whole, added, blocks.count)
    y = scope.op("MatMul", blocks.rows(scope, asked, B, "r"), starts, name="y.of_S")
    within = scope.op("MatMul", _pairs(scope, blocks, r, k, ln_w), v, name="y.of_v")
    y = scope.op("Transpose", scope.op("Add", y, within, name="y"), name="y.tokens", perm=[0, 2, 1, 3])
    return blocks.joined(scope, y), S


def _pairs(scope: Scope, blocks: Blocks, r: ir.Value, k: ir.Value, ln_w: ir.Value) -> ir.Value:
    """Σ_i r_ti k_ui exp(E_{t-1} - E_u)_i for u < t, else 0: [n, H, B, B]."""
    n, B, H, N = blocks.count, blocks.tokens, blocks.H, blocks.N
    pairs = [(t, u) for t in range(B) for u in range(t)]
    between = np.array([[u < i < t for i in range(B)] for t, u in pairs])
    asked, told = (np.eye(B)[[pair[which] for pair in pairs]] for which in (0, 1))
    r, k = (_mixed(scope, rows, x, f"{name}.of_pairs") for rows, x, name in ((asked, r, "r"), (told, k, "k")))
    decayed = scope.op("Mul", k, _decays(scope, between, ln_w, "between"), name="k.between")
    product = scope.op("Mul", r, decayed, name="pairs.product")
    score = mean(scope, shaped(scope, product, [n * len(pairs), H, N], "pairs.heads"), "pairs.mean")
    score = scope.op(
        "Transpose", shaped(scope, score, [n, len(pairs), H], "pairs.scores"), name="pairs", perm=[0, 2, 1]
    )
    places = np.zeros((len(pairs), B * B))
    places[np.arange(len(pairs)), [t * B + u for t, u in pairs]] = N  # times N, as it was a mean
    placed = scope.op("MatMul", score, scope.common(places, np.float32, f"places_{B}"), name="pairs.placed")
    return shaped(scope, placed, [n, H, B, B], "pairs.table")


def _through(scope: Scope, S: ir.Value, whole: ir.Value, added: ir.Value, n: int) -> tuple[ir.Value, ir.Value]:
    """S after n blocks, and S before each [n, H, N, N]."""
    starts = S
    of_blocks = zip(apart(scope, whole, n, "whole"), apart(scope, added, n, "added"))
    for i, (decay, new) in enumerate(of_blocks):
        inner = scope / f"block_{i}"
        if i:
            starts = inner.op("Concat", starts, S, name="starts", axis=0)
        S = inner.op("Add", inner.op("Mul", S, decay, name="S_kept"), new, name="S_next")
    return S, starts


def _decays(scope: Scope, steps: Array, ln_w: ir.Value, name: str) -> ir.Value:
    """exp of sums of ln w [n, B, C]: [n, rows, C] of steps [rows, B]."""
    return _exp(scope, _mixed(scope, steps, ln_w, f"ln_W.{name}"), f"W.{name}")


def _mixed(scope: Scope, rows: Array, x: ir.Value, name: str) -> ir.Value:
    """rows [m, B] times x [n, B, C]"""
    label = f"{name.replace('.', '_')}_{rows.shape[1]}"
    return scope.op("MatMul", scope.common(rows[None], np.float32, label), x, name=name)


def _bounded(scope: Scope, x: ir.Value, name: str) -> ir.Value:
    lowest = scope.common(np.full((1, 1, 1), LOWEST_EXPONENT), np.float32, "lowest_exponent")
    return scope.op("Max", x, lowest, name=f"{name}.bounded")


def _exp(scope: Scope, x: ir.Value, name: str) -> ir.Value:
    return scope.op("Exp", _bounded(scope, x, name), name=name)
