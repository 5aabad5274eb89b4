"""RWKV-4 (arXiv 2305.13048); with mediums it is RRWKV (arXiv 2306.05176).

h  a block's LayerNorm output, h' the previous token's       D  attention width, mostly C
A, B  numerator and denominator of wkv, d decay, u bonus     M  what the token recalls from the held mediums
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from rrwkv_export.architectures.base import Array
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.reference.common import Crossing, Reference, gated_channel_mix
from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.state import State as CommonState
from rrwkv_export.architectures.rwkv4 import WKV


@dataclass
class State(CommonState):
    """wkv [L, 2, D]: A, B, float64 in any arithmetic, as float32 has not the range of exp(k)."""

    wkv: Tensor = field(kw_only=True)

    @staticmethod
    def comparable(values: Mapping[str, Array]) -> dict[str, Array]:
        """wkv as A / B."""
        return {**values, WKV: values[WKV][:, 0] / values[WKV][:, 1]}

    @classmethod
    def initial(cls, config: ModelConfig, dtype: torch.dtype = torch.float64) -> Self:
        state = super().initial(config, dtype)
        state.wkv = state.wkv.double()
        return state


def time_mix(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None, state: State, _: Crossing) -> Tensor:
    k, v, r = (
        w.linear(w.mix("att", q, h, h_prev, M), f"att.{n}") for q, n in zip("kvr", ("key", "value", "receptance"))
    )
    w.see("time_mix.key", k)
    k, v, u, d = k.double(), v.double(), w("att.time_first").double(), w("att.time_decay").double().exp()
    A, B = state.wkv[w.index]
    wkv = torch.empty_like(v)
    for t in range(len(k)):
        wkv[t] = (A + (u + k[t]).exp() * v[t]) / (B + (u + k[t]).exp())
        A, B = (-d).exp() * A + k[t].exp() * v[t], (-d).exp() * B + k[t].exp()
    state.wkv[w.index] = torch.stack([A, B])
    return w.linear(torch.sigmoid(r) * wkv.to(r.dtype), "att.output")


def time_mix_step(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None, state: State, _: Crossing) -> Tensor:
    k = w.linear(w.mix("att", "k", h, h_prev, M), "att.key")
    v = w.linear(w.mix("att", "v", h, h_prev, M), "att.value")
    r = torch.sigmoid(w.linear(w.mix("att", "r", h, h_prev, M), "att.receptance"))
    u, d = w("att.time_first"), w("att.time_decay").exp()
    A, B = state.wkv[w.index]
    wkv = (A + torch.exp(u + k) * v) / (B + torch.exp(u + k))
    state.wkv[w.index] = torch.stack([torch.exp(-d) * A + torch.exp(k) * v, torch.exp(-d) * B + torch.exp(k)])
    return w.linear(r * wkv, "att.output")


def channel_mix(w: Layer, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
    return gated_channel_mix(w, *(w.mix("ffn", q, h, h_prev, M) for q in "kr"))


REFERENCE = Reference(State, time_mix, time_mix_step, channel_mix)
forward, step = REFERENCE.forward, REFERENCE.step
