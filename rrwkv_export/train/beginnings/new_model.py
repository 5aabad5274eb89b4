"""A model that begins with nothing: its sizes, its tokens, its first weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwkv_export.architectures.config import MediumConfig, ModelConfig
from rrwkv_export.architectures.fields import LARGEST
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.architectures.rwkv7 import RWKV7Config
from rrwkv_export.errors import TrainingError
from rrwkv_export.train.begin import Beginning
from rrwkv_export.train.data.vocabulary import SMALLEST, found, made_of
from rrwkv_export.train.models.initial import initial_weights

DEFAULT_VOCABULARY = 4096
# Ranks of RWKV-7's low-rank matrices: so many times the root of the channels, rounded to 32s (BlinkDL/RWKV-LM).
_RANKS = {"decay_rank": 2.5, "rate_rank": 2.5, "value_rank": 1.7, "gate_rank": 5.0}


@dataclass(frozen=True)
class Sizes:
    """ffn: None for four times the channels. head_size: of RWKV-7. medium: None for none."""

    architecture: str
    layers: int
    channels: int
    ffn: int | None = None
    head_size: int = 64
    medium: MediumConfig | None = None

    def config(self, vocabulary: int) -> ModelConfig:
        """Raises ConfigError, TrainingError."""
        C = self.channels
        if self.ffn is None and 4 * C > LARGEST:
            raise TrainingError(f"--channels {C}: four times as many in the channel-mix are too many; give --ffn too")
        sizes = (vocabulary, C, self.layers, self.ffn or 4 * C)
        if self.architecture == "rwkv7":
            if C % self.head_size:
                raise TrainingError(
                    f"--channels {C}: no multiple of the heads' {self.head_size}; give one, or another --head-size"
                )
            ranks: dict[str, Any] = {name: max(32, round(by * math.sqrt(C) / 32) * 32) for name, by in _RANKS.items()}
            return RWKV7Config(*sizes, medium=self.medium, head_size=self.head_size, **ranks)
        return RWKV4Config(*sizes, medium=self.medium)


def new_model(
    texts: Sequence[Path], sizes: Sizes, seed: int, *, vocabulary: int | None, tokenizer: str | None, chat: str | None
) -> Beginning:
    """vocabulary: tokens; None for 4,096, or for the tokenizer's own. tokenizer: a file, "world", None to make one.

    Raises TrainingError, ConfigError, TextError, CheckpointError.
    """
    sizes.config(SMALLEST)  # its own errors before the texts are read
    if tokenizer is None:
        tokens = made_of(texts, vocabulary or DEFAULT_VOCABULARY)
    else:
        tokens = found(tokenizer, vocabulary, chat)
    config = sizes.config(tokens.size)
    return Beginning(config, initial_weights(config, seed), tokens)
