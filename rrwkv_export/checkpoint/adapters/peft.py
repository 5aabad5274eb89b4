"""adapter_config.json, which PEFT writes beside an adapter's weights: what the pairs are multiplied by."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwkv_export.checkpoint.adapters.lora import MERGE_THERE
from rrwkv_export.checkpoint.containers.entries import read_object
from rrwkv_export.errors import CheckpointError, ConfigError

# Each of these, where it is set, makes the adapter something else than a multiple of B A.
_UNLIKE_LORA = (
    *("use_dora", "use_qalora", "use_bdlora", "layer_replication", "alora_invocation_tokens", "ensure_weight_tying"),
    *("target_parameters", "trainable_token_indices", "arrow_config", "kasa_config", "monteclora_config"),
    *("velora_config", "lora_bias", "megatron_config"),
)
# How the pairs began. The others begin with a part of the base, which they take off it, too.
_BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class PeftConfig:
    """path: the file. alpha: None where it says none. patterns: alpha of modules by the end of their names."""

    path: Path
    alpha: float | None
    patterns: Mapping[str, float]
    rank_stabilized: bool

    @classmethod
    def load(cls, path: Path) -> PeftConfig:
        """Raises ConfigError, or CheckpointError for an adapter that is no plain LoRA."""
        fields = read_object(path)
        _check_kind(path, fields)
        patterns = fields.get("alpha_pattern") or {}
        if not isinstance(patterns, dict):
            raise ConfigError(f"{path}: alpha_pattern must be an object, not {patterns!r}")
        for pattern in patterns:
            if not re.fullmatch(r"\^?[\w.]+", pattern):
                raise CheckpointError(f"{path}: alpha_pattern has {pattern!r}, no module's name; {MERGE_THERE}")
        alpha = fields.get("lora_alpha")
        return cls(
            path,
            None if alpha is None else _number(path, "lora_alpha", alpha),
            {pattern: _number(path, f"alpha_pattern {pattern!r}", value) for pattern, value in patterns.items()},
            fields.get("use_rslora") is True,
        )

    def alpha_of(self, module: str) -> float | None:
        """By the module's name in the model, as peft matches it: whole, or what follows a dot."""
        for pattern, alpha in self.patterns.items():
            anchored, name = pattern.startswith("^"), pattern.removeprefix("^")
            if module == name or (not anchored and module.endswith(f".{name}")):
                return alpha
        return self.alpha


def _check_kind(path: Path, fields: Mapping[str, Any]) -> None:
    kind = fields.get("peft_type", "LORA")
    if kind != "LORA":
        raise CheckpointError(f"{path}: an adapter of type {kind!r} and no LoRA; {MERGE_THERE}, if it can be merged")
    for name in _UNLIKE_LORA:
        if fields.get(name):
            raise CheckpointError(f"{path}: {name} makes this more than a plain LoRA; {MERGE_THERE}")
    if (begun := fields.get("init_lora_weights")) not in _BEGINNINGS:
        raise CheckpointError(f"{path}: init_lora_weights {begun!r} changed the base as well; {MERGE_THERE}")


def _number(path: Path, name: str, value: object) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise ConfigError(f"{path}: {name} must be a number, not {str(value)[:40]!r}")
