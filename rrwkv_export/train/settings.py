"""How a model is trained: chosen when a run begins, kept in it, and the same when it is gone on with."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rrwkv_export.architectures.config import read_json
from rrwkv_export.architectures.fields import known_fields
from rrwkv_export.errors import ConfigError, TrainingError
from rrwkv_export.quantize.recipe import parse_recipe
from rrwkv_runtime.common.reading import short
from rrwkv_runtime.errors import RRWKVError

TRAINING, FILE = "training", "settings.json"
MARKER = f"{TRAINING}/{FILE}"
Precision = Literal["float32", "bfloat16"]
_MANY = 1 << 40
_LARGEST = 1e9  # far beyond use, and far from what float32 cannot hold


@dataclass(frozen=True)
class _Rule:
    """said: what a value must be."""

    said: str
    allows: Callable[[Any], bool]


def _whole(least: int, most: int) -> _Rule:
    return _Rule(f"a whole number from {least} to {most}", lambda x: type(x) is int and least <= x <= most)


def _number(said: str, inside: Callable[[float], bool]) -> _Rule:
    return _Rule(said, lambda x: type(x) in (int, float) and inside(x))


_ABOVE_0 = _number(f"above 0, {_LARGEST:g} at most", lambda x: 0 < x <= _LARGEST)
_FROM_0 = _number(f"from 0 to {_LARGEST:g}", lambda x: 0 <= x <= _LARGEST)
_SHARE = _number("a share, from 0 to 1", lambda x: 0 <= x <= 1)
_WORD = _Rule("a word", lambda x: isinstance(x, str))
_WORDS = _Rule("a list of words", lambda x: isinstance(x, tuple) and all(isinstance(each, str) for each in x))
_RULES = {
    **dict.fromkeys(("texts", "held_out", "sha256"), _WORDS),
    **dict.fromkeys(("base", "license", "recipe"), _WORD),
    **dict.fromkeys(("minutes", "learning_rate", "clip", "medium_nats"), _ABOVE_0),
    **dict.fromkeys(("weight_decay", "base_rate", "information_weight"), _FROM_0),
    **dict.fromkeys(("last_rate", "mediums_first", "text_share"), _SHARE),
    **dict.fromkeys(("steps", "every"), _whole(1, _MANY)),
    "length": _whole(1, 1 << 20),
    "batch": _whole(1, 1 << 16),
    "warm_up": _whole(0, _MANY),
    "seed": _whole(0, (1 << 32) - 1),
    "threads": _whole(1, 1024),
    "precision": _Rule("float32 or bfloat16", lambda x: x in ("float32", "bfloat16")),
    "retrofit": _Rule("true or false", lambda x: isinstance(x, bool)),
}

_OPTIONS = {"base_rate": "--base-learning-rate over --learning-rate"}


@dataclass(frozen=True)
class Settings:
    """texts, held_out: paths. held_out: empty takes the last twentieth of each text.

    length: tokens of a row. batch: rows of a step, over all processes. steps, minutes: how long, one of the two.
    warm_up: steps until the learning rate is reached; it falls to `last_rate` of it along a cosine. base_rate: the
    learning rate of weights that a retrofit found, over that of its mediums. mediums_first: the share of the run in
    which mediums alone are trained. medium_nats: of an adaptive interval, τ, the surprisal of a medium's tokens.
    information_weight: of the loss that draws their information to it. clip: the largest norm of the gradient. every:
    steps between evaluations, which save. threads: None leaves the number to torch. sha256: of the texts, the
    held-out ones last. base, license: what the card of the model that was gone on from says. retrofit: whether it had
    no mediums, and the run's has. recipe: that the model is tuned for, as TOML. text_share: of the loss of predicting
    the texts in what such a model is trained for.
    """

    texts: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    length: int = 512
    batch: int = 8
    steps: int | None = None
    minutes: float | None = None
    learning_rate: float = 1e-3
    last_rate: float = 0.1
    warm_up: int = 20
    weight_decay: float = 0.1
    clip: float = 1.0
    base_rate: float = 1.0
    mediums_first: float = 0.0
    medium_nats: float = 64.0
    information_weight: float = 1.0
    every: int = 100
    precision: Precision = "float32"
    seed: int = 0
    threads: int | None = None
    sha256: tuple[str, ...] = ()
    base: str = ""
    license: str = ""
    retrofit: bool = False
    recipe: str = ""
    text_share: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # which a file may have said
            value, rule = getattr(self, field.name), _RULES[field.name]
            if not rule.allows(value) and not (value is None and field.default is None):
                option = _OPTIONS.get(field.name, f"--{field.name.replace('_', '-')}")
                raise TrainingError(f"{option} must be {rule.said}, not {short(value)}")
        if not self.texts:
            raise TrainingError("no text is given; give files to train on")
        if (self.steps is None) == (self.minutes is None):
            raise TrainingError("give --steps or --minutes, one of the two")
        option, rate = self.fastest
        if rate * self.weight_decay >= 1:
            raise TrainingError(
                f"--weight-decay {self.weight_decay:g}: with {option} {rate:g} a step would take all of a weight and "
                "more; give less of one of them"
            )

    @property
    def fastest(self) -> tuple[str, float]:
        """The highest learning rate, and the option that says it."""
        if self.base_rate > 1:
            return "--base-learning-rate", self.learning_rate * self.base_rate
        return "--learning-rate", self.learning_rate

    def fraction(self, step: int, seconds: float) -> float:
        """How far a run is, from 0 to 1, before a step; seconds: that it has taken."""
        done = step / self.steps if self.steps else seconds / (60 * (self.minutes or math.inf))
        return min(1.0, done)

    def save(self, run: Path) -> None:
        """Into the folder of a run that is being made."""
        (run / MARKER).write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, run: Path) -> Settings:
        """Raises TrainingError where no run is, or what it keeps is damaged."""
        if not (run / MARKER).is_file():
            raise TrainingError(f"{run}: {_no_run(run)}")
        try:
            fields: Any = read_json(run / MARKER)
            known: dict[str, Any] = known_fields(cls, str(run / MARKER), fields if isinstance(fields, dict) else {})
            known |= {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
        except ConfigError as error:
            raise TrainingError(f"{error}; begin the run again, with --force") from None
        try:
            settings = cls(**known)
            if settings.recipe:
                parse_recipe(settings.recipe)
        except RRWKVError as error:
            raise TrainingError(f"{run / MARKER}: {error}; begin the run again, with --force") from None
        return settings


def _no_run(run: Path) -> str:
    """What is there in place of a run's settings, and what helps."""
    if not os.path.lexists(run):
        return "no run to go on with; leave --resume out to begin one"
    if (run.parent / MARKER).is_file():
        return f"within a run; --resume takes the run's own folder, {run.parent}"
    if (run / TRAINING).is_dir() and (run / "model.safetensors").is_file():
        return f"its {MARKER} is gone, so it cannot be gone on with; begin another from its model, with --from {run}"
    return f"no run (it has no {MARKER}); give the folder of one, or leave --resume out and choose another name"
