"""A conversation at a terminal, or line by line through a pipe. What is read and written goes through a `Console`.

On a terminal: prompts, colours, Ctrl-C stops a reply, Ctrl-D leaves. Piped: every message gives one line of output, one
that cannot be answered an empty one, and then the exit status is 1; a line is a command only if it begins with one's
name, so that "/etc/fstab is a file" is a message.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator, Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from rrwkv_runtime.chat import Chat
from rrwkv_runtime.common.printable import one_line, without_controls
from rrwkv_runtime.errors import InputError, OtherBundle, RRWKVError, StateError, UsageError
from rrwkv_runtime.terminal.console import Console, ReadingLine, silence_stdout
from rrwkv_runtime.terminal.options import THINK_WORDS, meant, think
from rrwkv_runtime.terminal.prompt import token_limit

if TYPE_CHECKING:
    from rrwkv_runtime.execution.decoder import Progress
    from rrwkv_runtime.generate import Token

_PROMPT, _CONTINUED = "> ", ". "
_BLOCK = '"""'
_WHOLE = ("top_k", "seed", "max_tokens")
_NONE = ("seed", "max_tokens")

HELP = """\
/help             this list
/reset            start the conversation anew
/undo             take back the last message and its reply
/retry            have the last message answered again
/system TEXT      start anew with TEXT before the conversation; without TEXT, with none
/think WORD       have the model think before it answers: auto, on, off or hidden; /think shows which
/set NAME VALUE   change an option; /set shows all
/save FILE        write the conversation's state
/load FILE        continue from a state
/stats            tokens and speed
/quit             leave; so does Ctrl-D
A line ending in \\ goes on in the next; a line of \"\"\" starts and ends a longer message. Ctrl-C stops a reply."""


class Repl:
    """Reads messages and commands, streams replies.

    show_stats: a line with tokens and speed after each reply on a terminal. hide_thoughts: show of a thought only that
    there is one, as ever in a pipe not even that. allow_other_quantization: for /load, as for `Chat.load`. progress: as
    in `generate`; without one, a `ReadingLine`.
    """

    def __init__(
        self,
        chat: Chat,
        console: Console,
        *,
        show_stats: bool = False,
        hide_thoughts: bool = False,
        allow_other_quantization: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.chat, self.console = chat, console
        self._reading = ReadingLine()
        self._show_stats, self._allow_other = show_stats, allow_other_quantization
        self._hide_thoughts, self._thinks = hide_thoughts, False
        self._progress = progress or self._reading
        self._open, self._failed, self._lines = True, False, 0
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: self._note(HELP),
            "/reset": self._reset,
            "/undo": self._undo,
            "/retry": lambda _: self._stream(self.chat.retry(self._progress)),
            "/system": self._system,
            "/think": self._think,
            "/set": self._set,
            "/save": self._save,
            "/load": self._load,
            "/stats": lambda _: self._note(self._stats()),
            "/quit": self._quit,
        }

    def run(self) -> int:
        """Until the end of input or /quit; gives the exit code, 1 if anything piped failed.

        Raises KeyboardInterrupt only when piped.
        """
        try:
            while self._open:
                try:
                    self._handle(*self._read())
                except EOFError:
                    break
                except KeyboardInterrupt:
                    if not self.console.interactive:
                        raise
                    self._note("\n(to leave: /quit or Ctrl-D)")
        except BrokenPipeError:
            silence_stdout()
        finally:
            self.console.close()
        return int(self._failed and not self.console.interactive)

    def _read(self) -> tuple[str, bool]:
        """(message, whether it was a block and so is no command)."""
        line = self._line(_PROMPT)
        lines: list[str] = []
        block = line.strip() == _BLOCK
        try:
            if block:
                while (line := self._line(_CONTINUED)).strip() != _BLOCK:
                    lines.append(line)
                return "\n".join(lines), True
            while line.endswith("\\"):
                lines.append(line[:-1])
                line = self._line(_CONTINUED)
        except EOFError:
            return "\n".join(lines), block
        return "\n".join([*lines, line]), False

    def _line(self, prompt: str) -> str:
        self._lines += 1
        return self.console.read_line(prompt if self.console.interactive else "")

    def _handle(self, text: str, verbatim: bool) -> None:
        command = self._is_command(text) and not verbatim
        try:
            if command:
                self._command(text)
            elif text.strip():
                _check_utf8(text)
                self._stream(self.chat.send(text, self._progress))
        except BrokenPipeError:
            raise
        except (RRWKVError, OSError) as error:
            self._fail(error, answer=not command)

    def _is_command(self, text: str) -> bool:
        return text.startswith("/") and (self.console.interactive or text.split(maxsplit=1)[0] in self._commands)

    def _fail(self, error: Exception, answer: bool) -> None:
        self._failed = True
        where = "" if self.console.interactive else f"line {self._lines}: "
        self.console.say(where + one_line(str(error)), "error")
        if answer and not self.console.interactive:
            self.console.write("\n")

    def _command(self, text: str) -> None:
        name, _, argument = text.strip().partition(" ")
        if name in self._commands:
            self._commands[name](argument.strip())
            return
        raise _unknown("command", name, self._commands, "/help")

    def _stream(self, reply: Generator[Token, None, None]) -> None:
        """Show a reply; Ctrl-C on a terminal ends it, and what was shown stays part of the conversation."""
        finish, begun, self._thinks = None, False, False
        try:
            try:
                for token in reply:
                    finish, begun = token.finish, True
                    self._show(token)
            finally:
                # Whatever ended the loop: the turn is settled before anything else happens.
                reply.close()
                self._reading.erase()
        except KeyboardInterrupt:
            if not self.console.interactive:
                raise
            self.console.write("\n")
            self._note("(stopped)" if begun else "(stopped; the conversation is as it was)")
            return
        self.console.write("\n")
        if finish == "length":
            self._cut()
        if self.console.interactive and self._show_stats:
            last = self.chat.stats.last
            self.console.say(f"{last.generated_tokens} tokens, {last.generated_rate:.1f} tokens/s", "stats")

    def _cut(self) -> None:
        """A reply was cut at the most tokens. In a pipe it is said of one that is all thought, and is a failure."""
        where = ", within its thought" if self._thinks else ""
        if self.console.interactive:
            self._note(f"(cut at {self.chat.max_tokens} tokens{where}; see /set max_tokens)")
        elif self._thinks:
            self._fail(InputError(f"cut at {self.chat.max_tokens} tokens{where}; --max-tokens lets it go on"), False)

    def _show(self, token: Token) -> None:
        seen = self.console.interactive
        if token.thought:
            shown = "" if self._hide_thoughts else without_controls(token.thought)
            if seen and (shown or not self._thinks):
                self.console.think(shown if self._thinks else f"(thinks) {shown}")
            self._thinks = True
        if token.text and self._thinks:
            self.console.write("\n\n" if seen else "")
            self._thinks = False
        self._write(token.text)

    def _write(self, text: str) -> None:
        if not self.console.interactive:
            text = text.replace("\n", " ")
        self.console.write(without_controls(text))  # which must not move the cursor or rename the window

    def _note(self, text: str) -> None:
        self.console.say(text, "note")

    def _reset(self, _: str) -> None:
        self.chat.reset()
        self._note("(a new conversation)")

    def _undo(self, _: str) -> None:
        self._note(f"(taken back: {self.chat.undo()})")

    def _system(self, text: str) -> None:
        self.chat.reset(text)
        self._note("(a new conversation)")

    def _think(self, word: str) -> None:
        if word:
            try:
                self.chat.think, self._hide_thoughts = think(word)
            except UsageError:
                raise InputError(f"/think takes {', '.join(THINK_WORDS)}, not {word!r}") from None
        hidden = self._hide_thoughts and self.chat.think == "on"
        self._note(f"think = {'hidden' if hidden else self.chat.think}")

    def _set(self, argument: str) -> None:
        name, _, value = argument.partition(" ")
        options = self._options()
        if not name:
            self._note("\n".join(f"{option:<20}{shown}" for option, shown in options.items()))
            return
        if name not in options:
            raise _unknown("option", name, options, "/set")
        if value:
            self._change(name, value.strip())
        self._note(f"{name} = {self._options()[name]}")

    def _options(self) -> dict[str, object]:
        names = [f.name for f in fields(self.chat.sampling) if f.name not in ("logit_bias", "penalty_window")]
        sampling: dict[str, object] = {name: getattr(self.chat.sampling, name) for name in names}
        return sampling | {"seed": self.chat.seed, "max_tokens": self.chat.max_tokens}

    def _change(self, name: str, text: str) -> None:
        value: int | float | None
        try:
            value = int(text) if name in _WHOLE else float(text)
        except ValueError:
            if text.lower() != "none" or name not in _NONE:
                raise InputError(f"{name} takes a number, not {text!r}{meant(text)}") from None
            value = None
        if name == "max_tokens" and isinstance(value, int):
            value = token_limit(value)
        if name in _NONE:
            setattr(self.chat, name, value)
        else:
            self.chat.sampling = self.chat.sampling.changed({name: value})

    def _save(self, argument: str) -> None:
        path = _path(argument)
        self.chat.save(path)
        self._note(f"(saved {self.chat.position} tokens of conversation to {path})")

    def _load(self, argument: str) -> None:
        path = _path(argument)
        go_on_from(self.chat, path, self._allow_other)
        self._note(f"(continuing after {self.chat.position} tokens from {path})")

    def _quit(self, _: str) -> None:
        self._open = False

    def _stats(self) -> str:
        return f"last   {self.chat.stats.last}\ntotal  {self.chat.stats.total}"


def go_on_from(chat: Chat, path: Path, allow_other_quantization: bool) -> None:
    """`Chat.load` for a program that was started with --allow-other-quantization, or could have been."""
    try:
        chat.load(path, allow_other_quantization)
    except OtherBundle as error:
        raise StateError(f"{error.what}; start with --allow-other-quantization to go on from it all the same") from None


def _check_utf8(text: str) -> None:
    """Raises InputError for text with bytes that are not UTF-8, which the console keeps as lone surrogates."""
    for character in text:
        if "\udc80" <= character <= "\udcff":
            raise InputError(f"the message is not UTF-8 text: it holds the byte 0x{ord(character) - 0xDC00:02x}")


def _path(argument: str) -> Path:
    if not argument:
        raise InputError("give a file name")
    if "\0" in argument:
        raise InputError("a file name cannot hold the character NUL")
    try:
        return Path(argument).expanduser()
    except RuntimeError:
        raise InputError(f"{argument}: there is no home folder of that name") from None


def _unknown(what: str, name: str, known: Iterable[str], command: str) -> InputError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return InputError(f"unknown {what} {name}; " + (f"did you mean {near[0]}?" if near else f"{command} lists them"))
