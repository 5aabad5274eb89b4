"""Which architectures the kernels know."""

from __future__ import annotations

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.kernels.matrices import RWKV5, RWKV6, RWKV7
from rrwkv_export.kernels.room import Room
from rrwkv_export.kernels.rwkv4 import RWKV4, WKV

_ROOMS = {"rwkv4": RWKV4, "rrwkv": RWKV4, "rwkv5": RWKV5, "rwkv6": RWKV6, "rwkv7": RWKV7}
OPERATORS = frozenset({WKV, *(name for room in _ROOMS.values() for name in (room.step, room.main))})


def room_of(config: ModelConfig) -> Room | None:
    """What the kernels know of models of this config."""
    return _ROOMS.get(config.architecture)
