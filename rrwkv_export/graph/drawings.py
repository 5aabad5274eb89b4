"""Which generation is drawn for which target: a module that is not there is a target that is not supported."""

from __future__ import annotations

from typing import cast

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.errors import CheckpointError
from rrwkv_export.graph.layer import Drawing
from rrwkv_export.graph.prefill import rwkv4, rwkv5, rwkv6, rwkv7

_ANY_LENGTH = {"rwkv4": rwkv4, "rrwkv": rwkv4, "rwkv5": rwkv5, "rwkv6": rwkv6, "rwkv7": rwkv7}
_TARGETS = {"cpu": set(_ANY_LENGTH), "cuda": {"rwkv4", "rrwkv"}, "mobile": set(_ANY_LENGTH)}


def drawing(config: ModelConfig) -> Drawing:
    """For any number of tokens, and for one on a CPU."""
    return cast(Drawing, _ANY_LENGTH[config.architecture])


def require_drawn(config: ModelConfig, target: str) -> None:
    """Raises CheckpointError for an architecture that has no graph for this target yet."""
    name = config.architecture
    if name not in _TARGETS[target]:
        fitting = [other for other, drawn in _TARGETS.items() if name in drawn]
        raise CheckpointError(f"there is no graph for {name} with --target {target} yet; give --target {fitting[0]}")
