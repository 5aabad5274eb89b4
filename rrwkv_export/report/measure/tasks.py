"""What a bundle and its reference answer to the tasks that come along."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rrwkv_export.evaluate.answers import Answers, Difference, difference


@dataclass(frozen=True)
class Answered:
    """One task: the reference's answers, and the bundle's own."""

    reference: Answers
    own: Answers

    @property
    def name(self) -> str:
        return self.own.task.name

    @cached_property
    def difference(self) -> Difference:
        """The bundle's less the reference's."""
        return difference(self.own, self.reference)


def answered(reference: tuple[Answers, ...], own: tuple[Answers, ...]) -> tuple[Answered, ...]:
    """Both's answers to the same tasks."""
    return tuple(Answered(*pair) for pair in zip(reference, own, strict=True))
