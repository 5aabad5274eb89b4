"""A bundle over tasks."""

from __future__ import annotations

from collections.abc import Sequence

from rrwkv_export.errors import TextError
from rrwkv_export.evaluate.answers import Answers
from rrwkv_export.evaluate.pairs import Encoder
from rrwkv_export.evaluate.scoring import score
from rrwkv_export.evaluate.tasks import DELIMITER, TASKS, Task
from rrwkv_export.progress import Progress
from rrwkv_runtime.errors import NoTokens
from rrwkv_runtime.model import Model


def evaluate(model: Model, tasks: Sequence[Task] = TASKS, progress: Progress | None = None) -> tuple[Answers, ...]:
    """A bundle's answers, task by task. Raises TokenizerError, and TextError where the bundle knows no English."""
    return tuple(answers(model, task, progress) for task in tasks)


def answers(model: Model, task: Task, progress: Progress | None = None) -> Answers:
    """A bundle's answers to a task. Raises as `evaluate`."""
    encoder, items = Encoder(model), task.items()
    try:
        pairs = [encoder.pair(item.context, DELIMITER + choice) for item in items for choice in item.choices]
    except NoTokens:
        raise TextError(
            f"{model.path}: its tokenizer knows no English, which the tasks are in; leave --tasks out"
        ) from None
    return Answers.of(task, items, score(model, pairs, progress))
