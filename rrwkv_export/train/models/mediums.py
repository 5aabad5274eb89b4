"""Mediums of many rows at once, made by segments; what they are is in `architectures.reference.mediums`.

s interval    K slots    R key width    n segments that end in this call
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.mediums import MEDIUM_BANK, MEDIUM_KEY, MEDIUM_SUM, MEDIUM_WEIGHT, MediumConfig
from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.mediums import excite, significance
from rrwkv_export.train.models.precision import full, unmixed


def retrospect(
    w: Layer,
    medium: MediumConfig,
    h: Tensor,
    position: int,
    before: Mapping[str, Tensor],
    after: dict[str, Tensor],
) -> Tensor:
    """M [B, T, C]: every token reads the mediums of the K segments before its own; h is squeezed on the way."""
    T, s, K = h.shape[1], medium.interval, medium.slots
    segment = (position % s + torch.arange(T, device=h.device)) // s  # counts from the one that is open at first
    n = (position % s + T) // s
    S, G = _sums(w, medium, h, one_hot(segment, n + 1), before)
    m = excite(w, S[:, :n] / G[:, :n])
    held = torch.cat([before[MEDIUM_BANK], m], dim=1)
    keys = torch.cat([before[MEDIUM_KEY], full(w.linear(m, "medium.key"))], dim=1)

    row, oldest = torch.arange(K + n, device=h.device), segment[:, None]
    visible = (oldest <= row) & (row < oldest + K) & (row >= K - min(position // s, K))
    scores = full(w.linear(h, "medium.query")) @ keys.mT / math.sqrt(medium.key_size)
    scores = pad(scores.masked_fill(~visible, -math.inf), (1, 0))  # the empty slot: score 0, nothing to recall
    M = torch.softmax(scores, dim=-1)[..., 1:] @ held

    after |= {MEDIUM_SUM: S[:, n:], MEDIUM_WEIGHT: G[:, n:], MEDIUM_BANK: held[:, n:], MEDIUM_KEY: keys[:, n:]}
    return M


def _sums(
    w: Layer, medium: MediumConfig, h: Tensor, segments: Tensor, before: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """S [B, n + 1, C] and G [B, n + 1, 1] of every segment, the open one last. segments: one-hot [T, n + 1]."""
    with unmixed(h):
        g, member = significance(w, medium, h), segments.to(h.dtype).T
        later = (0, 0, 0, len(member) - 1)  # what is carried belongs to the first segment
        return member @ (g * h) + pad(before[MEDIUM_SUM], later), member @ g + pad(before[MEDIUM_WEIGHT], later)


def state_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    medium, C = config.medium, config.hidden_size
    if medium is None:
        return {}
    bank = {MEDIUM_BANK: (medium.slots, C), MEDIUM_KEY: (medium.slots, medium.key_size)}
    return {MEDIUM_SUM: (1, C), MEDIUM_WEIGHT: (1, 1), **bank}
