"""RWKV-6 (arXiv 2404.05892).

h  a block's LayerNorm output, h' the previous token's, d = h' - h    M  what the token recalls from the mediums
w  decay of this token [H, N], u bonus [H, N], of the key             g  gate
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu

from rrwkv_export.architectures.reference.common import Crossing, Reference, gated_channel_mix
from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.matrices import State, by_head, normed, recurrence, recurrence_step


def time_mix(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None, state: State, _: Crossing) -> Tensor:
    x_w, x_k, x_v, x_r, x_g = _mixes(w, h, h_prev, M)
    r, k, v = w.linear(x_r, "att.receptance"), w.linear(x_k, "att.key"), w.linear(x_v, "att.value")
    decay = _decay(w, x_w)
    w.see("time_mix.key", k)
    w.see("time_mix.decay", decay)
    r, k, v, decay = (by_head(w, x) for x in (r, k, v, decay))
    y, state.matrix[w.index] = recurrence(r, k, v, decay, w("att.time_faaaa"), state.matrix[w.index])
    return w.linear(normed(w, y) * silu(w.linear(x_g, "att.gate")), "att.output")


def time_mix_step(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None, state: State, _: Crossing) -> Tensor:
    x_w, x_k, x_v, x_r, x_g = _mixes(w, h, h_prev, M)
    r = by_head(w, w.linear(x_r, "att.receptance"))
    k = by_head(w, w.linear(x_k, "att.key"))
    v = by_head(w, w.linear(x_v, "att.value"))
    g = silu(w.linear(x_g, "att.gate"))
    y = recurrence_step(r, k, v, by_head(w, _decay(w, x_w)), w("att.time_faaaa"), state.matrix[w.index])
    return w.linear(normed(w, y) * g, "att.output")


def _mixes(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None) -> list[Tensor]:
    """x_q = h + d ⊙ (maa_q + M_q) + M ⊙ medium_mix_q, for q in w, k, v, r, g

    m = tanh((h + d ⊙ maa_x) time_maa_w1)  as [5, rank];   M_q = m_q time_maa_w2[q]
    """
    d = h_prev - h
    m = torch.tanh((h + d * w("att.time_maa_x")) @ w("att.time_maa_w1"))
    m = m.reshape(*h.shape[:-1], 5, -1)
    moved = torch.einsum("...qr,qrc->...qc", m, w("att.time_maa_w2"))
    mixes = [h + d * (w(f"att.time_maa_{q}") + moved[..., i, :]) for i, q in enumerate("wkvrg")]
    return [w.recalled(x, "att", q, M) for x, q in zip(mixes, "wkvrg")]


def _decay(w: Layer, x_w: Tensor) -> Tensor:
    """w = exp(-exp(time_decay + tanh(x_w time_decay_w1) time_decay_w2)): [..., C]"""
    low = torch.tanh(x_w @ w("att.time_decay_w1")) @ w("att.time_decay_w2")
    return torch.exp(-torch.exp(w("att.time_decay") + low))


def channel_mix(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
    return gated_channel_mix(w, *(w.moved("ffn", q, f"time_maa_{q}", h, h_prev, M) for q in "kr"))


REFERENCE = Reference(State, time_mix, time_mix_step, channel_mix)
forward, step = REFERENCE.forward, REFERENCE.step
