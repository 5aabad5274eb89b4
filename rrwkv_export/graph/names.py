"""Names of the graph's inputs and outputs, and the layout of its states."""

from __future__ import annotations

from typing import Literal

from rrwkv_export import architectures
from rrwkv_export.architectures.base import POSITION, SHIFT, Form, StateLayout
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.matrices import MATRIX
from rrwkv_export.architectures.mediums import (
    MEDIUM_BANK,
    MEDIUM_INFORMATION,
    MEDIUM_KEY,
    MEDIUM_SUM,
    MEDIUM_TOKEN,
    MEDIUM_WEIGHT,
)
from rrwkv_export.architectures.rwkv4 import EMPTY, WKV

__all__ = [
    "EMPTY",
    "INPUT_IDS",
    "LOGITS",
    "MADE_AT_END",
    "MATRIX",
    "MEDIUM_BANK",
    "MEDIUM_INFORMATION",
    "MEDIUM_KEY",
    "MEDIUM_SUM",
    "MEDIUM_TOKEN",
    "MEDIUM_WEIGHT",
    "NUM_LOGITS",
    "POSITION",
    "READ_ONLY",
    "SHIFT",
    "WKV",
    "Over",
    "StateLayout",
    "WKVForm",
    "WeightsDtype",
    "is_adaptive",
    "row_name",
    "state_layout",
    "taken_at_end",
]

INPUT_IDS, NUM_LOGITS, LOGITS = "input_ids", "num_logits", "logits"
# States that change only where a segment ends, and all that do so there.
READ_ONLY = (MEDIUM_BANK, MEDIUM_KEY)
MADE_AT_END = (MEDIUM_SUM, MEDIUM_WEIGHT, *READ_ONLY)

WKVForm = Form
WeightsDtype = Literal["float32", "float16"]
Over = Literal["loop", "chunked", "decode_cpu", "decode_gpu", "segment_end"]
"""How a graph runs over its tokens: see `rrwkv_export.graph.recurrence`, `.prefill` (`rwkv4_chunked`, `rwkv7_chunked`),
`.decode_cpu`, `.decode_gpu`, and `.segment_end` for the one that takes none."""


def row_name(state: str, layer: int) -> str:
    """The input for one layer's share of a state, where a graph takes it apart."""
    return f"{state}.{layer}"


def is_adaptive(config: ModelConfig) -> bool:
    """Whether there are mediums whose interval follows the text."""
    return config.medium is not None and config.medium.adaptive is not None


def taken_at_end(config: ModelConfig) -> tuple[str, ...]:
    """What the graph of a segment's end takes: what is made there, and of an adaptive interval what tells the rest of
    the token on the border.
    """
    return (*MADE_AT_END, MEDIUM_INFORMATION, SHIFT) if is_adaptive(config) else MADE_AT_END


def state_layout(config: ModelConfig, wkv: WKVForm) -> tuple[StateLayout, ...]:
    """The states in the order of the graph's inputs."""
    return architectures.of(config).states(config, wkv)
