"""The options of this project's two command lines, `rrwkv` and `python -m rrwkv_runtime`: names, words and defaults."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rrwkv_runtime.errors import InputError, UsageError
from rrwkv_runtime.execution.native import CHOICES, choice
from rrwkv_runtime.providers import NAMES

if TYPE_CHECKING:
    from rrwkv_runtime.chat import Think


@dataclass(frozen=True)
class Option:
    """One option. kind: what its value is, bool for a flag and None for one with an opposite, `--x/--no-x`.

    words: of an option that may also stand alone, as --native; then it is "on", and `--no-native` "off".
    """

    names: tuple[str, ...]
    help: str
    kind: type | None = str
    metavar: str | None = None
    many: bool = False
    default: Any = None
    words: tuple[str, ...] = ()

    @property
    def dest(self) -> str:
        """The name of its value in a program."""
        return self.names[-1].removeprefix("--").replace("-", "_")

    @property
    def opposite(self) -> str:
        """`--no-x` of an option with words."""
        return f"--no-{self.names[-1].removeprefix('--')}"

    @property
    def takes_value(self) -> bool:
        return self.kind not in (bool, None)

    def add_to(self, parser: Any, default: Any = None) -> None:
        """Add it to an argparse parser; an option that was not given is its default, else None, False or []."""
        default = self.default if default is None else default
        text = self.help.replace("%", "%%") + ("" if default is None else "  [default: %(default)s]")
        if self.kind is bool:
            parser.add_argument(*self.names, dest=self.dest, action="store_true", help=text)
        elif self.kind is None:
            parser.add_argument(*self.names, dest=self.dest, action=argparse.BooleanOptionalAction, help=text)
        else:
            action: dict[str, Any] = {"action": "append"} if self.many else {}
            default = [] if self.many else default
            parser.add_argument(
                *self.names,
                dest=self.dest,
                type=_parsed(self.kind),
                metavar=self.metavar,
                help=text,
                default=default,
                **action,
            )
        if self.words:
            text = f"As {self.names[-1]} off."
            parser.add_argument(self.opposite, dest=self.dest, action="store_const", const="off", help=text)


def spelled_out(arguments: Sequence[str], options: Iterable[Option]) -> list[str]:
    """`--native=on` for `--native` where no word of its own follows it, and `--native=WORD` where one does.

    options: all that take values, for a value may read like an option.
    """
    valued = {name: option for option in options if option.takes_value for name in option.names}
    made, rest = list[str](), list(arguments)
    while rest and rest[0] != "--":
        argument = rest.pop(0)
        option = valued.get(argument)
        if option is None or not option.words:
            made += [argument, *(rest[:1] if option else ())]
            rest = rest[1:] if option else rest
        else:
            made.append(f"{argument}={rest.pop(0) if rest[:1] and rest[0] in option.words else 'on'}")
    return made + rest


# What argparse is given for a value `--`, which it would throw away; no argument of a process holds a NUL.
_DASHES = "\0--"


def joined(arguments: Sequence[str], options: Iterable[Option]) -> list[str]:
    """`--prompt=TEXT` for `--prompt TEXT`, of every option with a value, as click reads them.

    argparse takes a value that begins with a dash for an option, and throws `--` away even where it is a value.
    """
    options = tuple(options)
    valued = {name for option in options if option.takes_value for name in option.names}
    made: list[str] = []
    rest = iter(spelled_out(arguments, options))
    for argument in rest:
        if argument == "--":
            return [*made, argument, *rest]
        name, value = argument, None
        if argument in valued:
            value = next(rest, None)
        elif argument.endswith("--"):  # as --prompt=-- or -p--
            name = argument.removesuffix("--").removesuffix("=")
            value = "--" if name in valued else None
        made.append(argument if value is None else f"{name}={_DASHES if value == '--' else value}")
    return made


def _parsed(kind: type | None) -> Callable[[str], Any]:
    """An option's value for argparse, with this module's words for what is none."""

    def parse(text: str) -> Any:
        text = "--" if text == _DASHES else text
        try:
            return number(text) if kind is float else whole(text) if kind is int else (kind or str)(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


_PERCENT = re.compile(r"\s*([+-]?[0-9]*\.?[0-9]+)\s*%\s*")


def number(text: str, ratio: bool = False) -> float:
    """A number as it is typed. Raises UsageError; of one in percent it says what that is.

    ratio: of something to something, so that "1 % more" may be meant.
    """
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text!r} is no number{meant(text, ratio)}") from None


def whole(text: str) -> int:
    """A whole number as it is typed. Raises UsageError."""
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{text!r} is no whole number") from None


def meant(text: str, ratio: bool = False) -> str:
    """What to say of a number in percent; nothing of other texts."""
    if (found := _PERCENT.fullmatch(text)) is None:
        return ""
    percent = float(found[1])
    if ratio and percent < 50:
        return f"; for {percent:g} % more give {1 + percent / 100:g}"
    return f"; {percent:g} % is {percent / 100:g}"


@contextmanager
def named(option: Option, name: str | None = None, kind: type[InputError] = UsageError) -> Iterator[None]:
    """An InputError within that begins with the name of a value in programs, as `kind` with the option's name there."""
    inner = name or option.dest
    try:
        yield
    except InputError as error:
        text = str(error)
        if not text.startswith(inner):
            raise
        raise kind(option.names[-1] + text[len(inner) :]) from None


def _number(name: str, help: str, metavar: str = "X", kind: type = float) -> Option:
    return Option((name,), help, kind, metavar)


SAMPLING = (
    Option(("--temp", "--temperature"), "Temperature; 0 takes the likeliest token.", float, "X"),
    _number("--top-k", "Keep the K likeliest tokens; 0 keeps all.", "K", int),
    _number("--top-p", "Keep the likeliest tokens that reach P together; 0 keeps one.", "P"),
    _number("--min-p", "Keep tokens at least P times as likely as the likeliest.", "P"),
    _number("--repetition-penalty", "Divide positive logits of seen tokens by R.", "R"),
    _number("--presence-penalty", "Subtract X from the logits of seen tokens."),
    _number("--frequency-penalty", "Subtract X from a token's logit for every time it was seen."),
    _number("--penalty-decay", "What was seen counts X times as much after each token; 0.996 in RWKV's own samplers."),
)
SEED = Option(("-s", "--seed"), "The same seed gives the same text.", int, "N")
LOGIT_BIAS = Option(
    ("-l", "--logit-bias"),
    "Add X to the logit of a token, as 15043+1 or 15043-inf; may be given several times.",
    str,
    "ID±X",
    many=True,
)
MAX_TOKENS = Option(("-n", "--max-tokens"), "Most tokens to write; 0 or -1: no limit.", int, "N")
THREADS = Option(("-t", "--threads"), "Threads; by default one for each usable core.", int, "N")
SPIN = Option(
    ("--spin",),
    "Whether threads look for work all the time (by default); letting them sleep is slower and saves a battery.",
    None,
)
NATIVE = Option(
    ("--native",),
    f"Whether to run on the kernels of rrwkv-native, and on which: {', '.join(CHOICES)}. By default (auto) the best "
    "for this processor where they are installed; alone it is on. RRWKV_NATIVE in the environment sets the default.",
    str,
    "WORD",
    words=CHOICES,
)
PROVIDER = Option(
    ("--provider",),
    f"Execution provider: {', '.join(NAMES)}. The last takes the best that is installed and works.",
    str,
    "NAME",
    default="cpu",
)
PROVIDER_OPTION = Option(
    ("--provider-option",),
    "One of the provider's own options; for plugins also device=CPU, GPU or NPU; may be given several times.",
    str,
    "KEY=VALUE",
    many=True,
)
STRICT = Option(("--strict",), "Fail if any node is on the CPU instead of the provider.", bool)
RUN = (THREADS, SPIN, NATIVE, PROVIDER, PROVIDER_OPTION, STRICT)

SPECIAL = Option(
    ("--special",), "Read special tokens such as <|im_end|> that the text writes out as tokens, not as text.", bool
)
STATS = Option(("--stats",), "Show tokens and speed at the end, on standard error.", bool)
PROMPT = Option(("-p", "--prompt"), "What to continue; standard input if none is given.", str, "TEXT")
PROMPT_FILE = Option(("-f", "--prompt-file"), "Read the prompt from a file, less its last line end.", Path, "FILE")
IDS = Option(("--ids",), "The prompt as token ids.", str, "1,2,3")
STOP = Option(("--stop",), "End before TEXT; may be given several times.", str, "TEXT", many=True)
STOP_ID = Option(("--stop-id",), "End at the token with the id ID; may be given several times.", int, "ID", many=True)
ESCAPE = Option(
    ("-e", "--escape"),
    r"Whether \n, \t, \xHH and the like in --prompt and --stop stand for what they do in C (they do).",
    None,
)
IGNORE_EOS = Option(("--ignore-eos",), "Go on after the model's end token.", bool)
JSON = Option(("--json",), "Write a line of JSON for each token: index, id, text, logprob, finish.", bool)
LOGPROBS = Option(("--logprobs",), "With --json, also list the N likeliest tokens in each place.", int, "N")
GENERATE = (PROMPT, PROMPT_FILE, IDS, STOP, STOP_ID, ESCAPE, IGNORE_EOS, SPECIAL, JSON, LOGPROBS, STATS)

SYSTEM = Option(
    ("--system",), "Text put before the conversation, as it is; it may hold examples of turns.", str, "TEXT"
)
THINK = Option(
    ("--think",),
    "Whether the model thinks before it answers: auto, as it comes; on, made to; off, made not to; hidden, made to and "
    "not shown. Thoughts are shown on a terminal only.",
    str,
    "WORD",
    default="auto",
)
STATE = Option(("--state",), "Continue from a conversation saved with /save.", Path, "FILE")
ALLOW_OTHER = Option(
    ("--allow-other-quantization",),
    "Let --state and /load take states of other bundles of the same model: quantized, or with the other form of wkv.",
    bool,
)
CHAT_STATS = Option(("--stats",), "Whether a terminal shows tokens and speed after each reply (by default).", None)
CHAT = (SYSTEM, THINK, STATE, ALLOW_OTHER, SPECIAL, CHAT_STATS)
WHOLE_MANIFEST = Option(("--json",), "Print JSON instead of a table.", bool)

# Those that a program runs a bundle with.
EVERY = (MAX_TOKENS, *CHAT, *GENERATE, *SAMPLING, LOGIT_BIAS, SEED, *RUN)

_BIAS = re.compile(r"([0-9]{1,10})([+-][0-9.eE+-]+|[+-]inf)")


def logit_bias(pairs: Iterable[str]) -> dict[int, float]:
    """`--logit-bias` as it is typed, ID+X or ID-X as in llama.cpp. Raises UsageError."""
    found: dict[int, float] = {}
    for pair in pairs:
        match = _BIAS.fullmatch(pair.strip())
        try:
            if match is None:
                raise ValueError
            found[int(match[1])] = float(match[2])
        except ValueError:
            message = f"--logit-bias takes a token id and a number with its sign, as 15043+1 or 15043-inf, not {pair!r}"
            raise UsageError(message) from None
    return found


def sampling(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the sampling options, and the seed, that were given, as keywords of `Chat` and `generate`.

    Raises UsageError for values that they do not take: before a model is loaded for them.
    """
    from rrwkv_runtime.sampling import Sampling, generator  # numpy, which help needs not

    given = {option.dest: options[option.dest] for option in (*SAMPLING, SEED)}
    given = {name: value for name, value in given.items() if value is not None}
    for option in SAMPLING:
        if option.dest in given:
            with named(option):
                Sampling(**{option.dest: given[option.dest]})
    with named(SEED):
        generator(given.get(SEED.dest))
    bias = logit_bias(options["logit_bias"] or ())
    with named(LOGIT_BIAS):
        Sampling(logit_bias=bias)
    return {**given, "logit_bias": bias} if bias else given


THINK_WORDS = ("auto", "on", "off", "hidden")


def think(given: str) -> tuple[Think, bool]:
    """`--think`: what a `Chat` takes, and whether thoughts are hidden. Raises UsageError."""
    if given not in THINK_WORDS:
        raise UsageError(f"--think must be {', '.join(THINK_WORDS[:-1])} or {THINK_WORDS[-1]}, not {given!r}")
    return ("on", True) if given == "hidden" else (cast("Think", given), False)


def native(given: str | None) -> str | None:
    """`--native`. Raises UsageError."""
    with named(NATIVE):
        return None if given is None else choice(given)


def max_tokens(given: int) -> int | None:
    """`--max-tokens`, None for no limit. Raises UsageError."""
    from rrwkv_runtime.terminal.prompt import token_limit

    with named(MAX_TOKENS):
        return token_limit(given)


def threads(given: int | None) -> int | None:
    """`--threads`. Raises UsageError."""
    from rrwkv_runtime.common.checks import check_threads

    with named(THREADS):
        return None if given is None else check_threads(given)


def one_prompt(*sources: object) -> None:
    """Raises UsageError for several of --prompt, --prompt-file and --ids."""
    if sum(source is not None for source in sources) > 1:
        raise UsageError("give one of --prompt, --prompt-file and --ids")
