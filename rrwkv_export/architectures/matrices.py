"""What RWKV-5, 6 and 7 share: H heads of N channels, and a matrix S [N, N] for each as the state of time-mix."""

from __future__ import annotations

from dataclasses import dataclass, field

from rrwkv_export.architectures.base import POSITION, SHIFT, Form, StateLayout
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.fields import check_integer
from rrwkv_export.architectures.mediums import medium_states
from rrwkv_export.errors import ConfigError

MATRIX = "matrix"
FORMS: tuple[Form, ...] = ("plain",)


@dataclass(frozen=True)
class HeadsConfig(ModelConfig):
    """head_size: N."""

    head_size: int = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("config", "head_size", self.head_size)
        if self.hidden_size % self.head_size:
            raise ConfigError(
                f"config: hidden_size must be a multiple of head_size, not {self.hidden_size} of {self.head_size}"
            )

    @property
    def heads(self) -> int:
        """H."""
        return self.hidden_size // self.head_size


def states(config: HeadsConfig, form: Form) -> tuple[StateLayout, ...]:
    L, C, H, N = config.num_layers, config.hidden_size, config.heads, config.head_size
    kept = (StateLayout(POSITION, (), "int64"), StateLayout(SHIFT, (L, 2, C)), StateLayout(MATRIX, (L, H, N, N)))
    return kept + medium_states(config.medium, L, C)
