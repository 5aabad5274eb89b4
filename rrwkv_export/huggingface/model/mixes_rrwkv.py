"""What time-mix and channel-mix of all architectures share. Of rrwkv-export, Apache-2.0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Room:
    """An architecture. time_mix: of a config and a layer. channel_mix: of a config. state_shapes: without the rows."""

    time_mix: Callable[[Any, int], nn.Module]
    channel_mix: Callable[[Any], nn.Module]
    state_shapes: Callable[[Any], dict[str, tuple[int, ...]]]


class Mix(nn.Module):
    """A weighing of h with the previous token's h', and of M, what the token recalls, if there are mediums."""

    def __init__(self, config: Any, letters: str) -> None:
        super().__init__()
        self.recalls = config.medium is not None
        for q in letters if self.recalls else "":
            self.register_parameter(f"medium_mix_{q}", vector(config.hidden_size))

    def recalled(self, mixed: Tensor, q: str, M: Tensor | None) -> Tensor:
        """A mix with M ⊙ medium_mix_q added."""
        return mixed if M is None else mixed + M * self.get_parameter(f"medium_mix_{q}")


def vector(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape))


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def full(x: Tensor) -> Tensor:
    """float32 of halves; what is float32 or float64 as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def unmixed(x: Tensor) -> Any:
    """A context in which products of float32 are products of float32, on the device of `x`."""
    return torch.autocast(x.device.type, enabled=False)
