"""The model's sizes: frozen, checked field by field, the same JSON in and out.

Field names are those of `config.json`; the symbols beside them are the ones the maths uses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from rrwkv_export.errors import ConfigError
from rrwkv_runtime.common import reading
from rrwkv_runtime.common.reading import LARGEST_JSON, short

SQUEEZES = ("attention", "mean")
# A limit far above any real model keeps a hostile config from asking for absurd allocations.
_LARGEST, _MOST_LAYERS = 1 << 20, 1 << 12


def _integer(owner: str, name: str, value: object, largest: int = _LARGEST) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise ConfigError(f"{owner}: {name} must be an integer from 1 to {largest}, not {short(value)}")


def _only_known(owner: str, fields: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(fields) - known):
        raise ConfigError(f"{owner}: unknown field {short(unknown[0])}; known are {', '.join(sorted(known))}")


@dataclass(frozen=True)
class MediumConfig:
    """How past information is squeezed into mediums.

    interval: s, tokens per medium. squeeze: "attention" or "mean". reduction: C // reduction (at least 8) is E, the
    excitation's bottleneck. slots: K, how many past mediums a token reads. key_size: R, width of query and keys.
    """

    interval: int
    squeeze: Literal["attention", "mean"] = "attention"
    reduction: int = 16
    slots: int = 1
    key_size: int = 64

    def __post_init__(self) -> None:
        for name in ("interval", "reduction", "slots", "key_size"):
            _integer("medium", name, getattr(self, name))
        if self.squeeze not in SQUEEZES:
            raise ConfigError(f"medium: squeeze must be one of {', '.join(SQUEEZES)}, not {short(self.squeeze)}")

    def bottleneck(self, hidden_size: int) -> int:
        """E, the width of the excitation's bottleneck for C channels."""
        return max(hidden_size // self.reduction, 8)


@dataclass(frozen=True)
class ModelConfig:
    """vocab_size: V. hidden_size: C. num_layers: L. ffn_size: F. medium: None is RWKV-4.

    attention_size: D, the channels of time-mix's key, value and receptance; None where it is C, as in most models.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    ffn_size: int
    layer_norm_epsilon: float = 1e-5
    medium: MediumConfig | None = None
    attention_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "num_layers", "ffn_size"):
            _integer("config", name, getattr(self, name), _MOST_LAYERS if name == "num_layers" else _LARGEST)
        if self.attention_size is not None:
            _integer("config", "attention_size", self.attention_size, _LARGEST)
            if self.attention_size == self.hidden_size:  # one model, one config
                object.__setattr__(self, "attention_size", None)
        epsilon = self.layer_norm_epsilon
        if not isinstance(epsilon, int | float) or isinstance(epsilon, bool) or not 0 < epsilon < 1:
            raise ConfigError(f"config: layer_norm_epsilon must be a number between 0 and 1, not {short(epsilon)}")

    @property
    def architecture(self) -> str:
        return "rwkv4" if self.medium is None else "rrwkv"

    @property
    def attention_width(self) -> int:
        """D, whether it is C or not."""
        return self.hidden_size if self.attention_size is None else self.attention_size

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight's canonical name and shape, in the order of the computation."""
        V, C, D, F = self.vocab_size, self.hidden_size, self.attention_width, self.ffn_size
        shapes: dict[str, tuple[int, ...]] = {"emb.weight": (V, C)}
        shapes |= {f"blocks.0.ln0.{p}": (C,) for p in ("weight", "bias")}
        for i in range(self.num_layers):
            layer: dict[str, tuple[int, ...]] = {f"ln1.{p}": (C,) for p in ("weight", "bias")}
            layer |= {f"att.{name}": (D,) for name in ("time_decay", "time_first")}
            layer |= {f"att.time_mix_{p}": (C,) for p in "kvr"}
            layer |= {f"att.{name}.weight": (D, C) for name in ("key", "value", "receptance")}
            layer |= {"att.output.weight": (C, D)}
            layer |= {f"ln2.{p}": (C,) for p in ("weight", "bias")}
            layer |= {f"ffn.time_mix_{p}": (C,) for p in "kr"}
            layer |= {"ffn.key.weight": (F, C), "ffn.receptance.weight": (C, C), "ffn.value.weight": (C, F)}
            layer |= self._medium_shapes()
            shapes |= {f"blocks.{i}.{name}": shape for name, shape in layer.items()}
        shapes |= {f"ln_out.{p}": (C,) for p in ("weight", "bias")}
        return shapes | {"head.weight": (V, C)}

    def _medium_shapes(self) -> dict[str, tuple[int, ...]]:
        if self.medium is None:
            return {}
        C, E, R = self.hidden_size, self.medium.bottleneck(self.hidden_size), self.medium.key_size
        shapes: dict[str, tuple[int, ...]] = {f"att.medium_mix_{p}": (C,) for p in "kvr"}
        shapes |= {f"ffn.medium_mix_{p}": (C,) for p in "kr"}
        if self.medium.squeeze == "attention":
            shapes["medium.squeeze"] = (C,)
        shapes |= {"medium.down.weight": (E, C), "medium.up.weight": (C, E)}
        return shapes | {"medium.query.weight": (R, C), "medium.key.weight": (R, C)}

    def parameters(self) -> int:
        """How many numbers the weights hold."""
        total = 0
        for shape in self.shapes().values():
            total += shape[0] * (shape[1] if len(shape) == 2 else 1)
        return total

    def to_json(self) -> dict[str, Any]:
        fields = {"architecture": self.architecture, **dataclasses.asdict(self)}
        if self.attention_size is None:
            del fields["attention_size"]
        return fields

    @classmethod
    def from_json(cls, fields: object, owner: str = "config.json") -> ModelConfig:
        """Raises ConfigError for anything that is not exactly a config."""
        if not isinstance(fields, dict):
            raise ConfigError(f"{owner}: must hold a JSON object")
        fields = dict(fields)
        architecture = fields.pop("architecture", "rrwkv")
        if architecture not in ("rrwkv", "rwkv4"):
            raise ConfigError(f"{owner}: architecture {short(architecture)} is not rrwkv or rwkv4")
        _only_known(owner, fields, {f.name for f in dataclasses.fields(cls)})
        medium = fields.pop("medium", None)
        if architecture == "rwkv4" and medium is not None:
            raise ConfigError(f"{owner}: architecture rwkv4 has no medium; leave it out or say rrwkv")
        return cls(**_complete(cls, owner, fields), medium=_medium_from_json(medium, owner))


def _medium_from_json(fields: object, owner: str) -> MediumConfig | None:
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise ConfigError(f"{owner}: medium must be an object or null")
    _only_known(f"{owner}: medium", fields, {f.name for f in dataclasses.fields(MediumConfig)})
    return MediumConfig(**_complete(MediumConfig, f"{owner}: medium", fields))


def _complete(cls: type, owner: str, fields: dict[str, Any]) -> dict[str, Any]:
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING and field.name not in fields:
            raise ConfigError(f"{owner}: field {field.name!r} is missing")
    return fields


def read_json(path: Path, largest: int = LARGEST_JSON) -> Any:
    """One JSON file of someone else's: bounded in size and depth, errors in one line. Raises ConfigError."""
    return reading.read_json(path, ConfigError, largest)


def load_config(path: Path) -> ModelConfig:
    """Read `config.json`. Raises ConfigError."""
    return ModelConfig.from_json(cast(object, read_json(path)), owner=str(path))
