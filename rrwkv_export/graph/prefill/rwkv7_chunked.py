"""RWKV-7's recurrence of many tokens without a loop, for accelerators: the delta rule over blocks of SIZE tokens.

    s_t = S_{t-1} κ_t;   S_t = S_{t-1} diag(w_t) + s_t b_tᵀ + v_t k_tᵀ;   y_t = S_t r_t         b = -κ ⊙ a

Within a block W_t = w_1 ⊙ … ⊙ w_t, and rows (one for each token) κ̃_t = W_{t-1} ⊙ κ_t, r̃_t = W_t ⊙ r_t,
b̃_t = b_t / W_t, k̃_t = k_t / W_t. Of S_0, the state before the block, and with A = tril(κ̃ b̃ᵀ, -1):

    s = κ̃ S_0ᵀ + A s + tril(κ̃ k̃ᵀ, -1) v           so   s = E [S_0ᵀ; I],   E = (I - A)⁻¹ [κ̃, tril(κ̃ k̃ᵀ, -1) v]
    y = r̃ S_0ᵀ + tril(r̃ b̃ᵀ) s + tril(r̃ k̃ᵀ) v          y = D [S_0ᵀ; I],   D = [r̃, tril(r̃ k̃ᵀ) v] + tril(r̃ b̃ᵀ) E
    S = (S_0 + sᵀ b̃ + vᵀ k̃) diag(W)                    S = S_0 Φ + U,     [Φ; U] = ([I; 0] + Eᵀ b̃ + [0; vᵀ k̃]) diag(W)

What blocks make of the state, S Φ + U, composes: doubling the spans gives the state before every block.

All in float32. w is over 0.5452, so W is over 3.7e-9 in SIZE tokens, and a product of κ̃ and k̃ is as exact as κ, k and
W_{t-1} / W_u. The inverse is made of those of its halves, never of powers of A: where a text repeats itself, κ does,
and the powers' binomials cancel (an error of 4e-4 at 16 tokens, of everything at 32).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.matrices import HeadsConfig
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.graph.prefill.rwkv4_chunked import TOKENS
from rrwkv_export.onnx.scope import Array, Scope

SIZE = 32
_PACKED = ("κ", "r", "b", "k", "v", "ln_w")  # what of a token goes into blocks
_SPANS = [2**i for i in range((TOKENS // SIZE - 1).bit_length())]


class DeltaBlocks:
    """A run of T tokens, which needs C blocks; what all layers share is computed once. Empty tokens are in front.

    T int64 [1]; H heads of N channels. Over TOKENS tokens are an error when run.
    """

    states_are_rows = False

    def __init__(self, scope: Scope, T: ir.Value, H: int, N: int) -> None:
        self._H, self._N = H, N
        one, size = scope.common([1], np.int64, "1"), scope.const([SIZE], np.int64, "size")
        minus_T = scope.op("Neg", T, name="minus_T")
        missing = scope.op("Mod", minus_T, size, name="missing")
        C = scope.op("Div", scope.op("Add", T, missing, name="rows"), size, name="C")
        row = scope.const([len(_PACKED) * H, N], np.int64, "row")
        shape = scope.op("Concat", missing, row, name="empty_shape", axis=0)
        zero = ir.tensor(np.zeros(1, np.float32))
        self._empty = scope.op("ConstantOfShape", shape, name="empty", value=zero)  # [missing, 6 H, N]
        self._skipped = missing
        self._sizes = scope.op("Concat", scope.op("Sub", C, one, name="earlier"), one, name="earlier_and_1", axis=0)
        self._before = [_block_before(scope, span, C) for span in _SPANS]  # [C] each

    def delta(self, scope: Scope, of: Mapping[str, ir.Value], S: ir.Value) -> tuple[ir.Value, ir.Value]:
        """y [T, H, N], and S [H, N, N] after the last token; of: κ, r, b, k, v, ln w [T, H, N]."""
        left, right, v, W = self._blocks(scope, of)
        E, D = self._within(scope, left, right, v)
        Φ, U = self._transition(scope, E, right, v, W)
        states, last = self._states(scope, S, Φ, U)
        return self._y(scope, D, states), last

    def _blocks(self, scope: Scope, of: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value]:
        """[κ̃; r̃], [b̃; k̃] [C, H, 2 SIZE, N], v [C, H, SIZE, N], W of whole blocks [C, H, 1, N]."""
        H, N, n = self._H, self._N, len(_PACKED)
        packed = scope.op("Concat", *(of[name] for name in _PACKED), name="packed", axis=1)
        rows = scope.op("Concat", self._empty, packed, name="rows", axis=0)
        rows = _shaped(scope, rows, [-1, SIZE, n, H, N], "rows_of_blocks")
        turned = scope.op("Transpose", rows, name="turned", perm=[0, 3, 2, 1, 4])
        turned = _shaped(scope, turned, [-1, H, n * SIZE, N], "blocks")
        sizes = scope.common([4 * SIZE, SIZE, SIZE], np.int64, "keys_v_w")
        keys, v, ln_w = scope.ops("Split", turned, sizes, names=["keys", "v", "ln_w"], axis=2)
        ln_W = scope.op("CumSum", ln_w, scope.common(2, np.int64, "scalar_2"), name="ln_W")
        before, minus = scope.op("Sub", ln_W, ln_w, name="ln_W_before"), scope.op("Neg", ln_W, name="minus_ln_W")
        exponents = scope.op("Concat", before, ln_W, minus, minus, name="exponents", axis=2)
        scales = scope.op("Exp", exponents, name="scales")
        W = scope.slice(scales, 2 * SIZE - 1, 2 * SIZE, 2, name="W")
        scaled = scope.op("Mul", keys, scales, name="scaled")
        left, right = scope.ops("Split", scaled, names=["kappa_and_r", "b_and_k"], axis=2, num_outputs=2)
        return left, right, v, W

    def _within(self, scope: Scope, left: ir.Value, right: ir.Value, v: ir.Value) -> tuple[ir.Value, ir.Value]:
        """E, D [C, H, SIZE, 2 N]."""
        products = scope.op("MatMul", left, _turned(scope, right, "b_and_k"), name="products")
        seen, none = scope.common(_seen(), np.bool_, "seen"), scope.common(0, np.float32, "zero")
        products = scope.op("Where", seen, products, none, name="products_seen")
        of_b, of_k = scope.ops("Split", products, names=["of_b", "of_k"], axis=3, num_outputs=2)
        given = scope.op("Concat", left, scope.op("MatMul", of_k, v, name="of_v"), name="given", axis=3)
        given_s, given_y = scope.ops("Split", given, names=["given_s", "given_y"], axis=2, num_outputs=2)
        A, of_s = scope.ops("Split", of_b, names=["A", "of_s"], axis=2, num_outputs=2)
        E = scope.op("MatMul", self._inverse(scope, A), given_s, name="E")
        return E, scope.op("Add", given_y, scope.op("MatMul", of_s, E, name="E_read"), name="D")

    def _inverse(self, scope: Scope, A: ir.Value) -> ir.Value:
        """(I - A)⁻¹ [C, H, SIZE, SIZE] of a lower triangle A.

        Let X be right for blocks of n on the diagonal, and A_n what of A lies below those within blocks of 2 n. Then
        X + X A_n X is right for the larger ones.
        """
        masks = _below_the_halves()
        many = _shaped(scope, A, [-1, self._H, 1, SIZE, SIZE], "A.rows")
        parts = scope.op("Mul", many, scope.common(masks, np.float32, "below_the_halves"), name="A.parts")
        names = [f"A.{2**i}" for i in range(len(masks))]
        first, *others = scope.ops("Split", parts, names=names, axis=2, num_outputs=len(masks))
        X = scope.op("Add", first, scope.common(np.eye(SIZE), np.float32, "I"), name="X.2")
        for i, part in enumerate(others, start=2):
            change = scope.op("MatMul", scope.op("MatMul", X, part, name=f"X_A.{2**i}"), X, name=f"X_A_X.{2**i}")
            X = scope.op("Add", X, change, name=f"X.{2**i}")
        return _shaped(scope, X, [-1, self._H, SIZE, SIZE], "X")

    def _transition(
        self, scope: Scope, E: ir.Value, right: ir.Value, v: ir.Value, W: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """Φ, U [C, H, N, N] of every block."""
        N = self._N
        in_front = scope.common([0, 0, 0, N, 0, 0, 0, 0], np.int64, "N_in_front")
        told = scope.op("Concat", E, scope.op("Pad", v, in_front, name="zero_and_v"), name="told", axis=2)
        sums = scope.op("MatMul", _turned(scope, told, "told"), right, name="told_b_and_k")
        kept = scope.common(np.concatenate([np.eye(N), np.zeros((N, N))]), np.float32, "I_and_zero")
        both = scope.op("Mul", scope.op("Add", sums, kept, name="undecayed"), W, name="Phi_and_U")
        Φ, U = scope.ops("Split", both, names=["Phi", "U"], axis=2, num_outputs=2)
        return Φ, U

    def _states(self, scope: Scope, S: ir.Value, Φ: ir.Value, U: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The state before every block [C, H, N, N], and S [H, N, N] after the last.

        Row n begins as what block n - 1 makes of the state before it, row 0 as the constant S, and each takes in the
        rows before it: 1, then 2, 4 …; one that begins with row 0 has Φ = 0, and what else it takes in is lost.
        """
        H, N = self._H, self._N
        Φ_earlier, Φ_last = scope.ops("Split", Φ, self._sizes, names=["Phi.earlier", "Phi.last"], axis=0)
        U_earlier, U_last = scope.ops("Split", U, self._sizes, names=["U.earlier", "U.last"], axis=0)
        forgotten = scope.common(np.zeros((1, H, N, N)), np.float32, "forgotten")
        Φ = scope.op("Concat", forgotten, Φ_earlier, name="Phi.1", axis=0)
        U = scope.op("Concat", _shaped(scope, S, [1, H, N, N], "S"), U_earlier, name="U.1", axis=0)
        for span, before in zip(_SPANS, self._before):
            earlier = scope.op("Gather", U, before, name=f"U.{span}.before", axis=0)
            U = scope.op("Add", scope.op("MatMul", earlier, Φ, name=f"U.{span}.kept"), U, name=f"U.{2 * span}")
            if span != _SPANS[-1]:
                earlier = scope.op("Gather", Φ, before, name=f"Phi.{span}.before", axis=0)
                Φ = scope.op("MatMul", earlier, Φ, name=f"Phi.{2 * span}")
        last = scope.op("MatMul", scope.slice(U, -1, 2**31 - 1, 0, name="S_before_last"), Φ_last, name="S_kept")
        last = scope.op("Add", last, U_last, name="S_after_last")
        return U, _shaped(scope, last, [H, N, N], "S_next")

    def _y(self, scope: Scope, D: ir.Value, states: ir.Value) -> ir.Value:
        """y [T, H, N]: D [S_0ᵀ; I]."""
        of_S, own = scope.ops("Split", D, names=["D.of_S", "D.own"], axis=3, num_outputs=2)
        read = scope.op("MatMul", of_S, _turned(scope, states, "S_of_blocks"), name="read")
        y = scope.op("Transpose", scope.op("Add", read, own, name="y_of_blocks"), name="y_turned", perm=[0, 2, 1, 3])
        rows = _shaped(scope, y, [-1, self._H, self._N], "y_of_rows")
        end, axis = scope.common([2**62], np.int64, f"{2**62}"), scope.common([0], np.int64, "0")
        return scope.op("Slice", rows, self._skipped, end, axis, name="y")


def blocks(scope: Scope, config: ModelConfig, T: ir.Value, form: WKVForm) -> DeltaBlocks:
    """For a run of T tokens. form: there is one."""
    sizes = cast(HeadsConfig, config)
    return DeltaBlocks(scope, T, sizes.heads, sizes.head_size)


def _seen() -> Array:
    """[2 SIZE, 2 SIZE]: of b and k of the tokens j, twice, what s (above) and y (below) of tokens i see."""
    i, j = np.arange(SIZE)[:, None], np.arange(SIZE)
    return np.tile(np.concatenate([j < i, j <= i]), 2)


def _below_the_halves() -> Array:
    """[log2 SIZE, SIZE, SIZE]: 1 where, in blocks of 2, 4 … on the diagonal, the lower half's rows see the upper's."""
    i, j, n = np.arange(SIZE)[:, None], np.arange(SIZE), 2 ** np.arange(SIZE.bit_length() - 1)[:, None, None]
    within: Array = i // (2 * n) == j // (2 * n)
    return within & (i // n > j // n)


def _block_before(scope: Scope, span: int, C: ir.Value) -> ir.Value:
    """[C]: for every block the one that lies `span` before it, or the first."""
    table = scope.const(np.maximum(np.arange(TOKENS // SIZE) - span, 0), np.int64, f"{span}_before")
    start, axis = (scope.common([0], np.int64, "0"),) * 2
    return scope.op("Slice", table, start, C, axis, name=f"before.{span}")


def _turned(scope: Scope, x: ir.Value, name: str) -> ir.Value:
    """The last two axes of [C, H, m, n] exchanged; onnxruntime makes it a part of the product that follows."""
    return scope.op("Transpose", x, name=f"{name}.turned", perm=[0, 1, 3, 2])


def _shaped(scope: Scope, x: ir.Value, shape: list[int], name: str) -> ir.Value:
    label = "_".join(str(n) for n in shape).replace("-1", "C")
    return scope.op("Reshape", x, scope.common(shape, np.int64, f"shape_{label}"), name=f"{name}.shaped")
