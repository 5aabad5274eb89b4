"""A run on a task: a model is trained, and its right answers are counted by distance.

A step's distance is drawn between 4 and `longest`, even in its logarithm, so that short ones come as often as long
ones; it has as many rows as its tokens are enough for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from examples.recall.models import Sizes, build
from examples.recall.models.rwkv import RWKV
from examples.recall.tasks import LEAD, TASKS, Rows, Task
from examples.recall.training import Batch, Training, fit

_SHORTEST = 4
_TESTED = 1 << 16  # tokens of rows that are computed at once
_OTHER = 1 << 20  # what tells the rows of a test from a training's


def recall(
    *,
    task: str,
    shape: Mapping[str, int],
    variant: Mapping[str, Any],
    parameters: int,
    training: Mapping[str, Any],
    distances: list[int],
    tested: int,
    seed: int,
) -> dict[str, Any]:
    """task: of TASKS; shape: its fields. distances: at which it is tested, with `tested` rows each."""
    torch.set_num_threads(1)
    posed, how = TASKS[task](**shape), Training(**training)
    model = build(variant, Sizes(posed.vocabulary, parameters=parameters), seed)
    rng = np.random.default_rng(seed)

    def batch() -> Batch:
        distance = round(math.exp(rng.uniform(math.log(_SHORTEST), math.log(how.longest))))
        rows = posed.rows(rng, max(1, how.tokens // (distance + LEAD)), distance)
        return Batch(*(torch.from_numpy(each) for each in (rows.ids, rows.predicted, rows.answered)))

    told = fit(model, how, batch)
    found = {str(distance): accuracy(model, posed, distance, tested) for distance in distances}
    return {**told, "accuracy": found, "intervals": intervals(model, posed, how.longest)}


@torch.no_grad()
def accuracy(model: nn.Module, task: Task, distance: int, tested: int) -> float:
    """The share of right answers, on rows that are the same for every model."""
    rng = np.random.default_rng((_OTHER, distance))
    right, left = 0, tested
    while left:
        rows = task.rows(rng, min(left, max(1, _TESTED // (distance + 64))), distance)
        right += int((_answers(model, rows) == rows.answers).sum())
        left -= len(rows.ids)
    return right / (tested * len(rows.answered))


def _answers(model: nn.Module, rows: Rows) -> np.ndarray[Any, Any]:
    logits: Tensor = model(torch.from_numpy(rows.ids))
    return logits[:, rows.answered].argmax(dim=-1).numpy()


@torch.no_grad()
def intervals(model: nn.Module, task: Task, distance: int) -> dict[str, float] | None:
    """Tokens per medium where the interval is adaptive: in filler, and where what is to be recalled lies. Else None."""
    if not isinstance(model, RWKV) or not model.adaptive:
        return None
    rows = task.rows(np.random.default_rng((_OTHER, distance)), 16, distance)
    _, state = model.run(torch.from_numpy(rows.ids))
    assert state.told is not None
    information = state.told.information.double()
    filler = information[:, rows.recalled.stop : rows.answered[0]]
    return {"filler": float(1 / filler.mean()), "recalled": float(1 / information[:, rows.recalled].mean())}
