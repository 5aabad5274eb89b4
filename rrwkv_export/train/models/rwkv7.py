"""RWKV-7's time-mix (arXiv 2503.14456); the delta rule is that of `huggingface.model.recurrence_rrwkv`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rrwkv_export.architectures.matrices import HeadsConfig
from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.rwkv7 import channel_mix as channel_mix
from rrwkv_export.architectures.reference.rwkv7 import output, projected
from rrwkv_export.train.kernels import delta
from rrwkv_export.train.models.precision import full, unmixed


def time_mix(
    w: Layer,
    h: Tensor,
    h_prev: Tensor,
    M: Tensor | None,
    before: Mapping[str, Tensor],
    after: dict[str, Tensor],
    crossing: dict[str, Tensor],
) -> Tensor:
    """What is added to x [B, T, C]; the matrix is read in `before` and put into `after`."""
    r, k, v, κ, decay, a, g = projected(w, h, h_prev, M, crossing)
    with unmixed(h):
        r, k, v, κ, decay, a = (full(x) for x in (r, k, v, κ, decay, a))
        y, after["matrix"] = delta(r, k, v, κ, κ * a, decay.log(), before["matrix"])
    return output(w, y, r, k, v, g)


def state_shapes(config: HeadsConfig) -> dict[str, tuple[int, ...]]:
    return {"matrix": (config.heads, config.head_size, config.head_size)}


def state_fills(layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the states that do not begin with 0."""
    return {}
