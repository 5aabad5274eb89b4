"""Leaf: what must stay in float32 under mixed precision: recurrences, and sums over tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """float32 of halves; what is float32 or float64 as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def unmixed(x: Tensor) -> torch.autocast:
    """A context in which products of float32 are products of float32, on the device of `x`."""
    return torch.autocast(x.device.type, enabled=False)
