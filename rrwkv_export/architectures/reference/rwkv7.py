"""RWKV-7 (arXiv 2503.14456).

h  a block's LayerNorm output, h' the previous token's    M  what the token recalls from the held mediums
w  decay, a rate of learning in context, g gate           κ  the key by which S is read and rewritten, of length 1
v_first  layer 0's v, which crosses the layers            S [i, j]  i of the value, j of the key, in every head
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rrwkv_export.architectures.reference.common import Crossing, Reference
from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.matrices import State, by_head, normed


def time_mix(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None, state: State, crossing: Crossing) -> Tensor:
    r, k, v, κ, decay, a, g = projected(w, h, h_prev, M, crossing)
    S, y = state.matrix[w.index], torch.empty_like(v)
    for t in range(len(k)):
        s = S @ κ[t, :, :, None]
        S = S * decay[t, :, None, :] - s * (κ * a)[t, :, None, :] + v[t, :, :, None] * k[t, :, None, :]
        y[t] = (S @ r[t, :, :, None])[:, :, 0]
    state.matrix[w.index] = S
    return output(w, y, r, k, v, g)


def time_mix_step(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None, state: State, crossing: Crossing) -> Tensor:
    """s_i = Σ_j S_ij κ_j;   S_ij ← S_ij w_j - s_i κ_j a_j + v_i k_j;   y_i = Σ_j S_ij r_j"""
    r, k, v, κ, decay, a, g = projected(w, h, h_prev, M, crossing)
    S = state.matrix[w.index]
    s = torch.einsum("hij,hj->hi", S, κ)
    kept, told = torch.einsum("hij,hj->hij", S, decay), torch.einsum("hi,hj->hij", v, k)
    S[:] = kept - torch.einsum("hi,hj,hj->hij", s, κ, a) + told
    y = torch.einsum("hij,hj->hi", S, r)
    return output(w, y, r, k, v, g)


def projected(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None, crossing: Crossing) -> list[Tensor]:
    """r, k, v, κ, w, a by head [..., H, N], and g [..., C], of T tokens or of one.

    w = exp(-e^(-1/2) σ(w0 + tanh(x_w w1) w2));   a = σ(a0 + x_a a1 a2);   g = σ(x_g g1) g2
    κ = k ⊙ k_k, each head of length 1;   k ← k ⊙ (1 + (a - 1) ⊙ k_a)
    v ← v + (v_first - v) ⊙ σ(v0 + x_v v1 v2), after layer 0
    """
    x_r, x_w, x_k, x_v, x_a, x_g = (w.moved("att", q, f"x_{q}", h, h_prev, M) for q in "rwkvag")
    r, k, v = w.linear(x_r, "att.receptance"), w.linear(x_k, "att.key"), w.linear(x_v, "att.value")
    low = torch.tanh(x_w @ w("att.w1")) @ w("att.w2")
    decay = torch.exp(-math.exp(-0.5) * torch.sigmoid(w("att.w0") + low))
    a = torch.sigmoid(w("att.a0") + x_a @ w("att.a1") @ w("att.a2"))
    g = torch.sigmoid(x_g @ w("att.g1")) @ w("att.g2")
    κ = by_head(w, k * w("att.k_k"))
    κ = κ / torch.linalg.vector_norm(κ, dim=-1, keepdim=True).clamp(min=1e-12)
    k = k * (1 + (a - 1) * w("att.k_a"))
    v_first = crossing.setdefault("v_first", v)
    if w.index:
        v = v + (v_first - v) * torch.sigmoid(w("att.v0") + x_v @ w("att.v1") @ w("att.v2"))
    w.see("time_mix.key", k)
    w.see("time_mix.decay", decay)
    return [*(by_head(w, x) for x in (r, k, v)), κ, by_head(w, decay), by_head(w, a), g]


def output(w: Layer, y: Tensor, r: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    """o = GN(y), of every head o += (Σ_j r_j k_j r_k[j]) v;   Woutput (o ⊙ g)"""
    told = (r * k * w("att.r_k")).sum(dim=-1, keepdim=True) * v
    return w.linear((normed(w, y) + told.flatten(-2)) * g, "att.output")


def channel_mix(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
    """Wvalue relu(Wkey mix(k))²"""
    k = w.moved("ffn", "k", "x_k", h, h_prev, M)
    return w.linear(torch.relu(w.linear(k, "ffn.key")) ** 2, "ffn.value")


REFERENCE = Reference(State, time_mix, time_mix_step, channel_mix)
forward, step = REFERENCE.forward, REFERENCE.step
