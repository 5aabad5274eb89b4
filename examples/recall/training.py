"""How every model is trained, all alike.

AdamW as the package trains with it (betas 0.9 and 0.99; matrices decay), the same steps, rows and schedule for every
model: a warm-up over the first twentieth, then a cosine to a twentieth of the learning rate. What a step makes smaller
is the loss on answers, and a tenth of the loss on all tokens; of an adaptive interval that follows surprisal, also how
far tokens' information is from what they told (`rrwkv_export.train.objective`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from examples.recall.models import count
from examples.recall.models.rwkv import RWKV
from rrwkv_export.errors import TrainingError
from rrwkv_export.train.objective import information_loss
from rrwkv_export.train.optimizer import adamw, learning_rate, set_learning_rate
from rrwkv_export.train.settings import Settings

_CURVE = 50  # steps that a point of the curve is the mean of
_ALL = 0.1  # of the loss on all tokens


@dataclass(frozen=True)
class Training:
    """tokens: of a step, about; how many rows they are is the task's affair. longest: of the distances, or tokens of a
    row of text. clip: the largest norm of the gradient.

    nats: of an adaptive interval, the surprisal of a medium's tokens; None leaves the interval to the other losses.
    """

    steps: int
    tokens: int
    longest: int
    learning_rate: float
    clip: float = 1.0
    weight_decay: float = 0.1
    nats: float | None = None

    def settings(self) -> Settings:
        return Settings(
            ("-",),
            steps=self.steps,
            learning_rate=self.learning_rate,
            last_rate=0.05,
            warm_up=self.steps // 20,
            weight_decay=self.weight_decay,
            clip=self.clip,
        )


@dataclass(frozen=True)
class Batch:
    """ids [B, T], and what is to be predicted at each. answered: the positions of answers."""

    ids: Tensor
    predicted: Tensor
    answered: Tensor


def fit(model: nn.Module, how: Training, batch: Callable[[], Batch]) -> dict[str, Any]:
    """Train it; what its training came to, for the record. Raises TrainingError for a loss that is not finite.

    "curve": the loss on answers, a mean of every 50 steps.
    """
    settings = how.settings()
    optimizer = adamw(model, settings)
    answers, tokens, begun = list[float](), 0, time.perf_counter()
    for step in range(how.steps):
        given = batch()
        asked, minimized = _objective(model, given, how)
        minimized.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), how.clip))
        set_learning_rate(optimizer, learning_rate(settings, step, step / how.steps))
        optimizer.step()
        optimizer.zero_grad()
        answers.append(float(asked.detach()))
        tokens += given.ids.numel()
        if not math.isfinite(answers[-1]) or not math.isfinite(norm):
            raise TrainingError(f"step {step + 1}: the loss is {answers[-1]}; give a lower learning rate")
    curve = [float(np.mean(answers[i : i + _CURVE])) for i in range(0, len(answers), _CURVE)]
    seconds = time.perf_counter() - begun
    return {"parameters": count(model), "curve": curve, "tokens": tokens, "training_seconds": seconds}


def _objective(model: nn.Module, given: Batch, how: Training) -> tuple[Tensor, Tensor]:
    """The loss on answers, and what the step makes smaller."""
    state = None
    if isinstance(model, RWKV) and model.adaptive and how.nats:
        logits, state = model.run(given.ids)
    else:
        logits = model(given.ids)
    losses = cross_entropy(logits.flatten(0, 1), given.predicted.flatten(), reduction="none").view(given.ids.shape)
    asked = losses[:, given.answered].mean()
    minimized = asked + _ALL * losses.mean()
    if state and how.nats:
        interval = cast(RWKV, model).adaptive
        assert interval is not None
        minimized = minimized + information_loss(interval, how.nats, losses, state)
    return asked, minimized
