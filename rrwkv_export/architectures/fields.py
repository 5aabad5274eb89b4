"""Leaf: checks of a config's fields, each error one line that names the field, its rule and its value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rrwkv_export.errors import ConfigError
from rrwkv_runtime.common.reading import short

# A limit far above any real model keeps a hostile config from asking for absurd allocations.
LARGEST, MOST_LAYERS = 1 << 20, 1 << 12


def check_integer(owner: str, name: str, value: object, largest: int = LARGEST) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise ConfigError(f"{owner}: {name} must be an integer from 1 to {largest}, not {short(value)}")


def check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{owner}: {name} must be one of {', '.join(choices)}, not {short(value)}")


def known_fields(cls: type, owner: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass: none that it does not know, and all that it must have."""
    known = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(set(fields) - known):
        raise ConfigError(f"{owner}: unknown field {short(unknown[0])}; known are {', '.join(sorted(known))}")
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING and field.name not in fields:
            raise ConfigError(f"{owner}: field {field.name!r} is missing")
    return dict(fields)
