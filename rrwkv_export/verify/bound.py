"""What no token's keys can exceed, after any text: the plain form of wkv is right where its range holds that.

A key is linear in three things, each of which lies within an ellipsoid whatever the tokens are:

    k = W (a ⊙ h) + W ((1 - a) ⊙ h') + W (c ⊙ M)          a = time_mix_k, c = medium_mix_k
    h, h' = g ⊙ z + b      z a normalized row: its mean is 0, its length at most √C (LayerNorm; g gain, b bias)
    M = Σ aᵢ mᵢ            Σ aᵢ < 1;  mᵢ = s ⊙ z̄,  0 < s < 1;  z̄ a weighted mean of h (squeeze)

So by Cauchy and Schwarz, for each channel w of W (P takes the mean out):

    |w · (y ⊙ h)| <= √C |P(w ⊙ y ⊙ g)| + |w · (y ⊙ b)|
    |w · (c ⊙ M)| <= (√C |P(w')| + |w · (c ⊙ b)| + √C |w'| + Σ |w ⊙ c ⊙ b|) / 2
                     with w' = w ⊙ c ⊙ g and s = 1/2 + (s - 1/2)

The same holds for values. A and B are sums of exp(k) v and exp(k), decaying by exp(-d) a token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.graph.prefill.rwkv4_chunked import LARGEST_KEY

_ROUNDING = 1.04  # what rounding adds to a key, that of quantized weights and inputs included
_LARGEST = math.log(np.finfo(np.float32).max)
_MOST_ADDED = 2.0**25  # without decay a float32 sum stops growing at 2^24 times what is added


@dataclass(frozen=True)
class KeyBound:
    """key: what no |k| exceeds. exponent: what no logarithm of A, B, or a token's own share in wkv exceeds."""

    key: float
    exponent: float

    @property
    def form(self) -> WKVForm:
        """The form of wkv that is right for every token after any text."""
        inside = self.key * _ROUNDING <= LARGEST_KEY["plain"] and self.exponent < _LARGEST
        return "plain" if inside else "stable"

    def doubt(self, form: WKVForm, blocked: bool = False) -> str:
        """Why a graph of this form is not proven right for every token; "" if it is. blocked: made for CUDA."""
        limit = LARGEST_KEY[form] if blocked or form == "plain" else math.inf
        if self.key * _ROUNDING <= limit and (form == "stable" or self.form == "plain"):
            return ""
        what = "the plain form of wkv" if form == "plain" else "wkv for CUDA"
        remedy = "--wkv stable" if form == "plain" and not blocked else "--target cpu, or mobile,"
        remedy = f"{remedy} is right for any"
        if self.key * _ROUNDING > limit:
            return f"{what} clips keys to ±{limit:.0f}, and up to {self.key:.0f} are possible; {remedy}"
        return f"{what} holds sums up to exp({_LARGEST:.0f}), and exp({self.exponent:.0f}) is possible; {remedy}"


@torch.inference_mode()
def key_bound(config: ModelConfig, weights: Mapping[str, Tensor]) -> KeyBound:
    """Over all layers and channels; weights are asked for one layer at a time."""
    found = [_layer_bound(config, weights, i) for i in range(config.num_layers)]
    return KeyBound(max(key for key, _ in found), max(exponent for _, exponent in found))


def _layer_bound(config: ModelConfig, weights: Mapping[str, Tensor], index: int) -> tuple[float, float]:
    def get(name: str) -> Tensor:
        return weights[f"blocks.{index}.{name}"].double()

    gain, bias = get("ln1.weight"), get("ln1.bias")
    keys, values = (
        _projected(
            get(f"att.{name}.weight"),
            get(f"att.time_mix_{p}"),
            get(f"att.medium_mix_{p}") if config.medium else None,
            gain,
            bias,
        )
        for p, name in (("k", "key"), ("v", "value"))
    )
    kept = torch.exp(-get("att.time_decay").exp()).float().double()
    growth = (1 / (1 - kept)).clamp(max=_MOST_ADDED).log()
    largest = _ROUNDING * keys + torch.maximum(get("att.time_first"), growth) + values.clamp(min=1).log()
    return float(keys.max()), float(largest.max()) + math.log(2 * _ROUNDING)  # 2: a token beside what came before


def _projected(W: Tensor, mix: Tensor, medium_mix: Tensor | None, gain: Tensor, bias: Tensor) -> Tensor:
    """What no |W (mix(p))| exceeds, by output: [C]."""
    root = math.sqrt(len(gain))
    spread: Tensor = root * (_centred(W * (mix * gain)) + _centred(W * ((1 - mix) * gain)))
    shift = torch.maximum((W @ bias).abs(), (W @ (mix * bias)).abs())  # h' is 0 before the first token
    if medium_mix is None:
        return spread + shift
    W = W * medium_mix
    scaled = W * gain
    medium = root * (_centred(scaled) + _length(scaled)) + (W @ bias).abs() + (W * bias).abs().sum(dim=1)
    return spread + shift + medium / 2


def _centred(rows: Tensor) -> Tensor:
    """The length of each row without its mean: [C]."""
    return _length(rows - rows.mean(dim=1, keepdim=True))


def _length(rows: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return length
