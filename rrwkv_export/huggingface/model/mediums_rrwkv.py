"""Mediums: what past segments are squeezed into, and what a token recalls of them. Of rrwkv-export, Apache-2.0.

Squeeze and excitation: arXiv 1709.01507. Every token adds n to I, and a medium ends with each whole unit U of I:

    fixed interval s      n = 1, U = s
    adaptive              n = round(2¹⁶ ι), U = 2¹⁶; the token on a border is shared between both mediums, as in
                          continuous integrate-and-fire (arXiv 1905.11235)

B rows   T tokens   C channels   K slots   R key width   J mediums that end in this call   S, G  the open one's sums
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .mixes_rrwkv import full, linear, unmixed, vector
from .state_rrwkv import LayerState, Rows

UNIT = 1 << 16


class Information(nn.Module):
    """ι of every token, from layer 0's h and h': one decision for all layers. Where the interval adapts."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.least, self.most = (1 / config.medium["interval"][name] for name in ("longest", "shortest"))
        self.information, self.information_bias = vector(2, config.hidden_size), vector()

    def forward(self, h: Tensor, h_prev: Tensor) -> Tensor:
        """n [B, T]: whole numbers, in float64; the rounding passes the gradient."""
        with unmixed(h):
            w, bias = full(self.information), full(self.information_bias)
            ι = self.least + (self.most - self.least) * torch.sigmoid(full(h) @ w[0] + full(h_prev) @ w[1] + bias)
            n = UNIT * ι.double()
            return n + (n.round() - n).detach()


class Clock:
    """Which unit each token belongs to. before: I before the call, int64 [B]. n: [B, T], 0 where no token is."""

    def __init__(self, before: Tensor, n: Tensor, unit: int) -> None:
        self.done = before // unit  # units that ended before this call, [B]
        self._unit, self._scale = unit, unit if n.is_floating_point() else 1
        self._after = (before - self.done * unit)[:, None] + n.cumsum(1)  # I_t, counted from the open unit, [B, T]
        self._before = self._after - n
        told = self._after[:, -1].detach().round().long()
        self.ended, self.information = told // unit, self.done * unit + told  # units of this call, and I after it, [B]

    @property
    def most(self) -> int:
        """J."""
        return int(self.ended.max())

    def member(self, dtype: torch.dtype) -> Tensor:
        """How much of each token lies in each unit, the open one last: [B, J + 1, T]."""
        begin = torch.arange(self.most + 1, device=self.done.device)[:, None] * self._unit
        after, before = self._after[:, None], self._before[:, None]
        inside = torch.minimum(after, begin + self._unit) - torch.maximum(before, begin)
        return inside.clamp(min=0).to(dtype) / self._scale

    def visible(self, slots: int) -> Tensor:
        """Which of K held and J new mediums each token reads, [B, T, K + J]: the last K of those before its own."""
        row = torch.arange(slots + self.most, device=self.done.device)
        open_unit = self._before.detach().round().long()[..., None] // self._unit
        return (open_unit <= row) & (row < open_unit + slots) & (row >= slots - self.done[:, None, None])


class Medium(nn.Module):
    """The mediums of one layer."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        C, medium = config.hidden_size, config.medium
        E = max(C // medium.get("reduction", 16), 8)
        self.slots, self.key_size = medium.get("slots", 1), medium.get("key_size", 64)
        if medium.get("squeeze", "attention") == "attention":
            self.squeeze = vector(C)
        self.down, self.up = linear(C, E), linear(E, C)
        self.query, self.key = linear(C, self.key_size), linear(C, self.key_size)

    def forward(self, h: Tensor, clock: Clock, rows: Rows, state: LayerState) -> Tensor:
        """M [B, T, C]; h is squeezed on the way, and the layer's share of the state moves on."""
        K, J = self.slots, clock.most
        S, G = self._sums(h, clock, rows, state)
        ended = (torch.arange(J, device=h.device) < clock.ended[:, None])[..., None]
        m = self._excited((S[:, :J] / torch.where(ended, G[:, :J], torch.ones_like(G[:, :J]))).to(h.dtype))
        held = torch.cat([state["medium_bank"], full(m)], dim=1)
        keys = torch.cat([state["medium_key"], full(self.key(m))], dim=1)

        scores = full(self.query(h)) @ keys.mT / math.sqrt(self.key_size)
        scores = pad(scores.masked_fill(~clock.visible(K), -math.inf), (1, 0))  # an empty slot: nothing to recall
        M = torch.softmax(scores, dim=-1)[..., 1:] @ held

        newest = clock.ended[:, None] + torch.arange(K, device=h.device)
        state |= {"medium_sum": _at(S, clock.ended[:, None]), "medium_weight": _at(G, clock.ended[:, None])}
        state |= {"medium_bank": _at(held, newest), "medium_key": _at(keys, newest)}
        return M.to(h.dtype)

    def _excited(self, z: Tensor) -> Tensor:
        """m = σ(Wup relu(Wdown z)) ⊙ z"""
        return torch.sigmoid(self.up(torch.relu(self.down(z)))) * z

    def _sums(self, h: Tensor, clock: Clock, rows: Rows, state: LayerState) -> tuple[Tensor, Tensor]:
        """S [B, J + 1, C] and G [B, J + 1, 1] of every unit, the open one last."""
        with unmixed(h):
            h = full(h)
            g = torch.ones_like(h[..., :1])
            if hasattr(self, "squeeze"):
                g = (h @ full(self.squeeze)).clamp(-60, 60).exp()[..., None]
            g, member = rows.zeroed(g), clock.member(h.dtype)
            later = (0, 0, 0, clock.most)  # what is carried belongs to the first unit
            return member @ (g * h) + pad(state["medium_sum"], later), member @ g + pad(state["medium_weight"], later)


def medium_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    if config.medium is None:
        return {}
    C, K, R = config.hidden_size, config.medium.get("slots", 1), config.medium.get("key_size", 64)
    return {"medium_sum": (1, C), "medium_weight": (1, 1), "medium_bank": (K, C), "medium_key": (K, R)}


def _at(x: Tensor, rows: Tensor) -> Tensor:
    """x [B, n, ...] at rows [B, m]."""
    return x.gather(1, rows[..., None].expand(*rows.shape, x.shape[-1]))
