"""RWKV-4's wkv of many tokens without a loop, for accelerators: what a block of tokens adds is one product of matrices.

    x_t = exp(k_t) [v_t; 1]
    y_t = Σ_{j < t} exp(-d (t - 1 - j)) x_j + exp(u) x_t        wkv_t = y_t[0] / y_t[1]

The rows are the state [A; B], which is an x before the first, and the tokens; empty ones in front make whole blocks of
SIZE. To y in row i of block n the block itself adds one part, exp(-d i) S_n the other, where S_n, the state before the
block, is a sum of the same form over what the blocks before it add up to. Every weight is the exponential of its own
exponent, not a quotient of two, so any decay is right.

All of it in float64, whose range holds exp(± 300) and what a bonus makes of that: no running maximum is needed. (Also,
products in float32 are rounded to 10 bits where TF32 is on.)
"""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.onnx.scope import Array, Scope

SIZE = 16
TOKENS = 1024  # the most of a run: the weights between blocks are [C, N, N + 1], N = T / SIZE
# Keys are clipped to ± this. In float32, exp(75) leaves room for what bonus, values and the sum over tokens make of it.
LARGEST_KEY: dict[WKVForm, float] = {"plain": 75.0, "stable": 300.0}
_LARGEST_BONUS = 350.0
_DECAYS = 1e-30, 1e30  # beyond, a step keeps all or nothing, and products with it would leave the range
_NEVER = 1e300  # steps after which nothing is left


class Blocked:
    """A run of T tokens, which needs N blocks; what all layers share is computed once.

    T int64 [1]; C channels, those of attention. Over TOKENS tokens are an error when run.
    """

    states_are_rows = True

    def __init__(self, scope: Scope, T: ir.Value, form: WKVForm, C: int) -> None:
        self._limit, self._channels = LARGEST_KEY[form], C
        one, size = scope.common([1], np.int64, "1"), scope.const([SIZE], np.int64, "size")
        # (T + 1) / SIZE rounded up, and -(T + 1) modulo SIZE.
        N = scope.op("Div", scope.op("Add", T, size, name="rows_to_fill"), size, name="N")
        minus_rows = scope.op("Sub", scope.const([-1], np.int64, "minus_1"), T, name="minus_rows")
        missing = scope.op("Mod", minus_rows, size, name="missing")
        shape = scope.op("Concat", missing, scope.const([2, C], np.int64, "row"), name="empty_shape", axis=0)
        zero = ir.tensor(np.zeros(1, np.float64))
        self._empty = scope.op("ConstantOfShape", shape, name="empty", value=zero)  # [missing, 2, C]
        self._skipped = scope.op("Add", missing, one, name="skipped")  # rows before the first token
        self._sizes = scope.op("Concat", N, one, name="N_and_1", axis=0)
        starts, axes = scope.const([0, 0], np.int64, "starts"), scope.const([1, 2], np.int64, "axes")
        extent = scope.op("Concat", N, scope.op("Add", N, one, name="N_plus_1"), name="extent", axis=0)
        table = scope.const(_steps_between_blocks(), np.float64, "steps_between_blocks")
        self._steps = scope.op("Slice", table, starts, extent, axes, name="steps")  # [1, N, N + 1]

    def wkv(
        self, scope: Scope, k: ir.Value, v: ir.Value, u: Array, d: Array, state: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """wkv [T, 1, C] and the new state. k, v float32 [T, 1, C]; u, d [C]; state A, B float64 [1, 2, C]."""
        C, minus_d = self._channels, scope.const(-np.clip(d, *_DECAYS)[:, None, None], np.float64, "minus_d")
        rows = scope.op("Concat", self._empty, state, self._summands(scope, k, v), name="rows", axis=0)
        held = scope.op("MatMul", _weights_within(scope, u, minus_d), self._by_channel(scope, rows), name="held")
        sizes = scope.common([SIZE, 1], np.int64, f"{SIZE}_and_1")
        within, ends = scope.ops("Split", held, sizes, names=["within", "ends"], axis=1)  # [C, SIZE or 1, 2 N]

        ends = scope.op("Reshape", ends, scope.common([C, 2, -1], np.int64, "C_2_N"), name="ends_of_blocks")
        sums = scope.op("MatMul", ends, _exp_of_product(scope, minus_d, self._steps, "between"), name="sums")
        before, last = scope.ops("Split", sums, self._sizes, names=["S_of_blocks", "last"], axis=2)  # [C, 2, N or 1]
        before = scope.op("Reshape", before, scope.common([C, 1, -1], np.int64, "C_1_2N"), name="S")

        since = scope.common(np.arange(SIZE)[None, :, None], np.float64, "steps_within_block")
        decayed = scope.op("Mul", before, _exp_of_product(scope, minus_d, since, "since"), name="decayed")
        y = scope.op("Add", within, decayed, name="y")
        return self._ratio(scope, y), scope.op("Transpose", last, name="state", perm=[2, 1, 0])

    def _summands(self, scope: Scope, k: ir.Value, v: ir.Value) -> ir.Value:
        """x [T, 2, C]."""
        key = scope.op("Cast", scope.clip(k, self._limit, "clipped"), name="k", to=ir.DataType.DOUBLE)
        ek = scope.op("Exp", key, name="exp_k")
        value = scope.op("Cast", v, name="v", to=ir.DataType.DOUBLE)
        return scope.op("Concat", scope.op("Mul", ek, value, name="exp_k_v"), ek, name="x", axis=1)

    def _by_channel(self, scope: Scope, rows: ir.Value) -> ir.Value:
        """Rows [SIZE N, 2, C] as [C, SIZE, 2 N]."""
        C = self._channels
        blocks = scope.op("Reshape", rows, scope.common([-1, SIZE, 2, C], np.int64, "N_SIZE_2_C"), name="blocks")
        turned = scope.op("Transpose", blocks, name="turned", perm=[3, 1, 2, 0])
        return scope.op("Reshape", turned, scope.common([C, SIZE, -1], np.int64, "C_SIZE_2N"), name="x_by_channel")

    def _ratio(self, scope: Scope, y: ir.Value) -> ir.Value:
        """wkv [T, 1, C] of y [C, SIZE, 2 N]."""
        C = self._channels
        parts = scope.op("Reshape", y, scope.common([C, SIZE, 2, -1], np.int64, "C_SIZE_2_N"), name="parts")
        numerator, denominator = scope.ops("Split", parts, names=["numerator", "denominator"], axis=2, num_outputs=2)
        ratio = scope.op("Div", numerator, denominator, name="ratio")
        blocks = scope.op("Transpose", ratio, name="ratio_of_blocks", perm=[3, 1, 2, 0])
        rows = scope.op("Reshape", blocks, scope.common([-1, 1, C], np.int64, "rows_1_C"), name="ratio_of_rows")
        end, axis = scope.common([2**62], np.int64, f"{2**62}"), scope.common([0], np.int64, "0")
        tokens = scope.op("Slice", rows, self._skipped, end, axis, name="ratio_of_tokens")
        return scope.op("Cast", tokens, name="wkv", to=ir.DataType.FLOAT)


def blocks(scope: Scope, config: ModelConfig, T: ir.Value, form: WKVForm) -> Blocked:
    """For a run of T tokens."""
    return Blocked(scope, T, form, cast(RWKV4Config, config).attention_width)


def _weights_within(scope: Scope, u: Array, minus_d: ir.Value) -> ir.Value:
    """[C, SIZE + 1, SIZE]: of x in row j of a block in y of its row i; in row SIZE in what it adds up to.

    Constant, so a runtime computes it when it loads the graph.
    """
    i, j = np.arange(SIZE + 1)[:, None], np.arange(SIZE)
    steps = scope.common(np.where(j < i, i - 1 - j, np.where(j == i, 0, _NEVER))[None], np.float64, "steps_within")
    now = scope.common((j == i)[None], np.float64, "now")
    bonus = scope.const(np.clip(u, -_LARGEST_BONUS, _LARGEST_BONUS)[:, None, None], np.float64, "u")
    decay = scope.op("Mul", minus_d, steps, name="within.decay")
    exponent = scope.op("Add", decay, scope.op("Mul", bonus, now, name="within.bonus"), name="within.exponent")
    return scope.op("Exp", exponent, name="within.weights")


def _steps_between_blocks() -> Array:
    """[1, N, N + 1] for the largest N: tokens from the end of block m to the start of block n."""
    N = TOKENS // SIZE + 1
    m, n = np.arange(N)[:, None], np.arange(N + 1)
    return np.where(m < n, (n - 1.0 - m) * SIZE, _NEVER)[None]


def _exp_of_product(scope: Scope, a: ir.Value, b: ir.Value, name: str) -> ir.Value:
    return scope.op("Exp", scope.op("Mul", a, b, name=f"{name}.exponent"), name=name)


def sums_of_state(scope: Scope, form: WKVForm, wkv: ir.Value) -> ir.Value:
    """A, B float64 [L, 2, C] of the state `wkv`, [L, 2, C] or in the stable form [L, 3, C]."""
    exact = scope.op("Cast", wkv, name="wkv.exact", to=ir.DataType.DOUBLE)
    if form == "plain":
        return exact
    sizes = scope.const([2, 1], np.int64, "wkv.sizes_of_parts")
    S, p = scope.ops("Split", exact, sizes, names=["wkv.relative", "wkv.maximum"], axis=1)
    largest = scope.const(LARGEST_KEY[form], np.float64, "wkv.largest")
    factor = scope.op("Exp", scope.op("Min", p, largest, name="wkv.exponent"), name="wkv.factor")
    return scope.op("Mul", S, factor, name="wkv.sums")


def state_of_sums(scope: Scope, form: WKVForm, sums: ir.Value) -> ir.Value:
    """The state `wkv` of A, B float64 [L, 2, C]; in the stable form with pp = ln B, rounded, and so bb about 1."""
    if form == "plain":
        return scope.op("Cast", sums, name="wkv.new", to=ir.DataType.FLOAT)
    _, B = scope.ops("Split", sums, names=["wkv.A", "wkv.B"], axis=1, num_outputs=2)
    p = scope.op("Cast", scope.op("Log", B, name="wkv.ln_B"), name="wkv.pp", to=ir.DataType.FLOAT)
    exponent = scope.op("Neg", scope.op("Cast", p, name="wkv.pp_exact", to=ir.DataType.DOUBLE), name="wkv.minus_pp")
    relative = scope.op("Mul", sums, scope.op("Exp", exponent, name="wkv.scale"), name="wkv.relative_sums")
    S = scope.op("Cast", relative, name="wkv.aa_bb", to=ir.DataType.FLOAT)
    return scope.op("Concat", S, p, name="wkv.new", axis=1)
