"""RWKV-4 (arXiv 2305.13048); with mediums it is RRWKV (arXiv 2306.05176). Of rrwkv-export, Apache-2.0.

h  a block's LayerNorm output, h' the previous token's       D  attention width, mostly C
u  bonus, d decay of wkv, a mean of v                        M  what the token recalls from the held mediums
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .mixes_rrwkv import Mix, Room, full, linear, unmixed, vector
from .recurrence_rrwkv import wkv_sums
from .state_rrwkv import LayerState, Rows


class _Mix(Mix):
    def __init__(self, config: Any, letters: str) -> None:
        super().__init__(config, letters)
        for q in letters:
            self.register_parameter(f"time_mix_{q}", vector(config.hidden_size))

    def mix(self, q: str, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
        """mix(q) = h ⊙ time_mix_q + h' ⊙ (1 - time_mix_q) + M ⊙ medium_mix_q"""
        a = self.get_parameter(f"time_mix_{q}")
        return self.recalled(h * a + h_prev * (1 - a), q, M)


class TimeMix(_Mix):
    def __init__(self, config: Any, layer: int) -> None:
        super().__init__(config, "kvr")
        C, D = config.hidden_size, width(config)
        self.time_decay, self.time_first = vector(D), vector(D)
        self.key, self.value, self.receptance, self.output = linear(C, D), linear(C, D), linear(C, D), linear(D, C)

    def forward(
        self, h: Tensor, h_prev: Tensor, M: Tensor | None, rows: Rows, state: LayerState, crossing: dict[str, Tensor]
    ) -> Tensor:
        """Woutput (σ(r) ⊙ wkv) [B, T, C]; the state of wkv moves on."""
        k, v = self.key(self.mix("k", h, h_prev, M)), self.value(self.mix("v", h, h_prev, M))
        r = torch.sigmoid(self.receptance(self.mix("r", h, h_prev, M)))
        u, d = full(self.time_first), full(self.time_decay).exp()
        with unmixed(h):
            wkv, (p, a) = wkv_sums(full(k), full(v), u, d, (state["wkv_log"], state["wkv_mean"]))
        state |= {"wkv_log": rows.last(p), "wkv_mean": rows.last(a)}
        return self.output(r * wkv.to(r.dtype))


class ChannelMix(_Mix):
    def __init__(self, config: Any) -> None:
        super().__init__(config, "kr")
        C, F = config.hidden_size, config.ffn_size
        self.key, self.receptance, self.value = linear(C, F), linear(C, C), linear(F, C)

    def forward(self, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
        """σ(Wreceptance mix(r)) ⊙ (Wvalue relu(Wkey mix(k))²)"""
        k = self.value(torch.relu(self.key(self.mix("k", h, h_prev, M))) ** 2)
        return torch.sigmoid(self.receptance(self.mix("r", h, h_prev, M))) * k


def width(config: Any) -> int:
    """D."""
    return getattr(config, "attention_size", None) or config.hidden_size


def state_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    return {"wkv_log": (width(config),), "wkv_mean": (width(config),)}


RWKV4 = Room(TimeMix, ChannelMix, state_shapes)
