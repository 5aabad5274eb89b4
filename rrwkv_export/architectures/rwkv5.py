"""RWKV-5 (arXiv 2404.05892, Eagle): 5.2, and the two before it, whose decay and bonus are one number a head.

5.1 has those two as [H]; 5.0 has no gate either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rrwkv_export.architectures import huggingface, matrices
from rrwkv_export.architectures.base import HuggingFace, Shape, Shapes, Tensors
from rrwkv_export.architectures.fields import check_choice
from rrwkv_export.architectures.linears import OF_GROUP_NORM, SQUARED_WITH_RECEPTANCE, Fold
from rrwkv_export.architectures.matrices import HeadsConfig

TITLE = "RWKV-5"
NAMES = ("rwkv5",)
FORMS = matrices.FORMS
HUGGING_FACE = HuggingFace(("rwkv5",), ("Rwkv5ForCausalLM",))
VERSIONS = ("5.2", "5.1", "5.0")


@dataclass(frozen=True)
class RWKV5Config(HeadsConfig):
    """version: "5.2", "5.1" or "5.0"."""

    version: str = "5.2"

    MIXES: ClassVar[dict[str, str]] = {"att": "kvrg", "ffn": "kr"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("config", "version", self.version, VERSIONS)

    @property
    def architecture(self) -> str:
        return NAMES[0]

    @property
    def gated(self) -> bool:
        return self.version != "5.0"

    @property
    def bonus(self) -> str:
        """The name of u, which 5.2 has as it is, the others as its logarithm."""
        return "time_faaaa" if self.version == "5.2" else "time_first"

    @property
    def mixes(self) -> dict[str, str]:
        return self.MIXES if self.gated else {**self.MIXES, "att": "kvr"}

    def time_mix_shapes(self, layer: int) -> Shapes:
        C, H, N = self.hidden_size, self.heads, self.head_size
        rates = (H, N) if self.version == "5.2" else (H,)
        shapes: Shapes = {f"time_mix_{q}": (C,) for q in self.mixes["att"]}
        shapes |= {"time_decay": rates, self.bonus: rates}
        linears = ("receptance", "key", "value", "output", *(["gate"] if self.gated else []))
        shapes |= {f"{name}.weight": (C, C) for name in linears}
        return shapes | {"ln_x.weight": (C,), "ln_x.bias": (C,)}

    def channel_mix_shapes(self) -> Shapes:
        C, F = self.hidden_size, self.ffn_size
        shapes: Shapes = {f"time_mix_{q}": (C,) for q in self.mixes["ffn"]}
        return shapes | {"key.weight": (F, C), "receptance.weight": (C, C), "value.weight": (C, F)}


Config = RWKV5Config


def sign(tensors: Mapping[str, Shape]) -> str | None:
    return next((name for name in tensors if name.endswith((".att.ln_x.weight", ".att.time_faaaa"))), None)


def infer(tensors: Tensors) -> RWKV5Config:
    V, C = tensors.matrix("emb.weight")
    F, _ = tensors.matrix("blocks.0.ffn.key.weight")
    rates = tensors["blocks.0.att.time_decay"]
    by_channel = "blocks.0.att.time_faaaa" in tensors or (len(rates) == 2 and rates[1] > 1)
    version = "5.2" if by_channel else "5.1" if "blocks.0.att.gate.weight" in tensors else "5.0"
    N = C // rates[0] if rates and rates[0] else 0
    return RWKV5Config(V, C, len(tensors.layers), F, head_size=N, version=version)


def from_huggingface(fields: Mapping[str, Any], tensors: Tensors) -> RWKV5Config:
    return huggingface.over(infer(tensors), fields)


def unused(name: str) -> bool:
    return False


states = matrices.states


def folds(config: RWKV5Config) -> Mapping[str, Fold]:
    """The gate multiplies what GroupNorm gives, so the norm's gain and bias are divided before the output."""
    mixes = {f"att.{name}": Fold(name[0]) for name in ("key", "value", "receptance", "gate")}
    return {**mixes, "att.output": OF_GROUP_NORM, **SQUARED_WITH_RECEPTANCE}
