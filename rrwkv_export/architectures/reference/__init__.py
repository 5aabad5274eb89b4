"""What each architecture computes, in torch: what every exported graph is held against.

    common    what is the same in all of them: embedding, layers, head
    state     what is carried from call to call
    layer     weights of one layer, and the mixes
    mediums   making and reading mediums
    rwkv4 …   time-mix and channel-mix of one generation, to be read beside its definition

Each is there twice: `forward` for a whole sequence at once, `step` for one token. All arithmetic is float64, whatever
the weights are stored in; `forward` can also tell what float32 would cost.
"""

from __future__ import annotations

from typing import Any

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.reference import rwkv4, rwkv5, rwkv6, rwkv7
from rrwkv_export.architectures.reference.common import Reference
from rrwkv_export.architectures.reference.layer import Observer, Weights
from rrwkv_export.architectures.reference.state import State

_BY_NAME: dict[str, Reference[Any]] = {
    "rwkv4": rwkv4.REFERENCE,
    "rrwkv": rwkv4.REFERENCE,
    "rwkv5": rwkv5.REFERENCE,
    "rwkv6": rwkv6.REFERENCE,
    "rwkv7": rwkv7.REFERENCE,
}

__all__ = ["Observer", "Reference", "State", "Weights", "of"]


def of(config: ModelConfig) -> Reference[Any]:
    """What a config's architecture computes."""
    return _BY_NAME[config.architecture]
