"""One layer's weights, and the mixes of h with the previous token's h'; M is what the token recalls from mediums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from rrwkv_export.architectures.config import ModelConfig

Weights = Mapping[str, Tensor]
Observer = Callable[[str, Tensor], None]
"""Called with a value's name ("blocks.3.time_mix.key") and the value, [T, ...] of the arithmetic's dtype."""


def norm(config: ModelConfig, weights: Weights, x: Tensor, name: str) -> Tensor:
    weight, bias = (weights[f"{name}.{part}"].to(x.dtype) for part in ("weight", "bias"))
    return layer_norm(x, (config.hidden_size,), weight, bias, config.layer_norm_epsilon)


class Layer:
    """One layer's weights by their short names, converted when asked for and not kept."""

    def __init__(
        self,
        config: Any,
        weights: Weights,
        index: int,
        observe: Observer | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.config, self.weights, self.index, self.observe, self.dtype = config, weights, index, observe, dtype

    def __call__(self, name: str) -> Tensor:
        return self.weights[f"blocks.{self.index}.{name}"].to(self.dtype)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self(f"{name}.weight").T

    def norm(self, x: Tensor, name: str) -> Tensor:
        return norm(self.config, self.weights, x, f"blocks.{self.index}.{name}")

    def recalled(self, mixed: Tensor, block: str, q: str, M: Tensor | None) -> Tensor:
        """A mix with M ⊙ medium_mix_q added, if there are mediums."""
        return mixed if M is None else mixed + M * self(f"{block}.medium_mix_{q}")

    def mix(self, block: str, q: str, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
        """mix(q) = h ⊙ time_mix_q + h' ⊙ (1 - time_mix_q) + M ⊙ medium_mix_q, of RWKV-4 and 5"""
        a = self(f"{block}.time_mix_{q}")
        return self.recalled(h * a + h_prev * (1 - a), block, q, M)

    def moved(self, block: str, q: str, name: str, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
        """mix(q) = h + (h' - h) ⊙ name + M ⊙ medium_mix_q, of RWKV-6 and 7"""
        return self.recalled(h + (h_prev - h) * self(f"{block}.{name}"), block, q, M)

    def see(self, name: str, value: Tensor) -> None:
        if self.observe:
            self.observe(f"blocks.{self.index}.{name}", value)
