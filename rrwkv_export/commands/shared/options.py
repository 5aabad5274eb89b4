"""Options that several commands share, under the names people know from llama.cpp, mlx-lm and optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rrwkv_runtime.errors import UsageError
from rrwkv_runtime.providers import parse_options
from rrwkv_runtime.terminal import options
from rrwkv_runtime.terminal.options import Option

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

PATH = click.Path(path_type=Path)
SEED = click.IntRange(0, (1 << 32) - 1)
TEXT_FILES = (
    "dialogues or texts (.jsonl, .json), plain text (.txt, .md, .raw), or token ids (.ids: whole numbers separated by "
    "spaces or commas, a passage a line), .xz of these too"
)


def _plain(kind: click.ParamType[Any], value: Any, ratio: bool = False) -> Any:
    """A number without a percent sign; with one it is refused with what was meant, see `options.number`."""
    try:
        return options.number(value, ratio) if isinstance(value, str) else value
    except UsageError as error:
        kind.fail(str(error))


class Number(click.types.FloatParamType):
    """A number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_plain(self, value), param, ctx)


class NumberFrom(click.FloatRange):
    """A number from 0; a ratio to something, if so."""

    def __init__(self, *, min_open: bool = False, ratio: bool = False) -> None:
        super().__init__(min=0, min_open=min_open)
        self._ratio = ratio

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(_plain(self, value, self._ratio), param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return found


bundle_argument: Decorator[Any] = click.argument("bundle", type=PATH)


def shared(option: Option, dest: str | None = None, **changes: Any) -> Decorator[Any]:
    """An option that `python -m rrwkv_runtime` has too, in the same words."""
    names = list(option.names)
    how: dict[str, Any] = {"help": option.help}
    if option.kind is bool:
        how["is_flag"] = True
    elif option.kind is None:
        names = [f"{name}/--no-{name[2:]}" if name.startswith("--") else name for name in names]
        how["default"] = None
    else:
        how |= {
            "type": {Path: PATH, float: Number()}.get(option.kind, option.kind),
            "metavar": option.metavar,
            "multiple": option.many,
        }
        if option.default is not None:
            how |= {"default": option.default, "show_default": True}
    return click.option(*names, dest or option.dest, **{**how, **changes})


json_option = shared(options.WHOLE_MANIFEST, "as_json")
spin_option = shared(options.SPIN, default=True)
threads_option = shared(options.THREADS, type=click.IntRange(min=1))
provider_option = shared(options.PROVIDER)


def stacked(*decorators: Decorator[Any]) -> Decorator[Any]:
    """Several decorators as one, in the order in which help lists them."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


native_option = stacked(
    shared(options.NATIVE, callback=lambda _context, _option, word: options.native(word)),
    click.option(
        options.NATIVE.opposite, "native", flag_value="off", default=None, help=f"As {options.NATIVE.names[0]} off."
    ),
)

provider_options = stacked(
    provider_option,
    shared(
        options.PROVIDER_OPTION,
        "provider_options",
        callback=lambda _context, _option, pairs: parse_options(pairs),
    ),
    shared(options.STRICT),
)

checkpoint_options = stacked(
    click.option(
        "--config", type=PATH, metavar="FILE", help="The model's config.json, if it is not beside the weights."
    ),
    click.option(
        "--tokenizer",
        metavar="FILE|world",
        help="A tokenizer.json, or the RWKV World vocabulary (rwkv_vocab_v20230424.txt, vocab.txt or .json), or a "
        "folder with one; world: the World vocabulary that comes along. With neither here nor beside the weights, the "
        "bundle works on token ids.",
    ),
    click.option(
        "--adapter",
        "adapters",
        type=PATH,
        multiple=True,
        metavar="FILE",
        help="LoRA weights to merge, a PEFT folder or a file; may be given several times, merged in this order.",
    ),
    click.option(
        "--adapter-alpha",
        "adapter_alphas",
        type=Number(),
        multiple=True,
        metavar="X",
        help="The alpha that LoRA weights were trained with, where they do not say it (RWKV-LM-LoRA's); may be given "
        "several times.",
    ),
    click.option(
        "--chat",
        metavar="FILE|world|g1",
        help="The chat format, as a chat.json, or by name: world, that of the World models; g1, of those that think. "
        'Without one: "User: …", "Assistant: …", a blank line after each; with the World vocabulary world, or g1 where '
        "the checkpoint is called so.",
    ),
)

verification_options = stacked(
    click.option(
        "--rtol",
        type=NumberFrom(min_open=True),
        metavar="X",
        help="Largest error allowed, over the largest value.  [default: 1e-5, or what float32 arithmetic explains on "
        "this checkpoint; 5e-3 for float16]",
    ),
    click.option(
        "--tokens",
        type=click.IntRange(1, 65536),
        metavar="N",
        help="Tokens to compare with.  [default: enough to fill every slot for mediums, fewer for large models, and "
        "every special token]",
    ),
)

sampling_options = stacked(*(shared(option) for option in (*options.SAMPLING, options.LOGIT_BIAS, options.SEED)))
