"""The seam between a conversation and a terminal or a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_SECONDS_BETWEEN_LINES = 5.0
_COLOURS = {"note": "2", "stats": "2", "thought": "2", "error": "31"}


class Console(Protocol):
    """The seam to the outside."""

    interactive: bool

    def read_line(self, prompt: str) -> str:
        """One line without its end. Raises EOFError at the end of input, KeyboardInterrupt for Ctrl-C."""

    def write(self, text: str) -> None:
        """A piece of a reply, shown at once."""

    def think(self, text: str) -> None:
        """A piece of a thought, shown at once, and told from a reply where there are colours."""

    def say(self, text: str, kind: str) -> None:
        """One message of the program; kind is "note", "stats" or "error"."""

    def close(self) -> None:
        """The conversation is over."""


class Terminal:
    """Standard input and output; with line editing and history where there is a terminal."""

    def __init__(self, history: Path | None = None) -> None:
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._colour = self.interactive and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._history = history if self.interactive else None
        tolerate_encodings()
        if self.interactive:
            with contextlib.suppress(ImportError, OSError):
                import readline  # its import alone gives `input` line editing

                if history:
                    readline.read_history_file(history)

    def read_line(self, prompt: str) -> str:
        if self.interactive:
            return input(prompt)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")

    def write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def think(self, text: str) -> None:
        self.write(self._coloured(text, "thought"))

    def say(self, text: str, kind: str) -> None:
        print(self._coloured(text, kind), file=sys.stdout if self.interactive else sys.stderr, flush=True)

    def _coloured(self, text: str, kind: str) -> str:
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if self._colour else text

    def close(self) -> None:
        if not self._history:
            return
        with contextlib.suppress(ImportError, OSError):
            import readline

            self._history.parent.mkdir(parents=True, exist_ok=True)
            readline.set_history_length(1000)
            readline.write_history_file(self._history)


class ReadingLine:
    """How far a long prompt is read, on standard error. A `Progress`.

    At a terminal a line that erases itself; elsewhere, where lines stay, one from time to time if it takes long. A
    prompt of one chunk is done at the first call, and nothing is shown.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._shown = 0  # characters
        self._clock = clock
        self._due: float | None = None

    def __call__(self, done: int, total: int) -> None:
        text = f"reading the prompt: {done:,} of {total:,} tokens"
        if not sys.stderr.isatty():
            self._say_sometimes(text)
        elif done < total:
            self.erase()
            print(text, end="", file=sys.stderr, flush=True)
            self._shown = len(text)
        if done >= total:
            self.erase()

    def _say_sometimes(self, text: str) -> None:
        now = self._clock()
        if self._due is not None and now >= self._due:
            print(text, file=sys.stderr, flush=True)
        if self._due is None or now >= self._due:
            self._due = now + _SECONDS_BETWEEN_LINES

    def erase(self) -> None:
        """The prompt is read, or is read no further."""
        self._due = None
        if self._shown:
            print(f"\r{' ' * self._shown}\r", end="", file=sys.stderr, flush=True)
            self._shown = 0


def tolerate_encodings() -> None:
    """Standard output shows what its encoding lacks as "?"; wrong bytes of standard input are left to the tokenizer.

    Where one was closed (`<&-`), Python has None in its place: it is then as if it was /dev/null.
    """
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream, errors in ((sys.stdout, "replace"), (sys.stdin, "surrogateescape")):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=errors)


def silence_stdout() -> None:
    """The reader of standard output is gone: let nothing more be written there, not even at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
