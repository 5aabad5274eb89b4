"""Which module draws a generation in fixed shapes."""

from __future__ import annotations

from typing import cast

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.graph.fixed_shape import rwkv4, rwkv5, rwkv6, rwkv7
from rrwkv_export.graph.fixed_shape.making import FixedDrawing

_DRAWINGS = {"rwkv4": rwkv4, "rrwkv": rwkv4, "rwkv5": rwkv5, "rwkv6": rwkv6, "rwkv7": rwkv7}


def fixed_drawing(config: ModelConfig) -> FixedDrawing:
    """Of the architectures that `rrwkv_export.graph.drawings` has for --target mobile."""
    return cast(FixedDrawing, _DRAWINGS[config.architecture])
