"""`rrwkv chat`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rrwkv_export.commands.shared.options import (
    PATH,
    native_option,
    provider_options,
    sampling_options,
    shared,
    spin_option,
    threads_option,
)
from rrwkv_runtime.terminal import options


@click.command()
@click.argument("bundle", type=PATH, required=False)
@shared(options.SYSTEM)
@shared(options.THINK)
@shared(options.STATE)
@shared(options.ALLOW_OTHER)
@shared(options.SPECIAL)
@shared(options.CHAT_STATS, default=True)
@shared(options.MAX_TOKENS, default=512, show_default=True)
@sampling_options
@threads_option
@spin_option
@native_option
@provider_options
def chat(
    bundle: Path | None,
    system: str | None,
    think: str,
    state: Path | None,
    allow_other_quantization: bool,
    special: bool,
    stats: bool,
    max_tokens: int,
    threads: int | None,
    spin: bool,
    native: str | None,
    provider: str,
    provider_options: dict[str, str],
    strict: bool,
    **sampling: Any,
) -> int:
    """Talk with BUNDLE; without one, with the built-in demo model.

    Type /help in the chat for its commands. Ctrl-C stops a reply, Ctrl-D leaves. Piped input is answered line by line:
    a message that cannot be answered gives an empty line, and exit status 1 at the end.
    The demo is exported once, into the user's cache folder.

    \b
    rrwkv chat
    rrwkv chat BUNDLE --system "A conversation between friends." --temp 0.8
    echo "Hello!" | rrwkv chat BUNDLE
    """
    from rrwkv_export.commands.shared.cached_demo import cached_demo
    from rrwkv_export.commands.shared.models import load_model
    from rrwkv_export.commands.shared.talk import talk

    limit, threads = options.max_tokens(max_tokens), options.threads(threads)
    thinks, hide = options.think(think)
    said = {"system": system, "special": special, "think": thinks, "max_tokens": limit, **options.sampling(sampling)}
    # The cached demo was verified a moment ago.
    where: dict[str, Any] = {"provider_options": provider_options, "strict": strict, "spin": spin, "native": native}
    model = load_model(bundle or cached_demo(), provider, threads, **where, verify=bundle is not None)
    return talk(model, state, allow_other_quantization, stats, hide, **said)
