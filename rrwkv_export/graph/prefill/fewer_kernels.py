"""What heads are normalized by, in fewer kernels for accelerators, of a prompt and of one token: a LayerNorm each.

On a CPU, where a text cut anywhere gives the same bits, `.heads` and `.rwkv7` have them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.prefill.heads import GROUP_NORM_EPSILON, SHORTEST, heads
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope


def unit(w: GraphWeights, scope: Scope, att: str, k: ir.Value) -> ir.Value:
    """κ [T, H, N] of k, T C channels in any shape: x = k ⊙ k_k over sqrt(|x|² + SHORTEST²) in each head.

    It is half a LayerNorm of x and -x, whose mean is 0: that divides by the root of a mean, and adds its epsilon to it.
    """
    H, N = heads(w)
    k_k = w.load(f"{att}.k_k").reshape(H, N)
    both = scope.const(np.stack([k_k, -k_k], axis=1), np.float32, "k_k.weight")
    k = scope.op("Reshape", k, scope.common([-1, H, 1, N], np.int64, "T_H_1_N"), name="kappa.heads")
    x = scope.op("Mul", k, both, name="k_k")
    x = scope.op("Reshape", x, scope.common([-1, H, 2 * N], np.int64, "T_H_2N"), name="x_and_minus_x")
    gain = scope.common(np.full(2 * N, N**-0.5), np.float32, "one_over_root_N")
    normed = scope.op("LayerNormalization", x, gain, name="kappas", axis=-1, epsilon=SHORTEST**2 / N)
    return scope.slice(normed, 0, N, 2, name="kappa")


def group_norm(w: GraphWeights, scope: Scope, att: str, y: ir.Value, shape: Sequence[int]) -> ir.Value:
    """GN(y). shape: of a head's gains beside y, [1, H, N] or [H, 1, N]."""
    gain, bias = (w.vector(scope, f"{att}.ln_x.{name}", shape) for name in ("weight", "bias"))
    return scope.op("LayerNormalization", y, gain, bias, name="ln_x", axis=2, epsilon=GROUP_NORM_EPSILON)
