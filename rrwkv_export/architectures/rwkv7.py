"""RWKV-7 (arXiv 2503.14456, Goose): the state is rewritten by the delta rule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rrwkv_export.architectures import huggingface, matrices
from rrwkv_export.architectures.base import HuggingFace, Shape, Shapes, Tensors
from rrwkv_export.architectures.fields import check_integer
from rrwkv_export.architectures.linears import OF_SQUARES, Fold, Scaled
from rrwkv_export.architectures.matrices import HeadsConfig

TITLE = "RWKV-7"
NAMES = ("rwkv7",)
FORMS = matrices.FORMS
HUGGING_FACE = HuggingFace(("rwkv7",), ("RWKV7ForCausalLM", "Rwkv7ForCausalLM"))
# The letter of each low-rank pair, and the field that has its rank.
RANKS = {"w": "decay_rank", "a": "rate_rank", "v": "value_rank", "g": "gate_rank"}


@dataclass(frozen=True)
class RWKV7Config(HeadsConfig):
    """Ranks of the low-rank matrices: decay_rank of w, rate_rank of a, value_rank of v, gate_rank of g."""

    decay_rank: int = field(kw_only=True)
    rate_rank: int = field(kw_only=True)
    value_rank: int = field(kw_only=True)
    gate_rank: int = field(kw_only=True)

    MIXES: ClassVar[dict[str, str]] = {"att": "rwkvag", "ffn": "k"}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in RANKS.values():
            check_integer("config", name, getattr(self, name))

    @property
    def architecture(self) -> str:
        return NAMES[0]

    def time_mix_shapes(self, layer: int) -> Shapes:
        C = self.hidden_size
        shapes: Shapes = {f"x_{q}": (C,) for q in self.MIXES["att"]}
        for z, rank in RANKS.items():
            if z == "v" and layer == 0:
                continue  # its own v is what later layers mix in
            R = getattr(self, rank)
            shapes |= {f"{z}1": (C, R), f"{z}2": (R, C)} | ({} if z == "g" else {f"{z}0": (C,)})
        shapes |= {"k_k": (C,), "k_a": (C,), "r_k": (self.heads, self.head_size)}
        shapes |= {f"{name}.weight": (C, C) for name in ("receptance", "key", "value", "output")}
        return shapes | {"ln_x.weight": (C,), "ln_x.bias": (C,)}

    def channel_mix_shapes(self) -> Shapes:
        C, F = self.hidden_size, self.ffn_size
        return {"x_k": (C,), "key.weight": (F, C), "value.weight": (C, F)}


Config = RWKV7Config


def sign(tensors: Mapping[str, Shape]) -> str | None:
    return next((name for name in tensors if name.endswith(".att.r_k")), None)


def infer(tensors: Tensors) -> RWKV7Config:
    V, C = tensors.matrix("emb.weight")
    F, _ = tensors.matrix("blocks.0.ffn.key.weight")
    _, N = tensors.matrix("blocks.0.att.r_k")
    L = len(tensors.layers)
    # Layer 0 may have no v1; where there is no other layer, no rank is used, and 1 stands for it.
    w, a, g = (tensors.matrix(f"blocks.0.att.{z}1")[1] for z in "wag")
    v = tensors.matrix("blocks.1.att.v1")[1] if L > 1 else 1
    return RWKV7Config(V, C, L, F, head_size=N, decay_rank=w, rate_rank=a, value_rank=v, gate_rank=g)


def from_huggingface(fields: Mapping[str, Any], tensors: Tensors) -> RWKV7Config:
    return huggingface.over(infer(tensors), fields)


def unused(name: str) -> bool:
    """Layer 0 has no v before its own to mix in; some files have the matrices all the same."""
    return re.fullmatch(r"blocks\.0\.att\.v[012]", name) is not None


states = matrices.states


def folds(config: RWKV7Config) -> Mapping[str, Fold]:
    """g = σ(x_g g1) g2 is linear in g2, whose columns are divided before the output; v's rate reads x_v too."""
    of_value = Fold("v", (Scaled("att.v1", 1, first_axis=True),))
    mixes = {"att.key": Fold("k"), "att.value": of_value, "att.receptance": Fold("r"), "ffn.key": Fold("k")}
    return {**mixes, "att.output": Fold(weights=(Scaled("att.g2"),)), "ffn.value": OF_SQUARES}
