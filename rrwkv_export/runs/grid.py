"""A run: a name for people, and a function with its parameters, which are what it is known by."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

from rrwkv_export.errors import RunError
from rrwkv_runtime.common.printable import writable


@dataclass(frozen=True)
class Run:
    """function: "package.module:name", imported where it is called, as name(**parameters, **places); it gives a JSON
    object. parameters: a JSON object, all that the result depends on. places: what it does not depend on, where files
    lie. Raises RunError for parameters that JSON cannot hold.
    """

    name: str
    function: str
    parameters: Mapping[str, Any]
    places: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", writable(self.name))
        written(self.parameters, f"the parameters of {self.name}")

    @cached_property
    def key(self) -> str:
        """sha256 of function and parameters, in hexadecimal; the order of parameters changes nothing."""
        text = written({"function": self.function, "parameters": self.parameters}, self.name)
        return hashlib.sha256(text.encode()).hexdigest()

    def call(self) -> dict[str, Any]:
        """What the function gives. Raises its errors, and RunError where there is none or it gives no JSON object."""
        module, _, name = self.function.partition(":")
        try:
            function = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise RunError(f"{self.name}: no function {self.function} ({error})") from error
        result = function(**self.parameters, **self.places)
        if not isinstance(result, dict):
            raise RunError(f"{self.name}: {self.function} gave {type(result).__name__}, not a dict")
        written(result, f"what {self.name} gave")
        return result


def check_grid(runs: Sequence[Run]) -> None:
    """Raises RunError for two runs that have one name, or are one run."""
    for what, counted in (("name", Counter(run.name for run in runs)), ("key", Counter(run.key for run in runs))):
        if twice := next((value for value, count in counted.items() if count > 1), None):
            names = [run.name for run in runs if getattr(run, what) == twice]
            same = "name" if what == "name" else "function and parameters"
            raise RunError(f"the grid has {names[0]} and {names[1]} with the same {same}; leave one out")


def written(value: object, what: str) -> str:
    """As JSON, in one order. Raises RunError for what JSON cannot hold, or UTF-8."""
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{what}: JSON cannot hold that ({error})") from None
    return text
