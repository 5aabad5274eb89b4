"""RWKV-4's time-mix (arXiv 2305.13048), with mediums RRWKV's; wkv is that of `huggingface.model.recurrence_rrwkv`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.rwkv4 import channel_mix as channel_mix
from rrwkv_export.huggingface.model.recurrence_rrwkv import EMPTY
from rrwkv_export.train.kernels import wkv
from rrwkv_export.train.models.precision import full


def time_mix(
    w: Layer,
    h: Tensor,
    h_prev: Tensor,
    M: Tensor | None,
    before: Mapping[str, Tensor],
    after: dict[str, Tensor],
    crossing: dict[str, Tensor],
) -> Tensor:
    """What is added to x [B, T, C]; the state of wkv is read in `before` and put into `after`."""
    k, v, r = (
        w.linear(w.mix("att", q, h, h_prev, M), f"att.{n}") for q, n in zip("kvr", ("key", "value", "receptance"))
    )
    u, d = w("att.time_first"), w("att.time_decay").exp()
    found, (after["wkv_log"], after["wkv_mean"]) = wkv(full(k), full(v), u, d, (before["wkv_log"], before["wkv_mean"]))
    return w.linear(torch.sigmoid(r) * found, "att.output")


def state_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return {"wkv_log": (config.attention_width,), "wkv_mean": (config.attention_width,)}


def state_fills(layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the states that do not begin with 0."""
    return {"wkv_log": torch.full_like(layer["wkv_log"], EMPTY)}
