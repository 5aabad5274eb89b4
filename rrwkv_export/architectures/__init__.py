"""The models: a room a generation, which is all that is special about it.

base           what a room has: the protocol, and the records in it
rwkv4 … rwkv7  config, weight names, states, how it is recognised; rrwkv is RWKV-4 with mediums
mediums        what any of them can have
matrices       what RWKV-5, 6 and 7 share: heads whose state is a matrix
config         what all configs share, and their JSON
dialects       names of Hugging Face's folders
linears        the matrices that quantization sees
reference      what each of them computes, in torch; all else here is free of it
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from rrwkv_export.architectures import rwkv4, rwkv5, rwkv6, rwkv7
from rrwkv_export.architectures.base import Architecture, Shape
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.errors import ConfigError
from rrwkv_runtime.common.reading import short

# The latest first, as a later one keeps names of the earlier; RWKV-4 is what has no other's sign.
ARCHITECTURES: tuple[Architecture[Any], ...] = (rwkv7, rwkv6, rwkv5, rwkv4)
NAMES = tuple(sorted(name for room in ARCHITECTURES for name in room.NAMES))
SUPPORTED = "RRWKV, RWKV-4, 5, 6 and 7 are what is supported"
# Other models, by the names that only they have.
_OTHERS = (
    ("RWKV-8", re.compile(r"(^|\.)rosa\w*\.")),
    ("RWKV-7b", re.compile(r"(^|\.)blocks\.\d+\.qkv\.")),
    ("RWKV-7a", re.compile(r"\.ffn\.s_emb")),
    # Its GroupNorm has another epsilon than RWKV-6's own.
    ("RWKV-6 (flash-linear-attention)", re.compile(r"\.att\.x_proj\.")),
)
C = TypeVar("C", bound=ModelConfig)


def of(config: C) -> Architecture[C]:
    """The room of a config."""
    return cast("Architecture[C]", next(room for room in ARCHITECTURES if config.architecture in room.NAMES))


def named(word: object, owner: str) -> Architecture[Any]:
    """The room that a config's `architecture` names. Raises ConfigError, which names the owner."""
    for room in ARCHITECTURES:
        if word in room.NAMES:
            return room
    raise ConfigError(f"{owner}: architecture {short(word)} is not one of {', '.join(NAMES)}")


def recognise(tensors: Mapping[str, Shape]) -> Architecture[Any]:
    """The room of a checkpoint, by the names and shapes of its tensors."""
    return next((room for room in ARCHITECTURES if room.sign(tensors)), rwkv4)


def unsupported(names: Mapping[str, object]) -> tuple[str, str] | None:
    """A model that is none of these, though its tensors look like it, and the name that shows it."""
    return next(((model, name) for model, sign in _OTHERS for name in names if sign.search(name)), None)
