"""How a model is trained: chosen when a run begins, kept in it, and the same when it is gone on with."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rrwkv_export.architectures.config import read_json
from rrwkv_export.architectures.fields import known_fields
from rrwkv_export.errors import ConfigError, TrainingError

TRAINING, FILE = "training", "settings.json"
MARKER = f"{TRAINING}/{FILE}"
Precision = Literal["float32", "bfloat16"]


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
        if not self.texts:
            raise TrainingError("no text is given; give files to train on")
        if (self.steps is None) == (self.minutes is None):
            raise TrainingError("give --steps or --minutes, one of the two")
        if self.mediums_first > 1:
            raise TrainingError(f"--mediums-first {self.mediums_first}: a share of the run, 1 at most")
        if self.text_share > 1:
            raise TrainingError(f"--text-share {self.text_share}: a share of what is trained for, 1 at most")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise TrainingError(f"--{name.replace('_', '-')} must be above 0, not {getattr(self, name)}")

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
            raise TrainingError(f"{run}: no run to go on with (it has no {MARKER}); leave --resume out to begin one")
        try:
            fields: Any = read_json(run / MARKER)
            known: dict[str, Any] = known_fields(cls, str(run / MARKER), fields if isinstance(fields, dict) else {})
            known |= {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
            return cls(**known)
        except (ConfigError, TypeError) as error:
            raise TrainingError(f"{error}; begin the run again") from None
