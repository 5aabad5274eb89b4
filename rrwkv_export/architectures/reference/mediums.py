"""Mediums in torch: what past segments were squeezed into, and what a token recalls of them.

    s interval, tokens per medium     E excitation bottleneck    K slots, mediums a token can read   R key width
    S, G  the open segment's weighted sum and its weight          M  what the token recalls
Squeeze and excitation: arXiv 1709.01507.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from rrwkv_export.architectures.mediums import MediumConfig
from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.state import State


def excite(w: Layer, z: Tensor) -> Tensor:
    """m = σ(Wup relu(Wdown z)) ⊙ z: [n, C] squeezed segments to [n, C] mediums."""
    return torch.sigmoid(w.linear(torch.relu(w.linear(z, "medium.down")), "medium.up")) * z


def significance(w: Layer, medium: MediumConfig, h: Tensor) -> Tensor:
    """g, the weight of each token in its segment: [T, C] to [T, 1]."""
    if medium.squeeze == "mean":
        return torch.ones_like(h[..., :1])
    return (h @ w("medium.squeeze")).clamp(-60, 60).exp()[..., None]


def retrospect(w: Layer, medium: MediumConfig, h: Tensor, state: State) -> Tensor:
    """M [T, C]: every token reads the mediums of the K segments before its own. Squeezes the sequence on the way."""
    T, s, K = len(h), medium.interval, medium.slots
    segment = (state.position % s + torch.arange(T)) // s  # counts from the segment that is open when the call begins
    n = (state.position % s + T) // s  # segments that end in this call
    member = torch.nn.functional.one_hot(segment, n + 1).to(h.dtype).T if T else torch.zeros(n + 1, 0)
    g = significance(w, medium, h)
    S = member @ (g * h) + pad(state.medium_sum[w.index], (0, 0, 0, n))
    G = member @ g + pad(state.medium_weight[w.index], (0, 0, 0, n))
    m = excite(w, S[:n] / G[:n])
    held = torch.cat([state.medium_bank[w.index], m])
    keys = torch.cat([state.medium_key[w.index], w.linear(m, "medium.key")])

    row = torch.arange(K + n)
    oldest = segment[:, None]
    visible = (oldest <= row) & (row < oldest + K) & (row >= K - min(state.position // s, K))
    scores = w.linear(h, "medium.query") @ keys.T / math.sqrt(medium.key_size)
    scores = pad(scores.masked_fill(~visible, -math.inf), (1, 0))  # the empty slot: score 0, nothing to recall
    M = torch.softmax(scores, dim=-1)[:, 1:] @ held

    state.medium_sum[w.index], state.medium_weight[w.index] = S[n:], G[n:]
    state.medium_bank[w.index], state.medium_key[w.index] = held[n:], keys[n:]
    return M


def read(w: Layer, medium: MediumConfig, h: Tensor, state: State) -> Tensor:
    """M [C] of one token."""
    held = min(state.position // medium.interval, medium.slots)
    m, key = (bank[w.index, medium.slots - held :] for bank in (state.medium_bank, state.medium_key))
    q = w("medium.query.weight") @ h
    a = torch.softmax(torch.cat([torch.zeros(1).double(), key @ q / math.sqrt(medium.key_size)]), dim=0)
    return a[1:] @ m


def squeeze(w: Layer, medium: MediumConfig, h: Tensor, state: State) -> None:
    """One token into the open segment, which is made a medium where it ends."""
    g = significance(w, medium, h)
    S, G = state.medium_sum[w.index], state.medium_weight[w.index]
    S += g * h
    G += g
    if (state.position + 1) % medium.interval == 0:
        m = excite(w, S / G)
        for bank, newest in ((state.medium_bank, m), (state.medium_key, w.linear(m, "medium.key"))):
            bank[w.index] = torch.cat([bank[w.index, 1:], newest])
        S.zero_()
        G.zero_()
