"""Leaf: what must stay in float32 under mixed precision: recurrences, and sums over tokens."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """float32 of halves; what is float32 or float64 as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def unmixed(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which products of float32 are products of float32, on the device of `x`."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
