"""The options of this project's two command lines, `rrwkv` and `python -m rrwkv_runtime`: names, words and defaults."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwkv_runtime.errors import InputError
from rrwkv_runtime.providers import NAMES


@dataclass(frozen=True)
class Option:
    """One option. kind: what its value is, bool for a flag and None for one with an opposite, `--x/--no-x`."""

    names: tuple[str, ...]
    help: str
    kind: type | None = str
    metavar: str | None = None
    many: bool = False
    default: Any = None

    @property
    def dest(self) -> str:
        """The name of its value in a program."""
        return self.names[-1].removeprefix("--").replace("-", "_")

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
                *self.names, dest=self.dest, type=self.kind, metavar=self.metavar, help=text, default=default, **action
            )


def _number(name: str, help: str, metavar: str = "X", kind: type = float) -> Option:
    return Option((name,), help, kind, metavar)


SAMPLING = (
    Option(("--temp", "--temperature"), "0 takes the likeliest token.", float, "X"),
    _number("--top-k", "Keep the K likeliest tokens; 0 keeps all.", "K", int),
    _number("--top-p", "Keep the likeliest tokens that reach P together; 0 keeps one.", "P"),
    _number("--min-p", "Keep tokens at least P times as likely as the likeliest.", "P"),
    _number("--repetition-penalty", "Divide positive logits of seen tokens by R.", "R"),
    _number("--presence-penalty", "Subtract from the logits of seen tokens."),
    _number("--frequency-penalty", "Subtract as often as a token was seen."),
    _number("--penalty-decay", "What was seen counts X times as much after each token; RWKV's own samplers: 0.996."),
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
    "Whether to run on the kernels of rrwkv-native; by default where they are installed and the processor has "
    "AVX-512 VNNI.",
    None,
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
STOP_ID = Option(("--stop-id",), "End at the token with this id; may be given several times.", int, "ID", many=True)
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
STATE = Option(("--state",), "Continue from a conversation saved with /save.", Path, "FILE")
ALLOW_OTHER = Option(
    ("--allow-other-quantization",),
    "Let --state and /load take states of other bundles of the same model: quantized, or with the other form of wkv.",
    bool,
)
CHAT_STATS = Option(("--stats",), "Whether a terminal shows tokens and speed after each reply (by default).", None)
CHAT = (SYSTEM, STATE, ALLOW_OTHER, SPECIAL, CHAT_STATS)
WHOLE_MANIFEST = Option(("--json",), "Print JSON instead of a table.", bool)

_BIAS = re.compile(r"([0-9]{1,10})([+-][0-9.eE+-]+|[+-]inf)")


def logit_bias(pairs: Iterable[str]) -> dict[int, float]:
    """`--logit-bias` as it is typed, ID+X or ID-X as in llama.cpp. Raises InputError."""
    found: dict[int, float] = {}
    for pair in pairs:
        match = _BIAS.fullmatch(pair.strip())
        try:
            if match is None:
                raise ValueError
            found[int(match[1])] = float(match[2])
        except ValueError:
            message = f"--logit-bias takes a token id and a number with its sign, as 15043+1 or 15043-inf, not {pair!r}"
            raise InputError(message) from None
    return found


def sampling(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the sampling options, and the seed, that were given, as keywords of `Chat` and `generate`."""
    given = {name: options[name] for name in (*(option.dest for option in SAMPLING), SEED.dest)}
    given = {name: value for name, value in given.items() if value is not None}
    bias = logit_bias(options["logit_bias"] or ())
    return {**given, "logit_bias": bias} if bias else given
