"""Options that several commands share, under the names people know from llama.cpp, mlx-lm and optimum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rrwkv_runtime.providers import NAMES, parse_options

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

PATH = click.Path(path_type=Path)
TEXT_FILES = (
    "dialogues or texts (.jsonl, .json), plain text (.txt, .md, .raw), or token ids (.ids: whole numbers separated by "
    "spaces or commas, a passage a line)"
)

bundle_argument: Decorator[Any] = click.argument("bundle", type=PATH)
json_option: Decorator[Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
spin_option: Decorator[Any] = click.option(
    "--spin/--no-spin",
    default=True,
    show_default=True,
    help="Whether threads look for work all the time; letting them sleep is slower and saves a battery.",
)
native_option: Decorator[Any] = click.option(
    "--native/--no-native",
    default=None,
    help="Whether to run on the kernels of rrwkv-native; by default where they are installed and the processor has "
    "AVX-512 VNNI.",
)
threads_option: Decorator[Any] = click.option(
    "-t", "--threads", type=click.IntRange(min=1), metavar="N", help="Threads; by default one for each usable core."
)
provider_option: Decorator[Any] = click.option(
    "--provider",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help=f"Execution provider: {', '.join(NAMES)}. The last takes the best that is installed and works.",
)


def stacked(*decorators: Decorator[Any]) -> Decorator[Any]:
    """Several decorators as one, in the order in which help lists them."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


provider_options = stacked(
    provider_option,
    click.option(
        "--provider-option",
        "provider_options",
        multiple=True,
        metavar="KEY=VALUE",
        callback=lambda _context, _option, pairs: parse_options(pairs),
        help="One of the provider's own options; for plugins also device=CPU, GPU or NPU.",
    ),
    click.option("--strict", is_flag=True, help="Fail if any node is on the CPU instead of the provider."),
)

checkpoint_options = stacked(
    click.option(
        "--config", type=PATH, metavar="FILE", help="The model's config.json, if it is not beside the weights."
    ),
    click.option(
        "--tokenizer",
        type=PATH,
        metavar="FILE",
        help="A tokenizer.json, or the RWKV World vocabulary (rwkv_vocab_v20230424.txt, vocab.txt or .json), or a "
        "folder with one. With neither here nor beside the weights, the bundle works on token ids.",
    ),
    click.option(
        "--adapter",
        "adapters",
        type=PATH,
        multiple=True,
        metavar="FILE",
        help="LoRA weights to merge: a PEFT folder, or a file of them. Again for several, merged in this order.",
    ),
    click.option(
        "--adapter-alpha",
        "adapter_alphas",
        type=float,
        multiple=True,
        metavar="X",
        help="The alpha that LoRA weights were trained with, where they do not say it, as RWKV-LM-LoRA's do not.",
    ),
    click.option(
        "--chat",
        type=PATH,
        metavar="FILE",
        help='The chat format, as a chat.json. Without one: "User: …", "Assistant: …", a blank line after each.',
    ),
)

verification_options = stacked(
    click.option(
        "--rtol",
        type=click.FloatRange(min=0, min_open=True),
        metavar="X",
        help="Largest error allowed, over the largest value.  [default: 1e-5, or what float32 arithmetic explains on "
        "this checkpoint; 5e-3 for float16]",
    ),
    click.option(
        "--tokens",
        type=click.IntRange(1, 65536),
        metavar="N",
        help="Tokens to compare with; by default enough to fill the medium bank, fewer for large models, "
        "and every special token.",
    ),
)

sampling_options = stacked(
    click.option(
        "--temp", "--temperature", "temperature", type=float, metavar="X", help="0 takes the likeliest token."
    ),
    click.option("--top-k", type=int, metavar="K", help="Keep the K likeliest tokens; 0 keeps all."),
    click.option("--top-p", type=float, metavar="P", help="Keep the likeliest tokens that reach P together."),
    click.option("--min-p", type=float, metavar="P", help="Keep tokens at least P times as likely as the likeliest."),
    click.option("--repetition-penalty", type=float, metavar="R", help="Divide positive logits of seen tokens by R."),
    click.option("--presence-penalty", type=float, metavar="X", help="Subtract from the logits of seen tokens."),
    click.option("--frequency-penalty", type=float, metavar="X", help="Subtract as often as a token was seen."),
    click.option("-s", "--seed", type=int, metavar="N", help="The same seed gives the same text."),
)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}
