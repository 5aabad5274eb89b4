"""A model whose matrices are rounded as a recipe rounds them, while the weights below are trained.

    w   what is trained        s   a block's scale, which stays        v = level(w / s) s   what is computed with

The gradient goes straight through the rounding (arXiv 1308.3432), but not to a weight beyond the last level. Levels,
and how a matrix is cut into blocks, are the quantizer's own, and v is what it makes of v: its scales are short enough
that it finds them again.

The embedding and its norm stay as they are: a graph holds the two as one table, which is rounded here as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import EMB, Linear, linears
from rrwkv_export.quantize.recipe import Recipe
from rrwkv_export.quantize.round.block_scales import levels_of, short_scale
from rrwkv_export.train.models.model import Model

TABLE, SCALE = "emb.table", "scale"
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
    that are rounded in blocks; None where weights and buffers are about to be loaded.
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
                shape = linear.outputs, -(-linear.inputs // choice.block)
                self._at(_place(linear)).register_buffer(SCALE, torch.ones(shape))
        for name in self.kept:
            self.get_parameter(name).requires_grad_(False)
        if start:
            self._begin(start)

    @torch.no_grad()
    def _begin(self, start: Start) -> None:
        self.get_buffer(TABLE).copy_(start.table)
        for linear, choice in self._choices.items():
            if choice.kind == "blocks":
                scale, value = start.blocks[linear.weight]
                self._scale(linear).copy_(short_scale(scale))
                self.get_parameter(linear.weight).copy_(value.T if linear.is_low_rank else value)

    def _scale(self, linear: Linear) -> Tensor:
        return self.get_buffer(f"{_place(linear)}.{SCALE}")

    def values(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = dict(self.named_parameters())
        for linear, choice in self._choices.items():
            w = found[linear.weight]
            if choice.kind == "float16":
                found[linear.weight] = _Half.apply(w)  # type: ignore[no-untyped-call]
            elif choice.kind == "blocks":
                turned = w.T if linear.is_low_rank else w
                how = (self._scale(linear), choice.weights, choice.block)
                v = _Blocks.apply(turned, *how)  # type: ignore[no-untyped-call]
                found[linear.weight] = v.T if linear.is_low_rank else v
        return found

    def embedded(self, ids: Tensor) -> Tensor:
        return embedding(ids, self.get_buffer(TABLE))


def _place(linear: Linear) -> str:
    """Where a linear's scale is kept, a name beside its weight's."""
    return f"{linear.name}_blocks" if linear.is_low_rank else linear.name


class _Blocks(torch.autograd.Function):
    """v [outputs, inputs] of w and its scales [outputs, blocks]."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, scale: Tensor, bits: int, block: int) -> Tensor:
        spread = scale.repeat_interleave(block, dim=1)[:, : w.shape[1]]
        levels: Tensor = levels_of(w, spread, bits)
        ctx.save_for_backward((w / spread - levels).abs() <= 0.5)
        return levels * spread

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (within,) = ctx.saved_tensors
        return gradient * within, None, None, None


class _Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return w.half().to(w.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
