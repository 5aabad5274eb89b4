"""RWKV-7's delta rule in fixed shapes: one token as it is defined, more in blocks of up to 8.

    S_t = S_{t-1} ⊙ w_t - (S_{t-1} κ_t) (κ_t ⊙ a_t)ᵀ + v_t k_tᵀ;   y_t = S_t r_t

In a block, with W_t the product of the decays from its first token to t over that from the first to the middle one, and
S the state at its beginning, decayed up to the middle:

    asked  p_t = κ_t ⊙ W_{t-1},  ρ_t = r_t ⊙ W_t          told  q_t = -κ_t ⊙ a_t / W_t,  l_t = k_t / W_t
    s_t = S p_t + Σ_{u<t} (q_u · p_t) s_u + Σ_{u<t} (l_u · p_t) v_u
    y_t = S ρ_t + Σ_{u<=t} (q_u · ρ_t) s_u + Σ_{u<=t} (l_u · ρ_t) v_u

so that s = (S P + V A_l) (1 - A_q)⁻¹ for all tokens at once, as columns. As w > 0.545, W and 1 / W are below 12 in a
block of 8: a float16 holds them and what they make. The inverse of the triangle is put together from those of its
halves, and these of theirs, which stays exact where keys repeat; a sum of powers would cancel what it adds.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.fixed_shape.heads import apart, shaped
from rrwkv_export.graph.fixed_shape.making import Values
from rrwkv_export.graph.fixed_shape.recurrences.blocks import Blocks
from rrwkv_export.onnx.scope import Array, Scope


def one_token(scope: Scope, S: ir.Value, of: Values, H: int, N: int) -> tuple[ir.Value, ir.Value]:
    """y [1, H, N] and the new S [1, H, N, N]; of: r, k, v, κ, -κ ⊙ a and ln w, [1, 1, C] each."""
    κ, v, r = (shaped(scope, of[name], [1, H, N, 1], f"{name}.column") for name in ("κ", "v", "r"))
    q, k = (shaped(scope, of[name], [1, H, 1, N], f"{name}.row") for name in ("q", "k"))
    decay = shaped(scope, scope.op("Exp", of["ln_w"], name="w"), [1, H, 1, N], "w.row")
    # Not by Mul: of a column and a row in uint16, Qualcomm's HTP makes other numbers.
    rewritten = scope.op("MatMul", scope.op("MatMul", S, κ, name="s"), q, name="rewritten")
    change = scope.op("Add", rewritten, scope.op("MatMul", v, k, name="added"), name="change")
    S = scope.op("Add", scope.op("Mul", S, decay, name="decayed"), change, name="S_next")
    return shaped(scope, scope.op("MatMul", S, r, name="y"), [1, H, N], "y.heads"), S


def many_tokens(scope: Scope, S: ir.Value, of: Values, T: int, H: int, N: int) -> tuple[ir.Value, ir.Value]:
    """y [T, H, N] and the new S; of: as above, [1, T, C] each."""
    blocks = Blocks(T, H, N)
    n, B = blocks.count, blocks.tokens
    flat = {name: blocks.split(scope, x, name) for name, x in of.items()}
    p, r, q, k, between = _decayed(scope, blocks, flat)
    v = blocks.columns(scope, flat["v"], B, "v")
    before, up_to = np.tri(B, k=-1).T, np.tri(B).T
    pairs = {"A_l": (k, p, before), "C_q": (q, r, up_to), "C_l": (k, r, up_to)}
    A_l, C_q, C_l = (_read(scope, *pair, name) for name, pair in pairs.items())
    inverse = _inverse(scope, scope.op("MatMul", q, p, name="A_q.any"), B)
    # s = S p + of_v, as columns
    p = scope.op("MatMul", p, inverse, name="s.of_S")
    of_v = scope.op("MatMul", scope.op("MatMul", v, A_l, name="v_read"), inverse, name="s.of_v")

    rewritten = scope.op("MatMul", p, q, name="rewritten")
    added = _sum_of_products(scope, (of_v, q), (v, k), "added")
    S, middles = _through(scope, S, rewritten, added, between, n)
    y = _sum_of_products(scope, (of_v, C_q), (v, C_l), "y.of_v")
    r = scope.op("Add", r, scope.op("MatMul", p, C_q, name="r.rewritten"), name="r.of_S")
    y = scope.op("Add", scope.op("MatMul", middles, r, name="y.of_S"), y, name="y")
    y = scope.op("Transpose", y, name="y.tokens", perm=[0, 3, 1, 2])
    return blocks.joined(scope, y), S


def _decayed(scope: Scope, blocks: Blocks, of: Values) -> list[ir.Value]:
    """p, ρ as columns [n, H, N, B]; q, l as rows [n, H, B, N]; the decays to the middle and from there [n, H, 2, N].

    Each has a range of its own: rounded to one for all, the smaller ones would be lost in the larger.
    """
    B = blocks.tokens
    through, middle = np.tri(B), (np.arange(B) < B // 2) * 1.0
    W = {
        "before": np.tri(B, k=-1) - middle,
        "through": through - middle,
        "since": middle - through,
        "between": np.stack([middle, 1 - middle]),
    }
    decays = {}
    for name, steps in W.items():
        table = scope.common(steps[None], np.float32, f"steps_{name}_{B}")
        decays[name] = scope.op("Exp", scope.op("MatMul", table, of["ln_w"], name=f"ln_W.{name}"), name=f"W.{name}")
    products = [("κ", "before", "p"), ("r", "through", "rho"), ("q", "since", "q"), ("k", "since", "l")]
    p, r, q, k = (scope.op("Mul", of[x], decays[w], name=f"{name}.decayed") for x, w, name in products)
    columns = [blocks.columns(scope, x, B, name) for x, name in ((p, "p"), (r, "rho"))]
    rows = [blocks.rows(scope, x, B, name) for x, name in ((q, "q"), (k, "l"))]
    return [*columns, *rows, blocks.rows(scope, decays["between"], 2, "between")]


def _read(scope: Scope, told: ir.Value, asked: ir.Value, earlier: Array, name: str) -> ir.Value:
    """told · asked of every pair in a block [n, H, B, B], 0 where what is told, down, is later than asked, across."""
    mask = scope.common(earlier, np.float32, f"earlier_{len(earlier)}_{int(earlier.trace())}")
    return scope.op("Mul", scope.op("MatMul", told, asked, name=f"{name}.any"), mask, name=name)


def _inverse(scope: Scope, A: ir.Value, B: int) -> ir.Value:
    """(1 - A)⁻¹ of A [n, H, B, B], of which only what is above the diagonal counts.

    Of [[X, Z], [0, Y]] it is [[X⁻¹, -X⁻¹ Z Y⁻¹], [0, Y⁻¹]]: from those of blocks on the diagonal, ones twice as large.
    """
    place, size = np.arange(B), 1
    inverse: ir.Value | None = None
    while size < B:
        same, upper = place // (2 * size), place // size % 2 == 0
        mask = (same[:, None] == same) & upper[:, None] & ~upper
        corner = scope.op("Mul", A, scope.common(mask, np.float32, f"corners_{B}_{size}"), name=f"corners_{size}")
        if inverse is not None:
            corner = scope.op("MatMul", inverse, corner, name=f"corners_{size}.left")
            corner = scope.op("MatMul", corner, inverse, name=f"corners_{size}.inverse")
        before = inverse or scope.common(np.eye(B), np.float32, f"one_{B}")
        inverse = scope.op("Add", before, corner, name=f"inverse_{size}")
        size *= 2
    assert inverse is not None  # B > 1
    return inverse


def _through(
    scope: Scope, S: ir.Value, rewritten: ir.Value, added: ir.Value, between: ir.Value, n: int
) -> tuple[ir.Value, ir.Value]:
    """S after n blocks, and S decayed up to the middle of each [n, H, N, N].

    S ← (S' + S' rewritten + added) ⊙ W_end with S' = S ⊙ W_middle
    """
    middles: ir.Value | None = None
    to_middle, to_end = scope.ops("Split", between, names=["W.middle", "W.end"], axis=2, num_outputs=2)
    labels = {"W.middle": to_middle, "rewritten": rewritten, "added": added, "W.end": to_end}
    of_blocks = zip(*(apart(scope, x, n, name) for name, x in labels.items()))
    for i, (W_middle, M, X, W_end) in enumerate(of_blocks):
        inner = scope / f"block_{i}"
        S = inner.op("Mul", S, W_middle, name="S_middle")
        middles = S if middles is None else inner.op("Concat", middles, S, name="middles", axis=0)
        kept = inner.op("Add", S, inner.op("MatMul", S, M, name="S_rewritten"), name="S_kept")
        S = inner.op("Mul", inner.op("Add", kept, X, name="S_told"), W_end, name="S_next")
    assert middles is not None
    return S, middles


def _sum_of_products(scope: Scope, a: tuple[ir.Value, ir.Value], b: tuple[ir.Value, ir.Value], name: str) -> ir.Value:
    products = (scope.op("MatMul", *pair, name=f"{name}.{which}") for pair, which in ((a, "s"), (b, "v")))
    return scope.op("Add", *products, name=name)
