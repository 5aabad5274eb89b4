"""Names of the graph's inputs and outputs, and the layout of its states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rrwkv_export.architectures.config import ModelConfig

INPUT_IDS, NUM_LOGITS, LOGITS = "input_ids", "num_logits", "logits"
POSITION, SHIFT, WKV = "position", "shift", "wkv"
MEDIUM_SUM, MEDIUM_WEIGHT, MEDIUM_BANK, MEDIUM_KEY = "medium_sum", "medium_weight", "medium_bank", "medium_key"
# States that change only where a segment ends, and all that do so there.
READ_ONLY = (MEDIUM_BANK, MEDIUM_KEY)
MADE_AT_END = (MEDIUM_SUM, MEDIUM_WEIGHT, *READ_ONLY)

WKVForm = Literal["plain", "stable"]
WeightsDtype = Literal["float32", "float16"]
Over = Literal["loop", "chunked", "decode_cpu", "decode_gpu", "segment_end"]
"""How a graph runs over its tokens: see `rrwkv_export.graph.recurrence`, `.prefill.chunked`, `.decode_cpu`,
`.decode_gpu`, and `.segment_end` for the one that takes none."""

# Below exp(EMPTY) nothing is left of a float32, so an empty maximum never wins.
EMPTY = -1e30


@dataclass(frozen=True)
class StateLayout:
    """One state: input `name`, output `name + "_out"`; init broadcasts to the shape."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "int64"] = "float32"
    init: float | list[Any] = 0

    @property
    def output(self) -> str:
        return f"{self.name}_out"


def row_name(state: str, layer: int) -> str:
    """The input for one layer's share of a state, where a graph takes it apart."""
    return f"{state}.{layer}"


def state_layout(config: ModelConfig, wkv: WKVForm) -> tuple[StateLayout, ...]:
    """The states in the order of the graph's inputs."""
    L, C, D, medium = config.num_layers, config.hidden_size, config.attention_width, config.medium
    states = [
        StateLayout(POSITION, (), "int64"),
        StateLayout(SHIFT, (L, 2, C)),
        StateLayout(WKV, (L, 2, D)) if wkv == "plain" else StateLayout(WKV, (L, 3, D), init=[[0], [0], [EMPTY]]),
    ]
    if medium:
        K, R = medium.slots, medium.key_size
        states += [
            StateLayout(MEDIUM_SUM, (L, 1, C)),
            StateLayout(MEDIUM_WEIGHT, (L, 1, 1)),
            StateLayout(MEDIUM_BANK, (L, K, C)),
            StateLayout(MEDIUM_KEY, (L, K, R)),
        ]
    return tuple(states)
