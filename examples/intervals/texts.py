"""Texts whose density varies: passages of prose, of a refrain that tells nothing new, and of names and numbers."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from rrwkv_export.errors import OutputError, TextError
from rrwkv_runtime.common.reading import brief

KINDS = ("refrain", "prose", "numbers")
_LEAST = 10_000  # of which a tenth is held out, and is longer than a passage
_LETTERS, _DIGITS = "bcdfghjklmnpqrstvwxz", "0123456789"


@dataclass(frozen=True)
class Passage:
    """kind: of `KINDS`. text: whole lines."""

    kind: str
    text: str


def passages(prose: str, count: int, seed: int) -> list[Passage]:
    """In turns at random, of 200 to 600 characters each; prose is cut from any place of the text."""
    drawn = random.Random(seed)
    made = {"refrain": _refrain, "prose": lambda r, size: _prose(r, size, prose), "numbers": _numbers}
    kinds = [drawn.choice(KINDS) for _ in range(count)]
    return [Passage(kind, made[kind](drawn, drawn.randint(200, 600))) for kind in kinds]


def read_prose(path: Path) -> str:
    """Raises TextError for what is no text, or not enough of it."""
    try:
        prose = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or brief(error)
        raise TextError(f"{path}: cannot be read as text in UTF-8 ({reason}); give a plain text") from None
    if len(prose) < _LEAST:
        raise TextError(f"{path}: {len(prose):,} characters, and {_LEAST:,} are the least; give a longer text")
    return prose


def write(folder: Path, prose: str, count: int) -> tuple[Path, Path]:
    """A text of so many passages to train on, one of a twelfth for measuring, and what these are:
    `held_out.json`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write there ({error.strerror}); choose another place") from None
    border = 9 * len(prose) // 10
    trained = passages(prose[:border], count, seed=0)
    held_out = passages(prose[border:], max(1, 2 * count // 25), seed=1)
    (folder / "held_out.json").write_text(json.dumps([vars(p) for p in held_out], indent=1), encoding="utf-8")
    for name, found in (("trained.txt", trained), ("held_out.txt", held_out)):
        (folder / name).write_text("".join(p.text for p in found), encoding="utf-8")
    return folder / "trained.txt", folder / "held_out.txt"


def _refrain(drawn: random.Random, size: int) -> str:
    line = drawn.choice(["And the wheel turns round, and round, and round.\n", "Row, row, row, and row again.\n"])
    return line * (size // len(line) + 1)


def _prose(drawn: random.Random, size: int, prose: str) -> str:
    start = drawn.randrange(len(prose) - size)
    return prose[start : start + size].strip() + "\n"


def _numbers(drawn: random.Random, size: int) -> str:
    def word() -> str:
        return "".join(drawn.choice(_LETTERS + _DIGITS) for _ in range(drawn.randint(3, 6)))

    lines = ""
    while len(lines) < size:
        lines += " ".join(word() for _ in range(6)) + "\n"
    return lines
