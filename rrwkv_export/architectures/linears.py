"""Where a graph multiplies by a matrix of the checkpoint: the places that a recipe decides about, by role and layer;
and what makes the inputs there, which a scale can be moved out of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rrwkv_export.architectures.config import ModelConfig

ATT_ROLES = ("att.key", "att.value", "att.receptance", "att.gate", "att.output")
FFN_ROLES = ("ffn.key", "ffn.receptance", "ffn.value")
MEDIUM_ROLES = ("medium.query", "medium.key", "medium.down", "medium.up")
EMB, HEAD = "emb", "head"
# Low-rank matrices of a time-mix, which checkpoints have as [in, out]: RWKV-7's, then RWKV-6's.
LOW_RANK = "low_rank"
_LOW_RANK = ("w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2", "time_maa_w1", "time_decay_w1", "time_decay_w2")
LOW_RANK_ROLES = tuple(f"{LOW_RANK}.{name}" for name in _LOW_RANK)
ROLES = (EMB, *ATT_ROLES, *LOW_RANK_ROLES, *FFN_ROLES, *MEDIUM_ROLES, HEAD)
_PARTS = {"att": "time_mix", LOW_RANK: "time_mix", "ffn": "channel_mix", "medium": "medium"}


@dataclass(frozen=True)
class Linear:
    """One product x @ W, W [inputs, outputs]; or the embedding, whose table is [V, C] and is only looked up.

    layer: None for emb and head.
    """

    role: str
    layer: int | None
    inputs: int
    outputs: int

    @property
    def name(self) -> str:
        """ "blocks.3.att.key", "blocks.3.att.w1", "head" """
        if self.layer is None:
            return self.role
        return f"blocks.{self.layer}.{self.role.replace(LOW_RANK, 'att')}"

    @property
    def is_low_rank(self) -> bool:
        return self.role.startswith(LOW_RANK)

    @property
    def weight(self) -> str:
        """The weight's canonical name, which is the initializer's in the graph."""
        return self.name if self.is_low_rank else f"{self.name}.weight"

    @property
    def node(self) -> str:
        """The MatMul's (or Gather's) name in the graph."""
        if self.layer is None:
            return "head.head" if self.role == HEAD else "emb"
        part, _, which = self.role.partition(".")
        return f"blocks.{self.layer}.{_PARTS[part]}.{which}"

    @property
    def parameters(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Scaled:
    """A weight of a layer ("att.value.weight") times s ** power, along its last axis or its first."""

    weight: str
    power: float = -1
    first_axis: bool = False


@dataclass(frozen=True)
class Fold:
    """How the inputs of a linear can be divided by s [inputs] without a node more, when its rows are multiplied by s.

    mix: the letter of the mix that makes them, divided in all its vectors. weights: what is scaled besides, or instead.
    row: of each of these, where they hold one for every mix. signed: s may be below 0. unit: a state is then carried in
    these units.
    """

    mix: str | None = None
    weights: tuple[Scaled, ...] = ()
    row: int | None = None
    signed: bool = True
    unit: bool = False


# relu(c k)² = c² relu(k)², and relu(c x) = c relu(x), for c > 0 only.
OF_SQUARES = Fold(weights=(Scaled("ffn.key.weight", -0.5),), signed=False)
SQUARED_WITH_RECEPTANCE = {"ffn.key": Fold("k"), "ffn.receptance": Fold("r"), "ffn.value": OF_SQUARES}
OF_GROUP_NORM = Fold(weights=(Scaled("att.ln_x.weight"), Scaled("att.ln_x.bias")))
_OF_ANY = {"medium.up": Fold(weights=(Scaled("medium.down.weight"),), signed=False), "head": Fold()}


def folds(config: ModelConfig) -> Mapping[str, Fold]:
    """By role; a linear whose role is not here is left as it is. The head's is the last norm's."""
    from rrwkv_export.architectures import of

    return {**of(config).folds(config), **_OF_ANY}


def linears(config: ModelConfig) -> tuple[Linear, ...]:
    """All of a model, whatever its architecture: rooms name their matrices alike. In the order of computation."""
    found = []
    shapes = config.shapes()
    for role in ROLES:
        for layer in [None] if role in (EMB, HEAD) else range(config.num_layers):
            linear = Linear(role, layer, 0, 0)
            if linear.weight in shapes:
                rows, columns = shapes[linear.weight]
                size = (rows, columns) if role == EMB or linear.is_low_rank else (columns, rows)
                found.append(Linear(role, layer, *size))
    return tuple(sorted(found, key=_order))


def _order(linear: Linear) -> tuple[int, int]:
    if linear.layer is None:
        return (-1 if linear.role == EMB else 1 << 30), 0
    return linear.layer, ROLES.index(linear.role)
