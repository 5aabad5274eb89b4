"""What is carried from call to call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from rrwkv_export import architectures
from rrwkv_export.architectures.base import Array
from rrwkv_export.architectures.config import ModelConfig


def _nothing() -> Tensor:
    return torch.zeros(0)


@dataclass
class State:
    """What is carried from call to call, laid out as the exported graph's states are; each architecture adds its own.

    position: tokens seen. shift [L, 2, C]: last LN1 and LN2 outputs. medium_sum [L, 1, C] and medium_weight [L, 1, 1]:
    S, G. medium_bank [L, K, C], medium_key [L, K, R]: held mediums and their keys, newest last, unfilled rows in front.
    medium_information, medium_token: of an adaptive interval, I and the last token.
    """

    position: int
    shift: Tensor
    medium_sum: Tensor = field(default_factory=_nothing)
    medium_weight: Tensor = field(default_factory=_nothing)
    medium_bank: Tensor = field(default_factory=_nothing)
    medium_key: Tensor = field(default_factory=_nothing)
    medium_information: int = 0
    medium_token: int = -1

    @classmethod
    def initial(cls, config: ModelConfig, dtype: torch.dtype = torch.float64) -> Self:
        """Before the first token."""
        layouts = architectures.of(config).states(config, "plain")
        zeros: dict[str, Any] = {s.name: torch.zeros(s.shape, dtype=dtype) for s in layouts if s.dtype == "float32"}
        return cls(position=0, **zeros)

    @staticmethod
    def comparable(values: Mapping[str, Array]) -> dict[str, Array]:
        """States by name, in what all forms of them share."""
        return dict(values)

    def copy(self) -> Self:
        values: dict[str, Any] = {k: v.clone() if isinstance(v, Tensor) else v for k, v in vars(self).items()}
        return type(self)(**values)
