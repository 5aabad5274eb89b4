"""RWKV-5.2, and 5.1 and 5.0, whose w and u are one number a head (arXiv 2404.05892).

h  a block's LayerNorm output, h' the previous token's    M  what the token recalls from the held mediums
w  decay, u bonus [H, N], of the key                      g  gate, which 5.0 has not
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu

from rrwkv_export.architectures.reference.common import Crossing, Reference, gated_channel_mix
from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.matrices import State, by_head, normed, recurrence, recurrence_step


def time_mix(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None, state: State, _: Crossing) -> Tensor:
    r, k, v = _rkv(w, h, h_prev, M)
    w.see("time_mix.key", k)
    r, k, v = (by_head(w, x) for x in (r, k, v))
    decay, u = _rates(w)
    y, state.matrix[w.index] = recurrence(r, k, v, decay.expand(v.shape), u, state.matrix[w.index])
    return _output(w, y, h, h_prev, M)


def time_mix_step(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None, state: State, _: Crossing) -> Tensor:
    r, k, v = (by_head(w, x) for x in _rkv(w, h, h_prev, M))
    y = recurrence_step(r, k, v, *_rates(w), state.matrix[w.index])
    return _output(w, y, h, h_prev, M)


def _rkv(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None) -> list[Tensor]:
    named = zip("rkv", ("receptance", "key", "value"))
    return [w.linear(w.mix("att", q, h, h_prev, M), f"att.{name}") for q, name in named]


def _rates(w: Layer) -> tuple[Tensor, Tensor]:
    """w = exp(-exp(time_decay)) and u = time_faaaa, [H, N]; u = exp(time_first) in 5.1 and 5.0."""
    decay, u = torch.exp(-torch.exp(w("att.time_decay"))), w(f"att.{w.config.bonus}")
    shape = (w.config.heads, w.config.head_size)
    if w.config.version == "5.2":
        return decay, u
    return decay[:, None].expand(shape), torch.exp(u)[:, None].expand(shape)


def _output(w: Layer, y: Tensor, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
    """Woutput (GN(y) ⊙ SiLU(Wgate mix(g)))"""
    o = normed(w, y)
    if w.config.gated:
        o = o * silu(w.linear(w.mix("att", "g", h, h_prev, M), "att.gate"))
    return w.linear(o, "att.output")


def channel_mix(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
    return gated_channel_mix(w, *(w.mix("ffn", q, h, h_prev, M) for q in "kr"))


REFERENCE = Reference(State, time_mix, time_mix_step, channel_mix)
forward, step = REFERENCE.forward, REFERENCE.step
