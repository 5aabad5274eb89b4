"""The recurrences of models that are trained, chosen by device.

    triton_wkv, triton_delta    kernels, forward and backward, for CUDA

Elsewhere, and where Triton is not installed, they are `huggingface.model.recurrence_rrwkv`'s; both give the same.
"""

from __future__ import annotations

import importlib.util
from functools import cache

from torch import Tensor

from rrwkv_export.huggingface.model import recurrence_rrwkv as recurrence


def wkv(
    k: Tensor, v: Tensor, u: Tensor, d: Tensor, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """As `recurrence_rrwkv.wkv`."""
    if k.is_cuda and _has_triton():
        from rrwkv_export.train.kernels import triton_wkv as kernel

        return kernel.wkv(k, v, u, d, state)
    return recurrence.wkv(k, v, u, d, state)


def delta(
    r: Tensor, k: Tensor, v: Tensor, κ: Tensor, b: Tensor, ln_w: Tensor, S: Tensor, chunk: int = recurrence.CHUNK
) -> tuple[Tensor, Tensor]:
    """As `recurrence_rrwkv.delta`; a kernel takes heads of a power of two."""
    N = S.shape[-1]
    if r.is_cuda and N & (N - 1) == 0 and _has_triton():
        from rrwkv_export.train.kernels import triton_delta as kernel

        return kernel.delta(r, k, v, κ, b, ln_w, S)
    return recurrence.delta(r, k, v, κ, b, ln_w, S, chunk)


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None
