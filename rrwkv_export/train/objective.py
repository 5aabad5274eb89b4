"""What is made small: the loss of predicting the texts, or how far a rounded model is from the float one; and where the
interval of mediums is adaptive, how far the information of tokens is from what they told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from rrwkv_export.architectures.mediums import AdaptiveInterval
from rrwkv_export.train.models import Model, State

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, T, V], ids [B, T + 1]) -> nats of each prediction [B, T]."""


@dataclass(frozen=True)
class Objective:
    """what, digits: what is measured on held-out text, and how it is written. trained, measured: the losses."""

    what: str
    trained: Loss
    measured: Loss
    digits: int = 4

    def written(self, value: float) -> str:
        return f"{value:.{self.digits}f}"


def predicting() -> Objective:
    return Objective("loss", prediction, prediction)


def staying_near(model: Model, prediction_share: float) -> Objective:
    """Of the float model; prediction_share: of the loss of predicting the texts in what is trained, 0 to 1."""

    def divergence(logits: Tensor, ids: Tensor) -> Tensor:
        """KL divergence Σ p (log p - log q), p the float model's, as `rrwkv report` has it."""
        with torch.no_grad():
            log_p = log_softmax(model(ids[:, :-1])[0].float(), dim=-1)
        return kl_div(log_softmax(logits.float(), dim=-1), log_p, reduction="none", log_target=True).sum(dim=-1)

    def both(logits: Tensor, ids: Tensor) -> Tensor:
        near = divergence(logits, ids)
        if not prediction_share:
            return near
        return (1 - prediction_share) * near + prediction_share * prediction(logits, ids)

    return Objective("KL divergence", both, divergence, digits=5)


def prediction(logits: Tensor, ids: Tensor) -> Tensor:
    return cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)


def information_loss(interval: AdaptiveInterval, nats: float, losses: Tensor, state: State) -> Tensor:
    """Mean square of the distance of ι from surprisal / τ, clipped to what ι can be; both from 0 to 1 of its range.

    So a medium is made of every τ nats. losses [B, T], as of `prediction`: what token t + 1 told, to which no gradient
    goes. nats: τ. state: after the tokens.
    """
    assert state.told is not None
    least, most = 1 / interval.longest, 1 / interval.shortest
    if least == most:
        return losses.new_zeros(())
    asked = (losses.detach()[:, :-1] / nats).clamp(least, most)
    return ((state.told.information[:, 1:] - asked) / (most - least)).square().mean()
