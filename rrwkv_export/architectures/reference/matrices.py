"""What RWKV-5, 6 and 7 share: the matrix S of each head, and GroupNorm over a head's channels.

H heads of N channels: C = H N       S [H, N, N] the state of a layer, of float32 in float32 arithmetic
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.state import State as CommonState

_GROUP_NORM_EPSILON = 64e-5  # 1e-5 · 8², whatever N is


@dataclass
class State(CommonState):
    """matrix [L, H, N, N]: S."""

    matrix: Tensor = field(kw_only=True)


def by_head(w: Layer, x: Tensor) -> Tensor:
    """[..., C] to [..., H, N]"""
    return x.reshape(*x.shape[:-1], w.config.heads, w.config.head_size)


def normed(w: Layer, y: Tensor) -> Tensor:
    """GN(y): [..., H, N] to [..., C]"""
    found = layer_norm(y, (w.config.head_size,), eps=_GROUP_NORM_EPSILON).flatten(-2)
    return found * w("att.ln_x.weight") + w("att.ln_x.bias")


def recurrence(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """y [T, H, N] of RWKV-5 and 6 for r, k, v, w [T, H, N], and S after the last token. u [H, N]."""
    y = torch.empty_like(v)
    for t in range(len(k)):
        kv = k[t, :, :, None] * v[t, :, None, :]
        y[t] = (r[t, :, None, :] @ (S + u[:, :, None] * kv))[:, 0]
        S = w[t, :, :, None] * S + kv
    return y, S


def recurrence_step(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, S: Tensor) -> Tensor:
    """y [H, N] of one token; S moves on in place. i is an index of the key, j of the value.

    y_j = Σ_i r_i (S_ij + u_i k_i v_j);   S_ij ← w_i S_ij + k_i v_j
    """
    kv = torch.einsum("hi,hj->hij", k, v)
    y = torch.einsum("hi,hij->hj", r, S + torch.einsum("hi,hij->hij", u, kv))
    S[:] = torch.einsum("hi,hij->hij", w, S) + kv
    return y
