"""The stable wkv in fixed shapes: what `rrwkv_export.graph.wkv` defines, for tokens that are all there at once.

    A = aa exp(p), B = bb exp(p)      S = [aa; bb], [2, rows, D]      p running maximum, [1, rows, D]

No exponent is over 0, so no exponential is over 1. Every step of log2(T) joins spans twice as long (Hillis and Steele,
Data parallel algorithms, 1986). The maxima come first: with them, the weight of what was summed up to `span` tokens ago
is one exponential, exp(p_{t - span} - span d - p_t), whatever lies between.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rrwkv_export.onnx.scope import Array, Scope

# Qualcomm's exponential (HTP, float16) gives large numbers of either sign below -88; exp(-60) is nothing beside 1.
LOWEST_EXPONENT = -60.0


def before_every_token(
    scope: Scope, S: ir.Value, p: ir.Value, k: ir.Value, v_and_one: ir.Value, d: Array, T: int
) -> tuple[ir.Value, ir.Value]:
    """S [2, T, D] and p [1, T, D] before each of T tokens, from those before the first.

    k [1, T, D]; v_and_one [2, T, D]; d [D]. Row 0 is the state given, row t what token t - 1 adds.
    """
    exponents = scope.op("Concat", p, scope.slice(k, 0, T - 1, 1, name="earlier_k"), name="exponents", axis=1)
    summands = scope.op("Concat", S, scope.slice(v_and_one, 0, T - 1, 1, name="earlier_v"), name="summands", axis=1)
    spans = [2**i for i in range((T - 1).bit_length())]
    decays = {span: scope.const(d * span, np.float32, f"d_{span}") for span in spans}
    maximum = exponents
    for span, decay in decays.items():
        rival = _decayed(scope, maximum, decay, span, T, "maximum")
        maximum = scope.op("Max", maximum, rival, name=f"maximum_{span}")
    # Relative to the maxima, so that every summand is at most as large as its value.
    first = _exp(scope, scope.op("Sub", exponents, maximum, name="own.exponent"), "own")
    sums = scope.op("Mul", summands, first, name="sums_0")
    for span, decay in decays.items():
        left = _decayed(scope, maximum, decay, span, T, "earlier")
        kept = _exp_of_difference(scope, left, maximum, f"kept_{span}")
        earlier = scope.op("Mul", _delayed(scope, sums, span, T, len(d)), kept, name=f"earlier_sums_{span}")
        sums = scope.op("Add", sums, earlier, name=f"sums_{span}")
    return sums, maximum


def _decayed(scope: Scope, p: ir.Value, decay: ir.Value, span: int, T: int, name: str) -> ir.Value:
    """Row t - span, less its decay since. The first rows take their own instead: less its decay it never is the larger.

    Not by Gather, which Core ML's provider leaves to the CPU.
    """
    own = scope.slice(p, 0, span, 1, name=f"{name}.own_{span}")
    earlier = scope.slice(p, 0, T - span, 1, name=f"{name}.first_{span}")
    before = scope.op("Concat", own, earlier, name=f"{name}.before_{span}", axis=1)
    return scope.op("Sub", before, decay, name=f"{name}.decayed_{span}")


def _delayed(scope: Scope, S: ir.Value, span: int, T: int, C: int) -> ir.Value:
    """Row t - span; the first rows are 0."""
    nothing = scope.common(np.zeros((2, span, C)), np.float32, f"nothing_{span}")
    kept = scope.slice(S, 0, T - span, 1, name=f"sums.first_{span}")
    return scope.op("Concat", nothing, kept, name=f"sums.before_{span}", axis=1)


def wkv_of(scope: Scope, S: ir.Value, p: ir.Value, k: ir.Value, v_and_one: ir.Value, u: Array) -> ir.Value:
    """wkv = (A + exp(u + k) ⊙ v) / (B + exp(u + k)): [1, T, D], from what is before each token. u [D]."""
    uk = scope.op("Add", k, scope.const(u, np.float32, "u"), name="key_with_bonus")
    q = scope.op("Max", p, uk, name="exponent")
    held = scope.op("Mul", S, _exp_of_difference(scope, p, q, "held.scale"), name="held")
    now = scope.op("Mul", v_and_one, _exp_of_difference(scope, uk, q, "now.scale"), name="now")
    sums = scope.op("Add", held, now, name="sums")
    parts = scope.ops("Split", sums, names=["numerator", "denominator"], axis=0, num_outputs=2)
    return scope.op("Div", *parts, name="ratio")


def updated(
    scope: Scope, S: ir.Value, p: ir.Value, k: ir.Value, v_and_one: ir.Value, d: Array
) -> tuple[ir.Value, ir.Value]:
    """S [2, 1, D] and p [1, 1, D] after one more token."""
    decay = scope.const(d, np.float32, "d")
    p_next = scope.op("Max", scope.op("Sub", p, decay, name="decayed"), k, name="maximum")
    # In this order the rounding of p_next, exact in p - p_next, is made good; otherwise it adds up over the tokens.
    left = scope.op("Sub", scope.op("Sub", p, p_next, name="rise"), decay, name="kept.exponent")
    kept = scope.op("Mul", S, _exp(scope, left, "kept"), name="kept_sums")
    added = scope.op("Mul", v_and_one, _exp_of_difference(scope, k, p_next, "added.scale"), name="added")
    return scope.op("Add", kept, added, name="sums_after"), p_next


def _exp(scope: Scope, exponent: ir.Value, name: str) -> ir.Value:
    lowest = scope.common(np.full((1, 1, 1), LOWEST_EXPONENT), np.float32, "lowest_exponent")
    return scope.op("Exp", scope.op("Max", exponent, lowest, name=f"{name}.bounded"), name=name)


def _exp_of_difference(scope: Scope, a: ir.Value, b: ir.Value, name: str) -> ir.Value:
    return _exp(scope, scope.op("Sub", a, b, name=f"{name}.exponent"), name)
