"""What configs of Hugging Face's have in common, whatever the architecture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.errors import ConfigError

C = TypeVar("C", bound=ModelConfig)


def sizes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """V, C, L, F and epsilon by our names, F only where it is said. Raises ConfigError for a size that is none."""
    for name in ("vocab_size", "hidden_size", "num_hidden_layers"):
        value = fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{name} must be an integer, not {value!r}")
    found = {name: fields[name] for name in ("vocab_size", "hidden_size")}
    found["num_layers"] = fields["num_hidden_layers"]
    if fields.get("intermediate_size") is not None:
        found["ffn_size"] = fields["intermediate_size"]
    epsilon = fields.get("layer_norm_epsilon", fields.get("norm_eps"))
    return found if epsilon is None else {**found, "layer_norm_epsilon": epsilon}


def over(inferred: C, fields: Mapping[str, Any]) -> C:
    """What the shapes say, and the config over it; a tensor that disagrees is named later. Raises as `sizes`."""
    return dataclasses.replace(inferred, **sizes(fields))
