"""Mediums of many rows at once, made by segments; what they are is in `architectures.reference.mediums`.

s interval    K slots    R key width    n segments that end in this call, in the row where the most end
ι, I  a token's information, and that of all so far, in units of 2⁻¹⁶: of an adaptive interval

Gradients reach ι by how a token on a border is shared, and by where all later borders lie; the rounding of ι passes
them. What a token sees of mediums is no matter of degree, and passes none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding, one_hot, pad

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.mediums import (
    MEDIUM_BANK,
    MEDIUM_KEY,
    MEDIUM_SUM,
    MEDIUM_WEIGHT,
    UNIT,
    AdaptiveInterval,
    MediumConfig,
)
from rrwkv_export.architectures.reference.layer import Layer, norm
from rrwkv_export.architectures.reference.mediums import excite, information, significance
from rrwkv_export.train.models.precision import full, unmixed


@dataclass(frozen=True)
class Told:
    """Of an adaptive interval, after the tokens of every row. counted [B] int64: I. token [B] int64: the last one.

    information [B, T]: ι of this call's tokens.
    """

    counted: Tensor
    token: Tensor
    information: Tensor


@dataclass(frozen=True)
class Segments:
    """Where the segments of a call's tokens lie, counted from the one that is open when they begin.

    member [rows, n + 1, T]: how much of each token lies in each segment. begun [rows, T]: the segment that is open when
    a token comes. ended [rows]: how many end. held [rows]: mediums held before. rows: B, or 1 where all are alike.
    """

    member: Tensor
    begun: Tensor
    ended: Tensor
    held: Tensor


def fixed_segments(medium: MediumConfig, position: int, like: Tensor) -> Segments:
    """like: ids [B, T]."""
    T, s = like.shape[1], medium.longest
    segment = (position % s + torch.arange(T, device=like.device)) // s
    n = (position % s + T) // s
    member = one_hot(segment, n + 1).mT.float()
    ended, held = (like.new_full((1,), count) for count in (n, min(position // s, medium.slots)))
    return Segments(member[None], segment[None], ended, held)


def adaptive_segments(
    config: ModelConfig, weights: Mapping[str, Tensor], ids: Tensor, before: Told | None
) -> tuple[Segments, Told]:
    """before: None where the rows begin a text."""
    medium = config.medium
    assert medium is not None
    assert medium.adaptive is not None
    with unmixed(ids):
        ι = _information(config, weights, medium.adaptive, ids, before)
    exact = ι.double() * UNIT
    n = exact + (exact.round() - exact).detach()
    I_0 = before.counted if before else ids.new_zeros(len(ids))
    first = I_0 // UNIT
    I = (I_0 - first * UNIT)[:, None] + n.cumsum(1)  # from the begin of the segment that is open
    counted = I.detach().round().long()
    begun, ended = (counted - n.detach().round().long()) // UNIT, counted[:, -1] // UNIT
    begin = UNIT * torch.arange(_most(ended) + 1, device=ids.device)[:, None]
    member = (torch.minimum(I[:, None], begin + UNIT) - torch.maximum((I - n)[:, None], begin)).clamp(min=0) / UNIT
    found = Segments(member.to(ι.dtype), begun, ended, first.clamp(max=medium.slots))
    return found, Told(first * UNIT + counted[:, -1], ids[:, -1], ι)


def _most(ended: Tensor) -> int:
    """n; no device says it of tensors that hold no values."""
    return 0 if ended.device.type == "meta" else int(ended.max())


def _information(
    config: ModelConfig, weights: Mapping[str, Tensor], interval: AdaptiveInterval, ids: Tensor, before: Told | None
) -> Tensor:
    """ι [B, T]"""
    row = before.token if before else torch.zeros_like(ids[:, 0])
    x = embedding(torch.cat([row[:, None], ids], dim=1), weights["emb.weight"])
    h = norm(config, weights, norm(config, weights, x, "blocks.0.ln0"), "blocks.0.ln1")
    h_prev = h[:, :-1] if before else torch.cat([torch.zeros_like(h[:, :1]), h[:, 1:-1]], dim=1)
    return information(weights, interval, h[:, 1:], h_prev)


def retrospect(
    w: Layer, medium: MediumConfig, h: Tensor, of: Segments, before: Mapping[str, Tensor], after: dict[str, Tensor]
) -> Tensor:
    """M [B, T, C]: every token reads the mediums of the K segments before its own; h is squeezed on the way."""
    K, n = medium.slots, of.member.shape[1] - 1
    S, G = _sums(w, medium, h, of.member, before)
    whole = torch.arange(n, device=h.device) < of.ended[:, None]  # in its row a segment that has ended
    m = excite(w, S[:, :n] / torch.where(whole[..., None], G[:, :n], 1))
    held = torch.cat([before[MEDIUM_BANK], m], dim=1)
    keys = torch.cat([before[MEDIUM_KEY], full(w.linear(m, "medium.key"))], dim=1)

    row, oldest = torch.arange(K + n, device=h.device), of.begun[..., None]
    visible = (oldest <= row) & (row < oldest + K) & (row >= K - of.held[:, None, None])
    scores = full(w.linear(h, "medium.query")) @ keys.mT / math.sqrt(medium.key_size)
    scores = pad(scores.masked_fill(~visible, -math.inf), (1, 0))  # the empty slot: score 0, nothing to recall
    M = torch.softmax(scores, dim=-1)[..., 1:] @ held

    after |= {MEDIUM_SUM: _from(S, of.ended, 1), MEDIUM_WEIGHT: _from(G, of.ended, 1)}
    after |= {MEDIUM_BANK: _from(held, of.ended, K), MEDIUM_KEY: _from(keys, of.ended, K)}
    return M


def _sums(
    w: Layer, medium: MediumConfig, h: Tensor, member: Tensor, before: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """S [B, n + 1, C] and G [B, n + 1, 1] of every segment."""
    with unmixed(h):
        g, member = significance(w, medium, h), member.to(h.dtype)
        later = (0, 0, 0, member.shape[1] - 1)  # what is carried belongs to the first segment
        return member @ (g * h) + pad(before[MEDIUM_SUM], later), member @ g + pad(before[MEDIUM_WEIGHT], later)


def _from(x: Tensor, first: Tensor, count: int) -> Tensor:
    """In every row of x [B, n, C] `count` from its first one on: [B, count, C]."""
    index = first[:, None] + torch.arange(count, device=x.device)
    return torch.take_along_dim(x, index[..., None].expand(len(x), -1, x.shape[2]), dim=1)


def state_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    medium, C = config.medium, config.hidden_size
    if medium is None:
        return {}
    bank = {MEDIUM_BANK: (medium.slots, C), MEDIUM_KEY: (medium.slots, medium.key_size)}
    return {MEDIUM_SUM: (1, C), MEDIUM_WEIGHT: (1, 1), **bank}
