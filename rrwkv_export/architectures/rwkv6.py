"""RWKV-6 (arXiv 2404.05892, Finch): RWKV-5.2 whose mixes and decay depend on the token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rrwkv_export.architectures import huggingface, matrices
from rrwkv_export.architectures.base import HuggingFace, Shape, Shapes, Tensors
from rrwkv_export.architectures.fields import check_integer
from rrwkv_export.architectures.linears import OF_GROUP_NORM, SQUARED_WITH_RECEPTANCE, Fold, Scaled
from rrwkv_export.architectures.matrices import HeadsConfig

TITLE = "RWKV-6"
NAMES = ("rwkv6",)
FORMS = matrices.FORMS
HUGGING_FACE = HuggingFace(("rwkv6",), ("Rwkv6ForCausalLM",))


@dataclass(frozen=True)
class RWKV6Config(HeadsConfig):
    """mix_rank: of the mixes' low-rank matrices, for each of the five. decay_rank: of the decay's."""

    mix_rank: int = field(kw_only=True)
    decay_rank: int = field(kw_only=True)

    MIXES: ClassVar[dict[str, str]] = {"att": "wkvrg", "ffn": "kr"}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mix_rank", "decay_rank"):
            check_integer("config", name, getattr(self, name))

    @property
    def architecture(self) -> str:
        return NAMES[0]

    def time_mix_shapes(self, layer: int) -> Shapes:
        C, mixes = self.hidden_size, self.MIXES["att"]
        shapes: Shapes = {f"time_maa_{q}": (C,) for q in ("x", *mixes)}
        shapes |= {"time_maa_w1": (C, len(mixes) * self.mix_rank), "time_maa_w2": (len(mixes), self.mix_rank, C)}
        shapes |= {"time_decay": (C,), "time_decay_w1": (C, self.decay_rank), "time_decay_w2": (self.decay_rank, C)}
        shapes |= {"time_faaaa": (self.heads, self.head_size)}
        shapes |= {f"{name}.weight": (C, C) for name in ("receptance", "key", "value", "output", "gate")}
        return shapes | {"ln_x.weight": (C,), "ln_x.bias": (C,)}

    def channel_mix_shapes(self) -> Shapes:
        C, F = self.hidden_size, self.ffn_size
        shapes: Shapes = {f"time_maa_{q}": (C,) for q in self.MIXES["ffn"]}
        return shapes | {"key.weight": (F, C), "receptance.weight": (C, C), "value.weight": (C, F)}


Config = RWKV6Config


def sign(tensors: Mapping[str, Shape]) -> str | None:
    return next((name for name in tensors if name.endswith(".att.time_maa_x")), None)


def infer(tensors: Tensors) -> RWKV6Config:
    V, C = tensors.matrix("emb.weight")
    F, _ = tensors.matrix("blocks.0.ffn.key.weight")
    _, N = tensors.matrix("blocks.0.att.time_faaaa")
    _, ranks = tensors.matrix("blocks.0.att.time_maa_w1")
    _, decay = tensors.matrix("blocks.0.att.time_decay_w1")
    mixes = len(RWKV6Config.MIXES["att"])
    return RWKV6Config(V, C, len(tensors.layers), F, head_size=N, mix_rank=ranks // mixes, decay_rank=decay)


def from_huggingface(fields: Mapping[str, Any], tensors: Tensors) -> RWKV6Config:
    return huggingface.over(infer(tensors), fields)


def unused(name: str) -> bool:
    return False


states = matrices.states


def folds(config: RWKV6Config) -> Mapping[str, Fold]:
    """As RWKV-5's; of a mix also what the token itself adds to it, M_q = m_q time_maa_w2[q]."""
    added = (Scaled("att.time_maa_w2"),)
    mixes = {
        f"att.{name}": Fold(name[0], added, config.mixes["att"].index(name[0]))
        for name in ("key", "value", "receptance", "gate")
    }
    return {**mixes, "att.output": OF_GROUP_NORM, **SQUARED_WITH_RECEPTANCE}
