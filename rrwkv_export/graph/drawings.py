"""Which generation is drawn for which target: a module that is not there is a target that is not supported."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.errors import CheckpointError
from rrwkv_export.graph.decode_gpu.layers import Layers
from rrwkv_export.graph.decode_gpu.rwkv4 import RWKV4Layers
from rrwkv_export.graph.decode_gpu.rwkv7 import RWKV7Layers
from rrwkv_export.graph.layer import Chunked, Drawing
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.graph.prefill import rwkv4, rwkv4_chunked, rwkv5, rwkv6, rwkv7, rwkv7_chunked
from rrwkv_export.onnx.scope import Scope

InChunks = Callable[[Scope, ModelConfig, ir.Value, WKVForm], Chunked]
"""scope, config, T int64 [1], the form of wkv -> how a run of T tokens goes over them"""
_ANY_LENGTH = {"rwkv4": rwkv4, "rrwkv": rwkv4, "rwkv5": rwkv5, "rwkv6": rwkv6, "rwkv7": rwkv7}
_IN_CHUNKS: dict[str, InChunks] = {
    "rwkv4": rwkv4_chunked.blocks,
    "rrwkv": rwkv4_chunked.blocks,
    "rwkv7": rwkv7_chunked.blocks,
}
_STEPS: dict[str, type[Layers]] = {"rwkv4": RWKV4Layers, "rrwkv": RWKV4Layers, "rwkv7": RWKV7Layers}
_TARGETS = {"cpu": set(_ANY_LENGTH), "cuda": set(_STEPS), "mobile": set(_ANY_LENGTH)}


def drawing(config: ModelConfig) -> Drawing:
    """For any number of tokens, and for one on a CPU."""
    return cast(Drawing, _ANY_LENGTH[config.architecture])


def in_chunks(config: ModelConfig) -> InChunks:
    """For any number of tokens without a loop."""
    return _IN_CHUNKS[config.architecture]


def step_layers(config: ModelConfig) -> type[Layers]:
    """For one token on an accelerator."""
    return _STEPS[config.architecture]


def require_drawn(config: ModelConfig, target: str) -> None:
    """Raises CheckpointError for an architecture that has no graph for this target yet."""
    name = config.architecture
    if name not in _TARGETS[target]:
        fitting = [other for other, drawn in _TARGETS.items() if name in drawn]
        raise CheckpointError(f"there is no graph for {name} with --target {target} yet; give --target {fitting[0]}")
