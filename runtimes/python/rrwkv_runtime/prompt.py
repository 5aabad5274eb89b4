"""What every command line of this project reads alike: the prompt, and the limit of tokens."""

from __future__ import annotations

import sys
from pathlib import Path

from rrwkv_runtime.errors import InputError


def read_prompt(text: str | None, file: Path | None, ids: str | None) -> str | list[int]:
    """The prompt, from whichever is given; with none of them, from standard input. Raises InputError, OSError."""
    if ids is not None:
        try:
            return [int(part) for part in ids.replace(",", " ").split()]
        except ValueError:
            raise InputError(f"--ids takes numbers with commas between them, not {ids!r}") from None
    if text is not None:
        return text
    if file is None and sys.stdin.isatty():
        print("reading the prompt from standard input; end it with Ctrl-D", file=sys.stderr, flush=True)
    try:
        return (file.read_bytes() if file else sys.stdin.buffer.read()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the prompt is not UTF-8 text: byte {error.start} is wrong") from None


def token_limit(number: int) -> int | None:
    """`max_tokens` as people type it: 0 and -1 mean None, no limit. Raises InputError."""
    if number < -1:
        raise InputError(f"max_tokens must be from 1, or 0 or -1 for no limit, not {number}")
    return number if number > 0 else None
