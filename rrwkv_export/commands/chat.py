"""`rrwkv chat`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rrwkv_export.commands._options import (
    PATH,
    given,
    native_option,
    provider_options,
    sampling_options,
    spin_option,
    threads_option,
)


@click.command()
@click.argument("bundle", type=PATH, required=False)
@click.option("--system", metavar="TEXT", help="Text put before the conversation.")
@click.option("--state", type=PATH, metavar="FILE", help="Continue from a conversation saved with /save.")
@click.option(
    "--allow-other-quantization", is_flag=True, help="Let --state be of another quantization of the same model."
)
@click.option(
    "-n", "--max-tokens", type=int, default=512, show_default=True, metavar="N", help="Of a reply; 0 or -1: no limit."
)
@sampling_options
@threads_option
@spin_option
@native_option
@provider_options
def chat(
    bundle: Path | None,
    system: str | None,
    state: Path | None,
    allow_other_quantization: bool,
    max_tokens: int,
    threads: int | None,
    spin: bool,
    native: bool | None,
    provider: str,
    provider_options: dict[str, str],
    strict: bool,
    **sampling: Any,
) -> None:
    """Talk with BUNDLE; without one, with the built-in demo model.

    Type /help in the chat for its commands. Ctrl-C stops a reply, Ctrl-D leaves. Piped input is answered line by line.
    The demo is exported once, into the user's cache folder.
    """
    from rrwkv_export.commands._models import load_model
    from rrwkv_export.commands.demo import cached_demo
    from rrwkv_runtime.prompt import token_limit

    options = {"system": system, "max_tokens": token_limit(max_tokens), **given(sampling)}
    # The cached demo was verified a moment ago.
    where: dict[str, Any] = {"provider_options": provider_options, "strict": strict, "spin": spin, "native": native}
    model = load_model(bundle or cached_demo(), provider, threads, **where, verify=bundle is not None)
    talk(model, state, allow_other_quantization, **options)


def talk(model: Any, state: Path | None = None, allow_other_quantization: bool = False, **options: Any) -> None:
    """A conversation on this terminal, or through a pipe, until it ends; `state` is a file to continue from."""
    from platformdirs import user_state_path

    from rrwkv_runtime.chat import Chat
    from rrwkv_runtime.console import Terminal
    from rrwkv_runtime.repl import Repl

    conversation = Chat(model, **options)
    if state:
        conversation.load(state, allow_other_quantization)
    terminal = Terminal(history=user_state_path("rrwkv") / "history")
    if terminal.interactive:
        config = model.manifest.config
        terminal.say(
            f"{config['architecture']}, {model.manifest.parameters:,} parameters. /help lists commands.", "note"
        )
    Repl(conversation, terminal, show_stats=True).run()
