"""What any architecture can have: mediums, made of past segments by squeeze and excitation, which every token reads.

They belong to no generation: they read a block's h, and what is recalled, M, enters wherever a block mixes h with the
token's before: its mix for q gets M ⊙ medium_mix_q added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rrwkv_export.architectures.base import Shapes, StateLayout
from rrwkv_export.architectures.fields import check_choice, check_integer, known_fields
from rrwkv_export.errors import ConfigError

MEDIUM_SUM, MEDIUM_WEIGHT, MEDIUM_BANK, MEDIUM_KEY = "medium_sum", "medium_weight", "medium_bank", "medium_key"
SQUEEZES = ("attention", "mean")


@dataclass(frozen=True)
class MediumConfig:
    """How past information is squeezed into mediums.

    interval: s, tokens per medium. squeeze: "attention" or "mean". reduction: C // reduction (at least 8) is E, the
    excitation's bottleneck. slots: K, how many past mediums a token reads. key_size: R, width of query and keys.
    """

    interval: int
    squeeze: Literal["attention", "mean"] = "attention"
    reduction: int = 16
    slots: int = 1
    key_size: int = 64

    def __post_init__(self) -> None:
        for name in ("interval", "reduction", "slots", "key_size"):
            check_integer("medium", name, getattr(self, name))
        check_choice("medium", "squeeze", self.squeeze, SQUEEZES)

    def bottleneck(self, hidden_size: int) -> int:
        """E, the width of the excitation's bottleneck for C channels."""
        return max(hidden_size // self.reduction, 8)


def medium_from_json(fields: object, owner: str) -> MediumConfig | None:
    """Raises ConfigError for anything that is neither null nor exactly a medium's config."""
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise ConfigError(f"{owner}: medium must be an object or null")
    return MediumConfig(**known_fields(MediumConfig, f"{owner}: medium", fields))


def medium_shapes(medium: MediumConfig | None, C: int, mixes: Mapping[str, str]) -> Shapes:
    """One layer's weights. mixes: by block ("att", "ffn") the letters of its mixes."""
    if medium is None:
        return {}
    E, R = medium.bottleneck(C), medium.key_size
    shapes: Shapes = {f"{block}.medium_mix_{q}": (C,) for block, letters in mixes.items() for q in letters}
    if medium.squeeze == "attention":
        shapes["medium.squeeze"] = (C,)
    shapes |= {"medium.down.weight": (E, C), "medium.up.weight": (C, E)}
    return shapes | {"medium.query.weight": (R, C), "medium.key.weight": (R, C)}


def medium_states(medium: MediumConfig | None, L: int, C: int) -> tuple[StateLayout, ...]:
    """S and G of the open segment; the held mediums and their keys, oldest first."""
    if medium is None:
        return ()
    return (
        StateLayout(MEDIUM_SUM, (L, 1, C)),
        StateLayout(MEDIUM_WEIGHT, (L, 1, 1)),
        StateLayout(MEDIUM_BANK, (L, medium.slots, C)),
        StateLayout(MEDIUM_KEY, (L, medium.slots, medium.key_size)),
    )


def has_mediums(names: Mapping[str, object]) -> bool:
    """Whether a checkpoint's tensors are of a model with mediums, whose interval and slots they do not say."""
    return any(".medium." in name or ".medium_mix_" in name for name in names)
