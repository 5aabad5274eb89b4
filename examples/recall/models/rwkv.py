"""RWKV-4 and RWKV-7, with mediums or without, as the package trains them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.mediums import AdaptiveInterval, medium_from_json
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.architectures.rwkv7 import RWKV7Config
from rrwkv_export.train.models import Model, State
from rrwkv_export.train.models.initial import initial_weights

_RANK = 16  # of RWKV-7's low-rank matrices


def rwkv_config(family: str, V: int, C: int, L: int, F: int, N: int, medium: Mapping[str, Any] | None) -> ModelConfig:
    """V tokens, C channels, L layers, F the channel-mix's width, N channels a head. medium: as in config.json."""
    found = medium_from_json(dict(medium) if medium else None, "medium")
    if family == "rwkv4":
        return RWKV4Config(V, C, L, F, medium=found)
    ranks: dict[str, int] = dict.fromkeys(("decay_rank", "rate_rank", "value_rank", "gate_rank"), _RANK)
    return RWKV7Config(V, C, L, F, medium=found, head_size=N, **ranks)


class RWKV(nn.Module):
    """The package's model, with its first weights."""

    def __init__(self, config: ModelConfig, seed: int) -> None:
        super().__init__()
        self.model = Model(config, initial_weights(config, seed))

    @property
    def adaptive(self) -> AdaptiveInterval | None:
        medium = self.model.config.medium
        return medium.adaptive if medium else None

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]."""
        return self.run(ids)[0]

    def run(self, ids: Tensor) -> tuple[Tensor, State]:
        """The same, and the state after them."""
        found: tuple[Tensor, State] = self.model(ids)
        return found
