"""`rrwkv generate`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rrwkv_export.commands.shared.options import (
    bundle_argument,
    native_option,
    provider_options,
    sampling_options,
    shared,
    spin_option,
    threads_option,
)
from rrwkv_export.commands.shared.say import note
from rrwkv_runtime.terminal import options


@click.command()
@bundle_argument
@shared(options.PROMPT)
@shared(options.PROMPT_FILE)
@shared(options.IDS)
@shared(options.MAX_TOKENS, default=256, show_default=True)
@shared(options.STOP)
@shared(options.STOP_ID)
@shared(options.ESCAPE, default=True)
@shared(options.IGNORE_EOS)
@shared(options.SPECIAL)
@shared(options.JSON, "as_json")
@shared(options.LOGPROBS)
@shared(options.STATS)
@sampling_options
@threads_option
@spin_option
@native_option
@provider_options
def generate(
    bundle: Path,
    prompt: str | None,
    prompt_file: Path | None,
    ids: str | None,
    max_tokens: int,
    stop: tuple[str, ...],
    stop_id: tuple[int, ...],
    escape: bool,
    ignore_eos: bool,
    special: bool,
    as_json: bool,
    logprobs: int | None,
    stats: bool,
    threads: int | None,
    spin: bool,
    native: str | None,
    provider: str,
    provider_options: dict[str, str],
    strict: bool,
    **sampling: Any,
) -> None:
    """Continue a text with BUNDLE.

    \b
    rrwkv generate BUNDLE -p "Once upon a time" -n 64
    echo "Once upon a time" | rrwkv generate BUNDLE
    """
    from rrwkv_export.commands.shared.models import load_model
    from rrwkv_runtime.errors import InputError
    from rrwkv_runtime.terminal.console import ReadingLine
    from rrwkv_runtime.terminal.prompt import read_prompt, typed
    from rrwkv_runtime.terminal.writing import Writer, special_note

    options.one_prompt(prompt, prompt_file, ids)
    how = {"max_tokens": options.max_tokens(max_tokens), **options.sampling(sampling)}
    stops = [typed(text, escape) for text in stop]
    writer = Writer(as_json, logprobs)
    text = read_prompt(prompt, prompt_file, ids, escape)
    where: dict[str, Any] = {"provider_options": provider_options, "strict": strict, "spin": spin, "native": native}
    model = load_model(bundle, provider, options.threads(threads), **where)
    if line := special_note(model.tokenizer, text, special):
        note(f"rrwkv: {line}")
    reading = ReadingLine()
    with options.named(options.STOP_ID, "stop_ids", InputError):
        tokens = model.generate(
            text,
            stop=stops,
            stop_ids=stop_id,
            ignore_eos=ignore_eos,
            special=special,
            top_logprobs=writer.top_logprobs,
            progress=reading,
            **how,
        )
    try:
        with options.named(options.LOGIT_BIAS, kind=InputError):
            timing = writer.write(tokens, model.tokenizer)
    finally:
        reading.erase()
    if stats:
        click.echo(timing, err=True)
