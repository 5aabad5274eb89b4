"""What all architectures share: x through the layers, each a time-mix and a channel-mix, and the state between calls.

V vocabulary   C channels   L layers   F channel-mix width   T tokens of this call
h  a block's LayerNorm output, h' the previous token's       M  what the token recalls from the held mediums
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.reference import mediums
from rrwkv_export.architectures.reference.layer import Layer, Observer, Weights, norm
from rrwkv_export.architectures.reference.state import State

S = TypeVar("S", bound=State)
Crossing = dict[str, Tensor]
"""What one layer hands on to the later ones within a call (RWKV-7's v_first); no state."""
TimeMix = Callable[[Layer, Tensor, Tensor, Tensor | None, S, Crossing], Tensor]
"""w, h, h', M, state, crossing: what is added to x, of T tokens [T, C] or of one [C]; the layer's share of the state
moves on in place.
"""
ChannelMix = Callable[[Layer, Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Reference(Generic[S]):
    """An architecture's arithmetic. time_mix: of a whole sequence. time_mix_step: of one token, the definition."""

    State: type[S]
    time_mix: TimeMix[S]
    time_mix_step: TimeMix[S]
    channel_mix: ChannelMix

    @torch.inference_mode()
    def forward(
        self,
        config: ModelConfig,
        weights: Weights,
        ids: Sequence[int],
        state: S | None = None,
        observe: Observer | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> tuple[Tensor, S]:
        """Logits [T, V] of T >= 1 tokens, and the state after them; the given one (of this dtype) is left as it was.

        Everything but the recurrence is computed in parallel. Weights are asked for one at a time, layer by layer.
        dtype: of the arithmetic.
        """
        state = state.copy() if state else self.State.initial(config, dtype)
        x, crossing = _embed(config, weights, ids, dtype), Crossing()
        segments = mediums.segments(config, weights, ids, state) if config.medium else None
        for i in range(config.num_layers):
            w = Layer(config, weights, i, observe, dtype)
            h = w.norm(x, "ln1")
            M = mediums.retrospect(w, config.medium, h, segments, state) if config.medium and segments else None
            x = x + self.time_mix(w, h, _shifted(state, i, 0, h), M, state, crossing)
            h = w.norm(x, "ln2")
            x = x + self.channel_mix(w, h, _shifted(state, i, 1, h), M)
        state.position += len(ids)
        if segments and config.medium and config.medium.adaptive:
            state.medium_information, state.medium_token = segments.information, ids[-1]
        return _logits(config, weights, x), state

    @torch.inference_mode()
    def step(self, config: ModelConfig, weights: Weights, token: int, state: S) -> Tensor:
        """Logits [V] float64 of one token; `state` moves on in place. The definition, line by line."""
        x, crossing, n = _embed(config, weights, [token])[0], Crossing(), 1
        for i in range(config.num_layers):
            w = Layer(config, weights, i)
            h, h_prev = w.norm(x, "ln1"), state.shift[i, 0].clone()
            M = mediums.read(w, config.medium, h, state) if config.medium else None
            x = x + self.time_mix_step(w, h, h_prev, M, state, crossing)
            if config.medium:
                n = n if i else mediums.told(w, config.medium, h, h_prev)
                mediums.squeeze(w, config.medium, h, n, state)
            state.shift[i, 0] = h
            h, h_prev = w.norm(x, "ln2"), state.shift[i, 1].clone()
            x = x + self.channel_mix(w, h, h_prev, M)
            state.shift[i, 1] = h
        state.position += 1
        if config.medium and config.medium.adaptive:
            state.medium_information, state.medium_token = state.medium_information + n, token
        return _logits(config, weights, x)


def gated_channel_mix(w: Layer, k: Tensor, r: Tensor) -> Tensor:
    """σ(Wreceptance mix(r)) ⊙ (Wvalue relu(Wkey mix(k))²), of RWKV-4, 5 and 6"""
    return torch.sigmoid(w.linear(r, "ffn.receptance")) * w.linear(torch.relu(w.linear(k, "ffn.key")) ** 2, "ffn.value")


def _embed(config: ModelConfig, weights: Weights, ids: Sequence[int], dtype: torch.dtype = torch.float64) -> Tensor:
    return norm(config, weights, weights["emb.weight"][torch.tensor(ids)].to(dtype), "blocks.0.ln0")


def _logits(config: ModelConfig, weights: Weights, x: Tensor) -> Tensor:
    return norm(config, weights, x, "ln_out") @ weights["head.weight"].to(x.dtype).T


def _shifted(state: State, i: int, block: int, h: Tensor) -> Tensor:
    """h': the carried row, then all rows but the last, which is carried on."""
    h_prev = torch.cat([state.shift[i, block][None], h[:-1]])
    state.shift[i, block] = h[-1]
    return h_prev
