"""What the grid's numbers are: sizes, steps, distances, seeds. A JSON file can say others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwkv_export.architectures.config import read_json
from rrwkv_export.architectures.fields import known_fields
from rrwkv_export.errors import RunError
from rrwkv_runtime.common.reading import short

_MOST = 1e9
MEDIUM: dict[str, Any] = {"interval": 32, "squeeze": "attention", "reduction": 16, "slots": 16, "key_size": 32}


@dataclass(frozen=True)
class Plan:
    """rates: learning rates that every model tries with the first seed. tokens: of a step. longest: of the distances
    that are trained. tested: rows at each distance. pairs, digits: of the tasks. slots: that are tried besides. nats:
    of an adaptive interval, the surprisal of a medium's tokens. text_*: of language modelling; text_length: bytes of a
    row in training, text_measured: of each of text_rows rows that are measured. cost_*: of larger models, whose cost is
    measured over cost_window tokens before each of cost_positions.
    """

    parameters: int = 110_000
    seeds: int = 3
    rates: tuple[float, ...] = (4e-3, 1e-3)
    steps: int = 1800
    tokens: int = 2048
    longest: int = 256
    distances: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    tested: int = 64
    pairs: int = 4
    digits: int = 5
    slots: tuple[int, ...] = (1, 4, 64)
    nats: float = 16.0
    text_parameters: int = 140_000
    text_steps: int = 1000
    text_length: int = 256
    text_measured: int = 1024
    text_rows: int = 64
    cost_parameters: int = 13_700_000
    cost_vocabulary: int = 4096
    cost_layers: int = 8
    cost_channels: int = 320
    cost_head: int = 64
    cost_positions: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    cost_window: int = 64


def read_plan(path: Path | None) -> Plan:
    """The plan with what a file says in place of it; None for the plan itself. Raises ConfigError, RunError."""
    if path is None:
        return Plan()
    fields: Any = read_json(path)
    if not isinstance(fields, dict):
        raise RunError(f"{path}: a plan is a JSON object of the fields of Plan, in examples/recall/plan.py")
    known = known_fields(Plan, str(path), fields)
    plan = Plan(**{name: _like(getattr(Plan(), name), value, f"{path}: {name}") for name, value in known.items()})
    for name in ("rates", "distances", "cost_positions"):
        if not getattr(plan, name):
            raise RunError(f"{path}: {name} must be one number at least")
    return plan


def _like(default: Any, value: Any, what: str) -> Any:
    """A value for what has such a default: numbers above 0, and lists of these without doubles. Raises RunError."""
    if isinstance(default, tuple):
        if not isinstance(value, list) or len(set(map(str, value))) < len(value):
            raise RunError(f"{what} must be a list of numbers, each of them once, not {short(value)}")
        return tuple(_like(default[0], each, what) for each in value)
    kinds = (int, float) if isinstance(default, float) else (int,)
    if type(value) not in kinds or not 0 < value < _MOST:
        kind = "number" if isinstance(default, float) else "whole number"
        raise RunError(f"{what} must be a {kind} above 0, below {_MOST:g}, not {short(value)}")
    return value
