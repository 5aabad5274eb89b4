"""A model by its variant, of as many parameters as are asked for.

A variant is what a run's parameters say: {"family": "rwkv7", "medium": {…} or null}, a family of FAMILIES. LSTM and GRU
get the channels that come closest; the others have the channels that they are given, and the width of what is
between (Transformer) or of the channel-mix (RWKV) makes up for what else they have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from examples.recall.models.recurrent import Recurrent
from examples.recall.models.rwkv import RWKV, rwkv_config
from examples.recall.models.transformer import Transformer
from rrwkv_export.errors import ConfigError

FAMILIES = ("lstm", "gru", "transformer", "rwkv4", "rwkv7")
Variant = Mapping[str, Any]


@dataclass(frozen=True)
class Sizes:
    """vocabulary: V. layers: L. channels: C, except of LSTM and GRU. head: channels of a head. parameters: in all."""

    vocabulary: int
    layers: int = 2
    channels: int = 64
    head: int = 32
    parameters: int = 110_000


def sizes(variant: Variant, of: Sizes) -> tuple[int, int]:
    """C, and F or 0, by which the model comes closest to the parameters. Raises ConfigError if that is over 3 % off."""
    near = _root([_parameters(variant, of, width) for width in (1, 2, 3)], of.parameters)
    best = min((near, near + 1), key=lambda width: abs(_parameters(variant, of, width) - of.parameters))
    found = _parameters(variant, of, best)
    if abs(found / of.parameters - 1) > 0.03:
        model = variant["family"] + (" with mediums" if variant["medium"] else "")
        raise ConfigError(f"{model}: {found:,} parameters are as near as it comes to {of.parameters:,}; ask for more")
    return (best, 0) if _recurrent(variant) else (of.channels, best)


def _root(counts: Sequence[int], wanted: int) -> int:
    """The last width, 1 or more, of no more parameters than wanted: they are a polynomial of the second degree in the
    width. counts: at 1, 2 and 3.
    """
    a = (counts[2] - 2 * counts[1] + counts[0]) / 2
    b = counts[1] - counts[0] - 3 * a
    c = counts[0] - a - b - wanted
    root = -c / b if a == 0 else (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    return max(1, math.floor(root))


def build(variant: Variant, of: Sizes, seed: int) -> nn.Module:
    """With its first weights; it gives logits [B, T, V] of ids [B, T]."""
    torch.manual_seed(seed)
    return _made(variant, of, *sizes(variant, of), seed)


def count(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


def _recurrent(variant: Variant) -> bool:
    return variant["family"] in ("lstm", "gru")


def _parameters(variant: Variant, of: Sizes, width: int) -> int:
    C, F = (width, 0) if _recurrent(variant) else (of.channels, width)
    if variant["family"] in ("rwkv4", "rwkv7"):
        return rwkv_config(variant["family"], *_shape(of, C, F), variant["medium"]).parameters()
    with torch.device("meta"):
        return count(_made(variant, of, C, F, 0))


def _made(variant: Variant, of: Sizes, C: int, F: int, seed: int) -> nn.Module:
    family = variant["family"]
    if _recurrent(variant):
        return Recurrent(family, of.vocabulary, C, of.layers)
    if family == "transformer":
        return Transformer(*_shape(of, C, F))
    return RWKV(rwkv_config(family, *_shape(of, C, F), variant["medium"]), seed)


def _shape(of: Sizes, C: int, F: int) -> tuple[int, int, int, int, int]:
    return of.vocabulary, C, of.layers, F, of.head
