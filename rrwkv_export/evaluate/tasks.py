"""The tasks that come along, and what a file of one holds.

    next_reply   {"source", "context": str, "choices": [str, …], "answer": int}   a line; the likeliest choice is right
    last_word    {"source", "context": str, "word": str}                          a line; the greedy word is right

A continuation stands one space after its context. The files are made by `benchmarks/quality/task_files.py`, of
dialogues that neither calibration nor the demo's training has seen. Beside each is what lm-evaluation-harness reads of
it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rrwkv_export.errors import TextError, without_remedy
from rrwkv_runtime.common.reading import read_utf8
from rrwkv_runtime.errors import InputError

FOLDER = Path(str(resources.files("rrwkv_export"))) / "assets" / "tasks"
DELIMITER = " "
_LARGEST = 16 << 20  # bytes
_ANEW = "get the file anew"


@dataclass(frozen=True)
class Item:
    """One question: a context, what may follow it, and which of these is right."""

    context: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Task:
    """name: as lm-evaluation-harness knows it. choose: whether several continuations are weighed, else one is guessed.
    what: what is asked, for people.
    """

    name: str
    file: str
    choose: bool
    what: str

    def items(self, folder: Path = FOLDER) -> list[Item]:
        """Raises TextError for a file that is no task's."""
        path = folder / self.file
        try:
            lines = read_utf8(path, _LARGEST).split("\n")
        except InputError as error:
            raise TextError(f"{without_remedy(error)}; {_ANEW}") from None
        items = [self._item(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
        if not items:
            raise TextError(f"{path}: no item of {self.name} is in it; {_ANEW}")
        return items

    def _item(self, path: Path, number: int, line: str) -> Item:
        try:
            return _item(json.loads(line), self.choose)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise TextError(f"{path}: line {number} is no item of {self.name}; {_ANEW}") from None


def _item(fields: Mapping[str, Any], choose: bool) -> Item:
    choices = fields["choices"] if choose else [fields["word"]]
    context, answer = fields["context"], fields["answer"] if choose else 0
    if not isinstance(choices, list) or not all(isinstance(text, str) and text for text in (context, *choices)):
        raise ValueError(fields)
    if type(answer) is not int or not 0 <= answer < len(choices):
        raise ValueError(answer)
    return Item(context, tuple(choices), answer)


NEXT_REPLY = Task(
    "rrwkv_next_reply", "next_reply.jsonl", True, "which of four replies a dialogue goes on with; 25 % by chance"
)
LAST_WORD = Task("rrwkv_last_word", "last_word.jsonl", False, "the last word of a turn, which was said before")
TASKS = (NEXT_REPLY, LAST_WORD)
