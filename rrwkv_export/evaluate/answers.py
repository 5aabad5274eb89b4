"""What a bundle got right, and what one lost against another, with standard errors.

    accuracy       the share of items that are right: of several choices the likeliest, else the greedy continuation
    by character   the same with each choice's log-likelihood over its characters: `acc_norm` of lm-evaluation-harness
    perplexity     exp of the mean of -log p of the right continuation, where one is guessed

Standard errors are those of a mean of independent items (n - 1), as lm-evaluation-harness has them; perplexity's is to
first order, where it draws samples. Two bundles answer the same items, so the error of a difference is that of the
items' own differences, much smaller than those of the two figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rrwkv_export.evaluate.scoring import Score
from rrwkv_export.evaluate.tasks import Item, Task

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error; that is None of a single item."""

    mean: float
    error: float | None

    @classmethod
    def of(cls, values: Array) -> Estimate:
        error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
        return cls(float(values.mean()), error)


@dataclass(frozen=True)
class Answers:
    """One bundle's, to the N items of a task.

    right: bool [N]. right_by_character: bool [N], None where one continuation is guessed. log_p: of the right
    continuation, in nats [N].
    """

    task: Task
    right: Array
    right_by_character: Array | None
    log_p: Array

    @classmethod
    def of(cls, task: Task, items: Sequence[Item], scores: Sequence[Score]) -> Answers:
        """scores: of all choices, one item after the other."""
        left = iter(scores)
        found = [[next(left) for _ in item.choices] for item in items]
        log_p = np.array([of_item[item.answer].log_p for item, of_item in zip(items, found)])
        if not task.choose:
            return cls(task, np.array([of_item[0].greedy for of_item in found]), None, log_p)
        answers = np.array([item.answer for item in items])
        likeliest = [np.argmax([score.log_p for score in of_item]) for of_item in found]
        weighed = [
            np.argmax([score.log_p / len(choice) for score, choice in zip(of_item, item.choices)])
            for item, of_item in zip(items, found)
        ]
        return cls(task, np.array(likeliest) == answers, np.array(weighed) == answers, log_p)

    def __len__(self) -> int:
        return len(self.right)

    @cached_property
    def accuracy(self) -> Estimate:
        return Estimate.of(self.right.astype(float))

    @cached_property
    def accuracy_by_character(self) -> Estimate | None:
        return None if self.right_by_character is None else Estimate.of(self.right_by_character.astype(float))

    @cached_property
    def perplexity(self) -> Estimate | None:
        """Of the continuations; None where several are weighed."""
        if self.task.choose:
            return None
        nll = Estimate.of(-self.log_p)
        with np.errstate(over="ignore"):
            value = float(np.exp(nll.mean))
        return Estimate(value, None if nll.error is None else value * nll.error)


@dataclass(frozen=True)
class Difference:
    """A bundle's answers less its reference's, item by item.

    accuracy: of being right. log_p: of the right continuation, in nats; what it loses there shows before answers
    change. lost, won: how many the reference alone had right, and the bundle alone.
    """

    accuracy: Estimate
    log_p: Estimate
    lost: int
    won: int


def difference(answers: Answers, reference: Answers) -> Difference:
    """Of the same items."""
    changed = answers.right.astype(float) - reference.right
    return Difference(
        Estimate.of(changed),
        Estimate.of(answers.log_p - reference.log_p),
        int((changed < 0).sum()),
        int((changed > 0).sum()),
    )
