"""RWKV-7 (arXiv 2503.14456). Of rrwkv-export, Apache-2.0.

h  a block's LayerNorm output, h' the previous token's    M  what the token recalls from the held mediums
w  decay, a rate of learning in context, g gate           κ  the key by which S is read and rewritten, of length 1
v_first  layer 0's v, which crosses the layers            S [i, j]  i of the value, j of the key, in every head
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from .mixes_rrwkv import Mix, Room, full, linear, unmixed, vector
from .recurrence_rrwkv import delta
from .state_rrwkv import LayerState, Rows

_GROUP_NORM_EPSILON = 64e-5  # 1e-5 · 8², whatever N is
_LOW_RANK = {"w": "decay_rank", "a": "rate_rank", "v": "value_rank", "g": "gate_rank"}


class _Mix(Mix):
    def __init__(self, config: Any, letters: str) -> None:
        super().__init__(config, letters)
        for q in letters:
            self.register_parameter(f"x_{q}", vector(config.hidden_size))

    def mix(self, q: str, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
        """mix(q) = h + (h' - h) ⊙ x_q + M ⊙ medium_mix_q"""
        return self.recalled(h + (h_prev - h) * self.get_parameter(f"x_{q}"), q, M)


class TimeMix(_Mix):
    w0: Tensor
    w1: Tensor
    w2: Tensor
    a0: Tensor
    a1: Tensor
    a2: Tensor
    v0: Tensor
    v1: Tensor
    v2: Tensor
    g1: Tensor
    g2: Tensor

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__(config, "rwkvag")
        C, self.layer = config.hidden_size, layer
        self.heads, self.head_size = C // config.head_size, config.head_size
        for z, rank in _LOW_RANK.items():
            if z == "v" and layer == 0:
                continue  # its own v is what later layers mix in
            R = getattr(config, rank)
            shapes = {"1": (C, R), "2": (R, C)} | ({} if z == "g" else {"0": (C,)})
            for number, shape in shapes.items():
                self.register_parameter(f"{z}{number}", vector(*shape))
        self.k_k, self.k_a, self.r_k = vector(C), vector(C), vector(self.heads, self.head_size)
        self.receptance, self.key, self.value, self.output = (linear(C, C) for _ in range(4))
        self.ln_x = nn.LayerNorm(C)  # its weight and bias, of the heads' GroupNorm

    def forward(
        self, h: Tensor, h_prev: Tensor, M: Tensor | None, rows: Rows, state: LayerState, crossing: dict[str, Tensor]
    ) -> Tensor:
        """o = GN(y), of every head o += (Σ_j r_j k_j r_k[j]) v;   Woutput (o ⊙ g). The matrix S moves on."""
        r, k, v, κ, ln_w, a, g = self._projected(h, h_prev, M, crossing)
        with unmixed(h):
            r, k, v, κ, ln_w, a = (full(x) for x in (r, k, v, κ, ln_w, a))
            b, k, v, κ, ln_w = (rows.zeroed(x) for x in (κ * a, k, v, κ, ln_w))  # padding changes nothing
            y, state["matrix"] = delta(r, k, v, κ, b, ln_w, state["matrix"])
            o = layer_norm(y, (self.head_size,), eps=_GROUP_NORM_EPSILON).flatten(-2)
            o = o * full(self.ln_x.weight) + full(self.ln_x.bias)
            o = o + ((r * k * full(self.r_k)).sum(dim=-1, keepdim=True) * v).flatten(-2)
        return self.output(o.to(g.dtype) * g)

    def _projected(self, h: Tensor, h_prev: Tensor, M: Tensor | None, crossing: dict[str, Tensor]) -> list[Tensor]:
        """r, k, v, κ, ln w, a by head [B, T, H, N], and g [B, T, C].

        w = exp(-e^(-1/2) σ(w0 + tanh(x_w w1) w2));   a = σ(a0 + x_a a1 a2);   g = σ(x_g g1) g2
        κ = k ⊙ k_k, each head of length 1;   k ← k ⊙ (1 + (a - 1) ⊙ k_a)
        v ← v + (v_first - v) ⊙ σ(v0 + x_v v1 v2), after layer 0
        """
        x_r, x_w, x_k, x_v, x_a, x_g = (self.mix(q, h, h_prev, M) for q in "rwkvag")
        r, k, v = self.receptance(x_r), self.key(x_k), self.value(x_v)
        ln_w = -math.exp(-0.5) * torch.sigmoid(full(self.w0) + full(torch.tanh(x_w @ self.w1) @ self.w2))
        a = torch.sigmoid(self.a0 + x_a @ self.a1 @ self.a2)
        g = torch.sigmoid(x_g @ self.g1) @ self.g2
        κ = self._by_head(full(k * self.k_k))
        κ = κ / torch.linalg.vector_norm(κ, dim=-1, keepdim=True).clamp(min=1e-12)
        k = k * (1 + (a - 1) * self.k_a)
        v_first = crossing.setdefault("v_first", v)
        if self.layer:
            v = v + (v_first - v) * torch.sigmoid(self.v0 + x_v @ self.v1 @ self.v2)
        return [*(self._by_head(x) for x in (r, k, v)), κ, self._by_head(ln_w), self._by_head(a), g]

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, self.head_size)


class ChannelMix(_Mix):
    def __init__(self, config: Any) -> None:
        super().__init__(config, "k")
        self.key, self.value = linear(config.hidden_size, config.ffn_size), linear(config.ffn_size, config.hidden_size)

    def forward(self, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
        """Wvalue relu(Wkey mix(k))²"""
        return self.value(torch.relu(self.key(self.mix("k", h, h_prev, M))) ** 2)


def state_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    N = config.head_size
    return {"matrix": (config.hidden_size // N, N, N)}


RWKV7 = Room(TimeMix, ChannelMix, state_shapes)
