"""RWKV-4's time-mix (arXiv 2305.13048), with mediums RRWKV's.

wkv is a mean of v, weighed by exponentials; here every sum A = Σ exp(p_i) v_i, B = Σ exp(p_i) is held as p = ln B and
the mean a = A / B, so that no exponential of a key is ever taken: right in float32 for keys and decays of any size.

    joined    (p, a) then (q, b), s tokens later:   ln(exp(p - s d) + exp(q)),  b + σ(p - s d - q) (a - b)
    wkv_t     (p, a) of all tokens before t, joined with (u + k_t, v_t)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.rwkv4 import channel_mix as channel_mix
from rrwkv_export.architectures.rwkv4 import EMPTY
from rrwkv_export.train.models.precision import full

Sum = tuple[Tensor, Tensor]
"""p = ln B and a = A / B."""


def time_mix(
    w: Layer,
    h: Tensor,
    h_prev: Tensor,
    M: Tensor | None,
    before: Mapping[str, Tensor],
    after: dict[str, Tensor],
    crossing: dict[str, Tensor],
) -> Tensor:
    """What is added to x [B, T, C]; the state of wkv is read in `before` and put into `after`."""
    k, v, r = (
        w.linear(w.mix("att", q, h, h_prev, M), f"att.{n}") for q, n in zip("kvr", ("key", "value", "receptance"))
    )
    u, d = w("att.time_first"), w("att.time_decay").exp()
    found, (after["wkv_log"], after["wkv_mean"]) = wkv(full(k), full(v), u, d, (before["wkv_log"], before["wkv_mean"]))
    return w.linear(torch.sigmoid(r) * found, "att.output")


def state_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return {"wkv_log": (config.attention_width,), "wkv_mean": (config.attention_width,)}


def state_fills(layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the states that do not begin with 0."""
    return {"wkv_log": torch.full_like(layer["wkv_log"], EMPTY)}


def wkv(k: Tensor, v: Tensor, u: Tensor, d: Tensor, state: Sum) -> tuple[Tensor, Sum]:
    """wkv [B, T, D] of k, v [B, T, D], bonus u and decay d [D]; state [B, D] before, and after."""
    p, a = (torch.cat([held[:, None], x], dim=1) for held, x in zip(state, (k, v), strict=True))
    sums = _prefixes(p, a, d)
    _, found = _joined(sums[0][:, :-1], sums[1][:, :-1], u + k, v)
    return found, (sums[0][:, -1], sums[1][:, -1])


def _prefixes(p: Tensor, a: Tensor, d: Tensor) -> Sum:
    """The sum of each token and all before it: [B, T, D].

    Pairs are joined, prefixes of the pairs found in the same way, and those of the tokens between joined to them:
    2 T joins in 2 log T steps.
    """
    T = p.shape[1]
    if T == 1:
        return p, a
    even = T - T % 2
    first, second = (p[:, 0:even:2], a[:, 0:even:2]), (p[:, 1:even:2], a[:, 1:even:2])
    odd = _prefixes(*_joined(first[0] - d, first[1], *second), 2 * d)  # of tokens 1, 3, 5 …
    later = (T - 1) // 2
    between = _joined(odd[0][:, :later] - d, odd[1][:, :later], p[:, 2::2], a[:, 2::2])  # of tokens 2, 4, 6 …
    return _alternated(p[:, :1], between[0], odd[0]), _alternated(a[:, :1], between[1], odd[1])


def _joined(p: Tensor, a: Tensor, q: Tensor, b: Tensor) -> Sum:
    """Two sums as one; the first is decayed already."""
    ahead = p - q
    return q + softplus(ahead, threshold=40), b + torch.sigmoid(ahead) * (a - b)


def _alternated(first: Tensor, between: Tensor, odd: Tensor) -> Tensor:
    """Token 0's, then those of odd tokens and of even ones by turns."""
    even = torch.cat([first, between], dim=1)
    paired = torch.stack([even[:, : odd.shape[1]], odd], dim=2).flatten(1, 2)
    return torch.cat([paired, even[:, odd.shape[1] :]], dim=1)
