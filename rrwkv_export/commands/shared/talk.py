"""A conversation of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def talk(
    model: Any,
    state: Path | None = None,
    allow_other_quantization: bool = False,
    stats: bool = True,
    hide_thoughts: bool = False,
    **said: Any,
) -> int:
    """A conversation on this terminal, or through a pipe, until it ends; gives the exit status.

    state: a file to continue from. stats, hide_thoughts: of the `Repl`. said: options of `Chat`.
    """
    from platformdirs import user_state_path

    from rrwkv_runtime.chat import Chat
    from rrwkv_runtime.terminal.console import Terminal
    from rrwkv_runtime.terminal.repl import Repl, go_on_from

    conversation = Chat(model, **said)
    if state:
        go_on_from(conversation, state, allow_other_quantization)
    terminal = Terminal(history=user_state_path("rrwkv") / "history")
    if terminal.interactive:
        manifest = model.manifest
        can = "It thinks first if asked to (/think on). " if manifest.chat.thinking else ""
        terminal.say(
            f"{manifest.config['architecture']}, {manifest.parameters:,} parameters. {can}/help lists commands.", "note"
        )
    repl = Repl(
        conversation,
        terminal,
        show_stats=stats,
        hide_thoughts=hide_thoughts,
        allow_other_quantization=allow_other_quantization,
    )
    return repl.run()
