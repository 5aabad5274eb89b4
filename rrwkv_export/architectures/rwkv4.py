"""RWKV-4 (arXiv 2305.13048), and RRWKV, which is its name where it has mediums (arXiv 2306.05176)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from rrwkv_export.architectures import huggingface
from rrwkv_export.architectures.base import (
    POSITION,
    SHIFT,
    Form,
    HuggingFace,
    Shape,
    Shapes,
    StateLayout,
    Tensors,
)
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.fields import check_integer
from rrwkv_export.architectures.linears import SQUARED_WITH_RECEPTANCE, Fold, Scaled
from rrwkv_export.architectures.mediums import medium_states
from rrwkv_export.errors import ConfigError

TITLE = "RWKV-4"
NAMES = ("rwkv4", "rrwkv")
FORMS: tuple[Form, ...] = ("plain", "stable")
HUGGING_FACE = HuggingFace(("rwkv",), ("RwkvForCausalLM",))
WKV = "wkv"
# Below exp(EMPTY) nothing is left of a float32, so an empty maximum never wins.
EMPTY = -1e30


@dataclass(frozen=True)
class RWKV4Config(ModelConfig):
    """attention_size: D, the channels of time-mix's key, value and receptance; None where it is C, as in most."""

    attention_size: int | None = None

    MIXES: ClassVar[dict[str, str]] = {"att": "kvr", "ffn": "kr"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention_size is not None:
            check_integer("config", "attention_size", self.attention_size)
            if self.attention_size == self.hidden_size:  # one model, one config
                object.__setattr__(self, "attention_size", None)

    @property
    def architecture(self) -> str:
        return "rwkv4" if self.medium is None else "rrwkv"

    @property
    def attention_width(self) -> int:
        return self.hidden_size if self.attention_size is None else self.attention_size

    def time_mix_shapes(self, layer: int) -> Shapes:
        C, D = self.hidden_size, self.attention_width
        shapes: Shapes = dict.fromkeys(("time_decay", "time_first"), (D,))
        shapes |= {f"time_mix_{q}": (C,) for q in self.MIXES["att"]}
        shapes |= {f"{name}.weight": (D, C) for name in ("key", "value", "receptance")}
        return shapes | {"output.weight": (C, D)}

    def channel_mix_shapes(self) -> Shapes:
        C, F = self.hidden_size, self.ffn_size
        shapes: Shapes = {f"time_mix_{q}": (C,) for q in self.MIXES["ffn"]}
        return shapes | {"key.weight": (F, C), "receptance.weight": (C, C), "value.weight": (C, F)}

    def to_json(self) -> dict[str, Any]:
        fields = super().to_json()
        if self.attention_size is None:
            del fields["attention_size"]
        return fields

    @classmethod
    def of_fields(cls, fields: dict[str, Any], owner: str) -> Self:
        config = super().of_fields(fields, owner)
        if fields.get("architecture") == "rwkv4" and config.medium is not None:
            raise ConfigError(f"{owner}: architecture rwkv4 has no medium; leave it out or say rrwkv")
        return config


Config = RWKV4Config


def sign(tensors: Mapping[str, Shape]) -> str | None:
    """It is what has no later one's sign."""
    return next(iter(tensors), None)


def infer(tensors: Tensors) -> RWKV4Config:
    V, C = tensors.matrix("emb.weight")
    F, _ = tensors.matrix("blocks.0.ffn.key.weight")
    D, _ = tensors.matrix("blocks.0.att.key.weight")
    return RWKV4Config(V, C, len(tensors.layers), F, attention_size=D)


def from_huggingface(fields: Mapping[str, Any], tensors: Tensors) -> RWKV4Config:
    sizes = huggingface.sizes(fields)
    sizes.setdefault("ffn_size", 4 * sizes["hidden_size"])
    return RWKV4Config(**sizes, attention_size=fields.get("attention_hidden_size"))


def unused(name: str) -> bool:
    return False


def states(config: RWKV4Config, form: Form) -> tuple[StateLayout, ...]:
    """wkv: A, B; in the stable form aa, bb, pp."""
    L, C, D = config.num_layers, config.hidden_size, config.attention_width
    plain, stable = StateLayout(WKV, (L, 2, D)), StateLayout(WKV, (L, 3, D), init=[[0], [0], [EMPTY]])
    kept = (StateLayout(POSITION, (), "int64"), StateLayout(SHIFT, (L, 2, C)), plain if form == "plain" else stable)
    return kept + medium_states(config.medium, L, C)


def folds(config: RWKV4Config) -> Mapping[str, Fold]:
    """wkv is linear in v, and its numerator A is carried in the units of what follows it."""
    of_wkv = Fold(weights=(Scaled("att.value.weight"),), signed=False, unit=True)
    mixes = {f"att.{name}": Fold(name[0]) for name in ("key", "value", "receptance")}
    return {**mixes, "att.output": of_wkv, **SQUARED_WITH_RECEPTANCE}
