"""A model whose matrices are rounded as a recipe rounds them, while levels and scales are trained.

    u   a weight over its scale    c   how much longer a block's scale s has become    v = level(u) c s   what is used

u and c are trained. The gradient goes straight through the rounding (arXiv 1308.3432), but not to a weight beyond the
last level. Levels, and how a matrix is cut into blocks, are the quantizer's own, and v is what it makes of v: c s is
rounded to so few bits that it is found again.

Counted in levels, all weights, of 4 and of 8 bits, large and small, are as far from the next one, so one rate does for
all. A weight that GPTQ left at the nearest level begins where it was, so that those near a border cross it soon and few
do so at once; another begins in the middle.

The embedding and its norm stay as they are: a graph holds the two as one table, which is rounded here as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, pad

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import EMB, Linear, linears
from rrwkv_export.quantize.recipe import Recipe
from rrwkv_export.quantize.round.block_scales import levels_of, short_scale
from rrwkv_export.train.models.model import Model

TABLE, SCALE, STRETCH = "emb.table", "scale", "stretch"
_KEPT = frozenset({"emb.weight", "blocks.0.ln0.weight", "blocks.0.ln0.bias"})


@dataclass(frozen=True)
class Start:
    """What a recipe's rounding made of a model.

    table: the embedding's rows after their norm, rounded, float32 [V, C]. blocks: of each matrix that is rounded in
    blocks, by the weight's canonical name, its scales [outputs, blocks] and its values [outputs, inputs], float32.
    """

    table: Tensor
    blocks: Mapping[str, tuple[Tensor, Tensor]]


class RoundedModel(Model):
    """recipe: one that rounds in blocks, to float16 or not at all, and no inputs. start: takes the place of the weights
    that are rounded in blocks; None where weights and buffers are about to be loaded. in_levels: the names of weights
    that are kept as u.
    """

    kept = _KEPT

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, Tensor], recipe: Recipe, start: Start | None = None
    ) -> None:
        super().__init__(config, weights)
        self._choices = {one: recipe.choice(one) for one in linears(config) if one.role != EMB}
        self._at(TABLE.rpartition(".")[0]).register_buffer("table", torch.empty(config.vocab_size, config.hidden_size))
        for linear, choice in self._choices.items():
            if choice.kind == "blocks":
                ones, place = torch.ones(linear.outputs, -(-linear.inputs // choice.block)), self._at(_place(linear))
                place.register_buffer(SCALE, ones)
                place.register_parameter(STRETCH, nn.Parameter(ones.clone()))
        self.in_levels = frozenset(one.weight for one, choice in self._choices.items() if choice.kind == "blocks")
        for name in self.kept:
            self.get_parameter(name).requires_grad_(False)
        if start:
            self._begin(start)

    @torch.no_grad()
    def _begin(self, start: Start) -> None:
        """Where parameters are still the float model's."""
        self.get_buffer(TABLE).copy_(start.table)
        for linear, choice in self._choices.items():
            if choice.kind == "blocks":
                found, value = start.blocks[linear.weight]
                scale = short_scale(found)
                self.get_buffer(f"{_place(linear)}.{SCALE}").copy_(scale)
                w = self.get_parameter(linear.weight)
                spread = _spread(scale, linear.inputs, choice.block)
                level, u = levels_of(value, spread, choice.weights), _turned(linear, w) / spread
                w.copy_(_turned(linear, torch.where((u - level).abs() < 0.5, u, level)))

    def values(self) -> dict[str, Tensor]:
        parameters = super().values()
        found = {name: value for name, value in parameters.items() if not name.endswith(f".{STRETCH}")}
        for linear, choice in self._choices.items():
            w = parameters[linear.weight]
            if choice.kind == "float16":
                found[linear.weight] = _Half.apply(w)  # type: ignore[no-untyped-call]
            elif choice.kind == "blocks":
                scales = parameters[f"{_place(linear)}.{STRETCH}"], self.get_buffer(f"{_place(linear)}.{SCALE}")
                v = _Blocks.apply(_turned(linear, w), *scales, choice.weights, choice.block)  # type: ignore[no-untyped-call]
                found[linear.weight] = _turned(linear, v)
        return found

    def embedded(self, ids: Tensor) -> Tensor:
        return embedding(ids, self.get_buffer(TABLE))


def _place(linear: Linear) -> str:
    """Where what belongs to a linear is kept, a name beside its weight's."""
    return f"{linear.name}_blocks" if linear.is_low_rank else linear.name


def _turned(linear: Linear, w: Tensor) -> Tensor:
    """A weight as it is kept, from [outputs, inputs], and back."""
    return w.T if linear.is_low_rank else w


def _spread(scale: Tensor, inputs: int, block: int) -> Tensor:
    """A block's scale for each of its weights: [outputs, inputs] of [outputs, blocks]."""
    return scale.repeat_interleave(block, dim=1)[:, :inputs]


class _Blocks(torch.autograd.Function):
    """v [outputs, inputs] of u, and of c and s [outputs, blocks]."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, c: Tensor, s: Tensor, bits: int, block: int) -> Tensor:
        level: Tensor = levels_of(u, 1, bits)
        spread = _spread(short_scale(c * s), u.shape[1], block)
        ctx.block = block
        ctx.save_for_backward(level, spread, (u - level).abs() <= 0.5, s)
        return level * spread

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        level, spread, within, s = ctx.saved_tensors
        along = pad(gradient * level, (0, s.shape[1] * ctx.block - level.shape[1]))
        return gradient * spread * within, along.view(*s.shape, -1).sum(dim=2) * s, None, None, None


class _Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return w.half().to(w.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
