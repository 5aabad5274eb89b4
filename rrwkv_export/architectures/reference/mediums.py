"""Mediums in torch: what past segments were squeezed into, and what a token recalls of them.

    s interval, tokens per medium     E excitation bottleneck    K slots, mediums a token can read   R key width
    S, G  the open segment's weighted sum and its weight          M  what the token recalls
    ι, I  a token's information, and that of all tokens so far, both in units of 2⁻¹⁶: of an adaptive interval
Squeeze and excitation: arXiv 1709.01507. A token on a border, shared by two segments: arXiv 1905.11235.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.mediums import INFORMATION, INFORMATION_BIAS, UNIT, AdaptiveInterval, MediumConfig
from rrwkv_export.architectures.reference.layer import Layer, Weights, norm
from rrwkv_export.architectures.reference.state import State


def excite(w: Layer, z: Tensor) -> Tensor:
    """m = σ(Wup relu(Wdown z)) ⊙ z: [n, C] squeezed segments to [n, C] mediums."""
    return torch.sigmoid(w.linear(torch.relu(w.linear(z, "medium.down")), "medium.up")) * z


def significance(w: Layer, medium: MediumConfig, h: Tensor) -> Tensor:
    """g, the weight of each token in its segment: [T, C] to [T, 1]."""
    if medium.squeeze == "mean":
        return torch.ones_like(h[..., :1])
    return (h @ w("medium.squeeze")).clamp(-60, 60).exp()[..., None]


def information(weights: Weights, interval: AdaptiveInterval, h: Tensor, h_prev: Tensor) -> Tensor:
    """ι = 1/longest + (1/shortest - 1/longest) σ(information₀ · h⁰ + information₁ · h'⁰ + bias): [..., C] to [...]."""
    now, before = weights[INFORMATION].to(h.dtype)
    least, most = 1 / interval.longest, 1 / interval.shortest
    told = h @ now + h_prev @ before + weights[INFORMATION_BIAS].to(h.dtype)
    return least + (most - least) * torch.sigmoid(told)


@dataclass(frozen=True)
class Segments:
    """Where the segments of T tokens lie, counted from the one that is open when they begin.

    member [n + 1, T]: how much of each token lies in each segment, the last of which stays open. begun [T]: the segment
    that is open when a token comes. held: mediums held before. information: I after the tokens.
    """

    member: Tensor
    begun: Tensor
    held: int
    information: int

    @property
    def ended(self) -> int:
        """n"""
        return len(self.member) - 1


def segments(config: ModelConfig, weights: Weights, ids: Sequence[int], state: State) -> Segments:
    """Of tokens that come in this state. What a token tells follows from it and the one before, whatever else the
    arithmetic is done in.
    """
    medium = config.medium
    assert medium is not None
    if medium.adaptive is None:
        n, before, whole = torch.ones(len(ids), dtype=torch.int64), state.position, 1
    else:
        n, before, whole = (
            _told(config, weights, medium.adaptive, ids, state.medium_token),
            state.medium_information,
            UNIT,
        )
    I, first, unit = before + n.cumsum(0), before // medium.unit, medium.unit
    begin = (first + torch.arange(int(I[-1]) // unit - first + 1))[:, None] * unit
    member = (torch.minimum(I, begin + unit) - torch.maximum(I - n, begin)).clamp(min=0) / whole
    return Segments(member, (I - n) // unit - first, min(first, medium.slots), int(I[-1]))


def _told(config: ModelConfig, weights: Weights, interval: AdaptiveInterval, ids: Sequence[int], token: int) -> Tensor:
    """n = round(2¹⁶ ι) of tokens that come after this one, int64 [T]."""
    x = weights["emb.weight"][torch.tensor([max(token, 0), *ids])].double()
    h = norm(config, weights, norm(config, weights, x, "blocks.0.ln0"), "blocks.0.ln1")
    if token < 0:
        h[0] = 0
    return (UNIT * information(weights, interval, h[1:], h[:-1])).round().long()


def retrospect(w: Layer, medium: MediumConfig, h: Tensor, of: Segments, state: State) -> Tensor:
    """M [T, C]: every token reads the mediums of the K segments before its own. Squeezes the sequence on the way."""
    K, n, member = medium.slots, of.ended, of.member.to(h.dtype)
    g = significance(w, medium, h)
    S = member @ (g * h) + pad(state.medium_sum[w.index], (0, 0, 0, n))
    G = member @ g + pad(state.medium_weight[w.index], (0, 0, 0, n))
    m = excite(w, S[:n] / G[:n])
    held = torch.cat([state.medium_bank[w.index], m])
    keys = torch.cat([state.medium_key[w.index], w.linear(m, "medium.key")])

    row, oldest = torch.arange(K + n), of.begun[:, None]
    visible = (oldest <= row) & (row < oldest + K) & (row >= K - of.held)
    scores = w.linear(h, "medium.query") @ keys.T / math.sqrt(medium.key_size)
    scores = pad(scores.masked_fill(~visible, -math.inf), (1, 0))  # the empty slot: score 0, nothing to recall
    M = torch.softmax(scores, dim=-1)[:, 1:] @ held

    state.medium_sum[w.index], state.medium_weight[w.index] = S[n:], G[n:]
    state.medium_bank[w.index], state.medium_key[w.index] = held[n:], keys[n:]
    return M


def read(w: Layer, medium: MediumConfig, h: Tensor, state: State) -> Tensor:
    """M [C] of one token."""
    held = min(_counted(medium, state) // medium.unit, medium.slots)
    m, key = (bank[w.index, medium.slots - held :] for bank in (state.medium_bank, state.medium_key))
    q = w("medium.query.weight") @ h
    a = torch.softmax(torch.cat([torch.zeros(1).double(), key @ q / math.sqrt(medium.key_size)]), dim=0)
    return a[1:] @ m


def told(w: Layer, medium: MediumConfig, h: Tensor, h_prev: Tensor) -> int:
    """How far one token counts, by layer 0's h and h': 1, or n = round(2¹⁶ ι)."""
    if medium.adaptive is None:
        return 1
    return int((UNIT * information(w.weights, medium.adaptive, h, h_prev)).round())


def squeeze(w: Layer, medium: MediumConfig, h: Tensor, n: int, state: State) -> None:
    """One token into the open segment, which is made a medium where it ends; the rest of the token opens the next."""
    g, before, whole = significance(w, medium, h), _counted(medium, state), UNIT if medium.adaptive else 1
    end = (before // medium.unit + 1) * medium.unit
    S, G = state.medium_sum[w.index], state.medium_weight[w.index]
    inside = (min(before + n, end) - before) / whole
    S += inside * (g * h)
    G += inside * g
    if before + n >= end:
        m = excite(w, S / G)
        for bank, newest in ((state.medium_bank, m), (state.medium_key, w.linear(m, "medium.key"))):
            bank[w.index] = torch.cat([bank[w.index, 1:], newest])
        S[:] = (n / whole - inside) * (g * h)
        G[:] = (n / whole - inside) * g


def _counted(medium: MediumConfig, state: State) -> int:
    return state.medium_information if medium.adaptive else state.position
