"""What RWKV-5, 6 and 7 share in fixed shapes: the state's parts, GroupNorm by head, what a token tells itself."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.matrices import HeadsConfig
from rrwkv_export.graph import names
from rrwkv_export.graph.fixed_shape.making import Making, state_part
from rrwkv_export.graph.prefill.heads import GROUP_NORM_EPSILON, heads
from rrwkv_export.onnx.scope import Array, Scope
from rrwkv_runtime.bundle.fixed_shape import StatePart


def parts(config: ModelConfig, layer: int) -> list[StatePart]:
    """S [1, H, N, N]"""
    of = cast(HeadsConfig, config)
    shape = (1, of.heads, of.head_size, of.head_size)
    return [state_part(f"{names.MATRIX}.{layer}", names.MATRIX, layer * math.prod(shape), shape)]


def group_norm(m: Making, scope: Scope, att: str, y: ir.Value) -> ir.Value:
    """GN(y) [1, T, C] of y [T, H, N]"""
    N = heads(m.w)[1]
    one, zero = (scope.common(np.full(N, v), np.float32, f"{n}_of_head") for n, v in (("ones", 1), ("zeros", 0)))
    unit = scope.op("LayerNormalization", y, one, zero, name="ln_x", axis=-1, epsilon=GROUP_NORM_EPSILON)
    gain = m.w.vector(scope, f"{att}.ln_x.weight")
    gained = scope.op("Mul", flat(m, scope, unit, "ln_x.flat"), gain, name="ln_x.gained")
    return scope.op("Add", gained, m.w.vector(scope, f"{att}.ln_x.bias"), name="ln_x.moved")


def told_now(m: Making, scope: Scope, u: Array, r: ir.Value, k: ir.Value, v: ir.Value) -> ir.Value:
    """(Σ_j r_j k_j u_j) v of every head: [1, T, C]. u [H, N]."""
    H, N = heads(m.w)
    r_k = scope.const(u.reshape(H * N) * N, np.float32, "r_k.weight")
    product = scope.op("Mul", scope.op("Mul", r, k, name="r_times_k"), r_k, name="r_k")
    bonus = mean(scope, by_head(m, scope, product, "r_k.heads"), "bonus")
    return flat(m, scope, scope.op("Mul", bonus, by_head(m, scope, v, "v.heads"), name="bonus.v"), "bonus.flat")


def mean(scope: Scope, x: ir.Value, name: str) -> ir.Value:
    """Of each head [T, H, N]: [T, H, 1]. Not the sum, which NNAPI has not and float16 holds less of."""
    return scope.op("ReduceMean", x, scope.common([-1], np.int64, "last_axis"), name=name, keepdims=1)


def number(scope: Scope, value: float, name: str) -> ir.Value:
    return scope.common(np.full((1, 1, 1), value), np.float32, name)


def by_head(m: Making, scope: Scope, x: ir.Value, name: str) -> ir.Value:
    """[1, T, C] to [T, H, N]"""
    return scope.op("Reshape", x, scope.common([m.T, *heads(m.w)], np.int64, "heads_shape"), name=name)


def flat(m: Making, scope: Scope, x: ir.Value, name: str) -> ir.Value:
    """[T, H, N] to [1, T, C]"""
    return scope.op("Reshape", x, scope.common([1, m.T, m.config.hidden_size], np.int64, "flat_shape"), name=name)


def shaped(scope: Scope, x: ir.Value, shape: list[int], name: str) -> ir.Value:
    label = "_".join(map(str, shape))
    return scope.op("Reshape", x, scope.common(shape, np.int64, f"shape_{label}"), name=name)


def apart(scope: Scope, x: ir.Value, n: int, name: str) -> list[ir.Value]:
    """The n rows, or blocks, of x [n, …], by halves."""
    if n == 1:
        return [x]
    first, rest = scope.ops("Split", x, names=[f"{name}.first", f"{name}.rest"], axis=0, num_outputs=2)
    return apart(scope, first, n - n // 2, f"{name}.first") + apart(scope, rest, n // 2, f"{name}.rest")
