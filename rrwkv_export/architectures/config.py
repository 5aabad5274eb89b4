"""What all configs share: frozen, checked field by field, the same JSON in and out.

Field names are those of `config.json`; the symbols beside them are the ones the maths uses.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from rrwkv_export.architectures.base import Shapes
from rrwkv_export.architectures.fields import MOST_LAYERS, check_integer, known_fields
from rrwkv_export.architectures.mediums import MediumConfig as MediumConfig
from rrwkv_export.architectures.mediums import medium_from_json, medium_shapes, shared_medium_shapes
from rrwkv_export.errors import ConfigError
from rrwkv_runtime.common import reading
from rrwkv_runtime.common.reading import LARGEST_JSON, short


@dataclass(frozen=True)
class ModelConfig(ABC):
    """A model's sizes. vocab_size: V. hidden_size: C. num_layers: L. ffn_size: F. medium: None where it has none.

    MIXES: by block ("att", "ffn") the letters of the mixes of h with the token's before, in the order of computation.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    ffn_size: int
    layer_norm_epsilon: float = 1e-5
    medium: MediumConfig | None = None

    MIXES: ClassVar[dict[str, str]]

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "num_layers", "ffn_size"):
            check_integer("config", name, getattr(self, name), *([MOST_LAYERS] if name == "num_layers" else []))
        epsilon = self.layer_norm_epsilon
        if not isinstance(epsilon, int | float) or isinstance(epsilon, bool) or not 0 < epsilon < 1:
            raise ConfigError(f"config: layer_norm_epsilon must be a number between 0 and 1, not {short(epsilon)}")

    @property
    @abstractmethod
    def architecture(self) -> str:
        """The config's word for what it is."""

    @property
    def mixes(self) -> dict[str, str]:
        """MIXES, as far as this model has them."""
        return self.MIXES

    @property
    def attention_width(self) -> int:
        """D, the channels of time-mix's key, value and receptance."""
        return self.hidden_size

    @abstractmethod
    def time_mix_shapes(self, layer: int) -> Shapes:
        """The weights of a layer's time-mix by their short names, in the order of computation."""

    @abstractmethod
    def channel_mix_shapes(self) -> Shapes:
        """The same of channel-mix."""

    def shapes(self) -> Shapes:
        """Every weight's canonical name and shape, in the order of the computation."""
        V, C = self.vocab_size, self.hidden_size
        shapes: Shapes = {"emb.weight": (V, C), **_norm("blocks.0.ln0", C)}
        shapes |= shared_medium_shapes(self.medium, C)
        for i in range(self.num_layers):
            layer = _norm("ln1", C) | {f"att.{name}": shape for name, shape in self.time_mix_shapes(i).items()}
            layer |= _norm("ln2", C) | {f"ffn.{name}": shape for name, shape in self.channel_mix_shapes().items()}
            layer |= medium_shapes(self.medium, C, self.mixes)
            shapes |= {f"blocks.{i}.{name}": shape for name, shape in layer.items()}
        return shapes | _norm("ln_out", C) | {"head.weight": (V, C)}

    def parameters(self) -> int:
        """How many numbers the weights hold."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def to_json(self) -> dict[str, Any]:
        return {"architecture": self.architecture, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, fields: object, owner: str = "config.json") -> ModelConfig:
        """A config of the architecture that it names. Raises ConfigError for anything that is not exactly a config."""
        from rrwkv_export.architectures import named  # whose rooms have the configs, and import this

        if not isinstance(fields, dict):
            raise ConfigError(f"{owner}: must hold a JSON object")
        word = fields.get("architecture", "rrwkv")
        config: ModelConfig = named(word, owner).Config.of_fields(fields, owner)
        return config

    @classmethod
    def of_fields(cls, fields: dict[str, Any], owner: str) -> Self:
        """This class's config. Raises ConfigError."""
        known = known_fields(cls, owner, {name: value for name, value in fields.items() if name != "architecture"})
        return cls(**{**known, "medium": medium_from_json(known.get("medium"), owner)})


def _norm(name: str, C: int) -> Shapes:
    return {f"{name}.{part}": (C,) for part in ("weight", "bias")}


def read_json(path: Path, largest: int = LARGEST_JSON) -> Any:
    """One JSON file of someone else's: bounded in size and depth, errors in one line. Raises ConfigError."""
    return reading.read_json(path, ConfigError, largest)


def load_config(path: Path) -> ModelConfig:
    """Read `config.json`. Raises ConfigError."""
    return ModelConfig.from_json(cast(object, read_json(path)), owner=str(path))
