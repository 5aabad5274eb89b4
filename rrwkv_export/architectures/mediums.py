"""What any architecture can have: mediums, made of past segments by squeeze and excitation, which every token reads.

They belong to no generation: they read a block's h, and what is recalled, M, enters wherever a block mixes h with the
token's before: its mix for q gets M ⊙ medium_mix_q added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rrwkv_export.architectures.base import POSITION, Shapes, StateLayout
from rrwkv_export.architectures.fields import check_choice, check_integer, known_fields
from rrwkv_export.errors import ConfigError

MEDIUM_SUM, MEDIUM_WEIGHT, MEDIUM_BANK, MEDIUM_KEY = "medium_sum", "medium_weight", "medium_bank", "medium_key"
MEDIUM_INFORMATION, MEDIUM_TOKEN = "medium_information", "medium_token"
INFORMATION, INFORMATION_BIAS = "medium.information", "medium.information_bias"
SQUEEZES = ("attention", "mean")
UNIT = 1 << 16
"""What the information of an adaptive segment's tokens comes to; that of a token is a whole number, so that sums of it
are the same wherever a text is cut.
"""


@dataclass(frozen=True)
class AdaptiveInterval:
    """The fewest tokens per medium, and the most: of a token's information ι the largest is 1/shortest, the least
    1/longest, and a medium is made wherever 1 has come together.
    """

    shortest: int
    longest: int

    def __post_init__(self) -> None:
        for name in ("shortest", "longest"):
            check_integer("medium: interval", name, getattr(self, name), UNIT)
        if self.shortest > self.longest:
            raise ConfigError(
                f"medium: interval: shortest ({self.shortest}) must not be above longest ({self.longest})"
            )

    @property
    def most_tokens(self) -> int:
        """That can begin in one segment: `longest`, and one more where 2¹⁶ / longest is rounded down."""
        return -(-UNIT // round(UNIT / self.longest))

    def __str__(self) -> str:
        return f"{self.shortest} to {self.longest}"


@dataclass(frozen=True)
class MediumConfig:
    """How past information is squeezed into mediums.

    interval: s, tokens per medium, or what it lies between. squeeze: "attention" or "mean". reduction: C // reduction
    (at least 8) is E, the excitation's bottleneck. slots: K, how many past mediums a token reads. key_size: R, width of
    query and keys.
    """

    interval: int | AdaptiveInterval
    squeeze: Literal["attention", "mean"] = "attention"
    reduction: int = 16
    slots: int = 1
    key_size: int = 64

    def __post_init__(self) -> None:
        if self.adaptive is None:
            check_integer("medium", "interval", self.interval)
        for name in ("reduction", "slots", "key_size"):
            check_integer("medium", name, getattr(self, name))
        check_choice("medium", "squeeze", self.squeeze, SQUEEZES)

    @property
    def adaptive(self) -> AdaptiveInterval | None:
        """None where every segment is of as many tokens."""
        return self.interval if isinstance(self.interval, AdaptiveInterval) else None

    @property
    def longest(self) -> int:
        """The most tokens of a segment."""
        return self.interval.most_tokens if isinstance(self.interval, AdaptiveInterval) else self.interval

    @property
    def counted(self) -> str:
        """The state, a whole number, that says where segments end: at its multiples of `unit`."""
        return POSITION if self.adaptive is None else MEDIUM_INFORMATION

    @property
    def unit(self) -> int:
        """How far that state goes in a segment."""
        return self.interval if isinstance(self.interval, int) else UNIT

    @property
    def query_scale(self) -> float:
        """1 / sqrt(R): what is in a graph's query matrix already."""
        return 1 / math.sqrt(self.key_size)

    def bottleneck(self, hidden_size: int) -> int:
        """E, the width of the excitation's bottleneck for C channels."""
        return max(hidden_size // self.reduction, 8)


def medium_from_json(fields: object, owner: str) -> MediumConfig | None:
    """Raises ConfigError for anything that is neither null nor exactly a medium's config."""
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise ConfigError(f"{owner}: medium must be an object or null")
    known = known_fields(MediumConfig, f"{owner}: medium", fields)
    if isinstance(interval := known["interval"], dict):
        known["interval"] = AdaptiveInterval(**known_fields(AdaptiveInterval, f"{owner}: medium: interval", interval))
    return MediumConfig(**known)


def shared_medium_shapes(medium: MediumConfig | None, C: int) -> Shapes:
    """The weights that stand once, outside the layers: the gains of a token's information, and its bias."""
    return {INFORMATION: (2, C), INFORMATION_BIAS: ()} if medium and medium.adaptive else {}


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
    """S and G of the open segment; the held mediums and their keys, oldest first. Where the interval is adaptive, in
    front I, the information of all tokens so far in units of 2⁻¹⁶, and the last token, -1 before the first.
    """
    if medium is None:
        return ()
    counted = (StateLayout(MEDIUM_INFORMATION, (), "int64"), StateLayout(MEDIUM_TOKEN, (), "int64", init=-1))
    return (
        *(counted if medium.adaptive else ()),
        StateLayout(MEDIUM_SUM, (L, 1, C)),
        StateLayout(MEDIUM_WEIGHT, (L, 1, 1)),
        StateLayout(MEDIUM_BANK, (L, medium.slots, C)),
        StateLayout(MEDIUM_KEY, (L, medium.slots, medium.key_size)),
    )


def has_mediums(names: Mapping[str, object]) -> bool:
    """Whether a checkpoint's tensors are of a model with mediums, whose interval and slots they do not say."""
    return any(is_mediums(name) for name in names)


def is_mediums(name: str) -> bool:
    """Whether only a model with mediums has a weight of this canonical name."""
    return ".medium." in name or ".medium_mix_" in name or name in (INFORMATION, INFORMATION_BIAS)
