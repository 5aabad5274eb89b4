"""What a step makes smaller: the loss on text, and where the interval of mediums is adaptive, how far the information
of tokens is from what they told.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from rrwkv_export.architectures.mediums import AdaptiveInterval
from rrwkv_export.train.models.model import State


def losses_of(logits: Tensor, ids: Tensor) -> Tensor:
    """-ln p of every token but the first, nats [B, T]. logits [B, T, V], ids [B, T + 1]."""
    found = cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return found.view(len(ids), -1)


def information_loss(interval: AdaptiveInterval, nats: float, losses: Tensor, state: State) -> Tensor:
    """Mean square of the distance of ι from surprisal / τ, clipped to what ι can be; both from 0 to 1 of its range.

    So a medium is made of every τ nats. losses [B, T], as of `losses_of`: what token t + 1 told, to which no gradient
    goes. nats: τ. state: after the tokens.
    """
    assert state.told is not None
    least, most = 1 / interval.longest, 1 / interval.shortest
    if least == most:
        return losses.new_zeros(())
    asked = (losses.detach()[:, :-1] / nats).clamp(least, most)
    return ((state.told.information[:, 1:] - asked) / (most - least)).square().mean()
