"""A recipe says what becomes of every matrix: how many bits, what its inputs are rounded to, and how.

    scheme = "int8"                    # a name of your own
    target = "x86-vnni"                # see TARGETS: the integer types of inputs and weights

    [default]                          # what holds unless something more particular is said
    weights = 8                        # bits: 4, 8, 16 or 32
    inputs = "static"                  # static (observed ranges), dynamic (each run's own) or float
    block = 32                         # of weights with float inputs, and of embedding rows: so many share a scale
    compute = "int8"                   # of those: int8 (inputs rounded block by block as they come: fast) or float32
    range = "minmax"                   # minmax, percentile, entropy or mse
    percentile = 99.99
    equalize = 0.85                    # an exponent from 0 (off) to 1, or "search"
    rounding = "nearest"               # nearest or gptq; of dynamic weights and the embedding always nearest

    [roles."att.output"]               # of a role; "medium.*" means all that begin so; later ones win
    inputs = "float"

    [layers.0."ffn.value"]             # of a role in one layer
    inputs = "float"

[default] says of "low_rank.*" only whether they stay float: in 8 bits their inputs do, unless a table names them.

A key or a role that is not known is an error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from rrwkv_export.architectures.linears import EMB, ROLES, Linear
from rrwkv_export.errors import RecipeError
from rrwkv_export.quantize.observe.ranges import METHODS
from rrwkv_runtime.common.reading import boundary, short

_LARGEST = 256 * 2**10
Inputs = Literal["static", "dynamic", "float"]
_VALUES: dict[str, tuple[Any, ...]] = {
    "weights": (4, 8, 16, 32),
    "inputs": ("static", "dynamic", "float"),
    "block": (16, 32, 64, 128, 256),
    "compute": ("int8", "float32"),
    "range": METHODS,
    "rounding": ("nearest", "gptq"),
}


@dataclass(frozen=True)
class WeightSpec:
    """What becomes of one matrix; the fields are those of a recipe's table."""

    weights: int = 8
    inputs: Inputs = "static"
    block: int = 32
    compute: Literal["int8", "float32"] = "int8"
    range: str = "minmax"
    percentile: float = 99.99
    equalize: float | Literal["search"] = 0.85
    rounding: Literal["nearest", "gptq"] = "nearest"

    @property
    def kind(self) -> str:
        """float32, float16, blocks (8 or 4 bits, float inputs), static or dynamic."""
        if self.weights > 8:
            return f"float{self.weights}"
        return "blocks" if self.inputs == "float" else self.inputs


@dataclass(frozen=True)
class Types:
    """A target's integer types. reduce_range: weights in 7 bits, where 8 could overflow 16 in the hardware's sums."""

    inputs: Literal["uint8", "int8", "uint16"]
    weights: Literal["uint8", "int8"]
    symmetric_inputs: bool = False
    reduce_range: bool = False


TARGETS: dict[str, Types] = {
    "x86-vnni": Types("uint8", "int8"),
    "x86": Types("uint8", "int8", reduce_range=True),
    "arm64": Types("int8", "int8", symmetric_inputs=True),
    "qnn": Types("uint16", "uint8"),
}


@dataclass(frozen=True)
class Recipe:
    """A recipe as it was written; `choice` resolves it for a linear."""

    scheme: str
    target: str = "x86-vnni"
    default: WeightSpec = field(default_factory=WeightSpec)
    roles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    layers: Mapping[int, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def types(self) -> Types:
        return TARGETS[self.target]

    def choice(self, linear: Linear) -> WeightSpec:
        """What the recipe says of a linear. Raises RecipeError for an embedding in 4 bits."""
        chosen = self._of_low_rank() if linear.is_low_rank else self.default
        in_layer = self.layers.get(linear.layer, {}) if linear.layer is not None else {}
        for table in (self.roles, in_layer):
            for pattern, values in table.items():
                if fnmatchcase(linear.role, pattern):
                    chosen = replace(chosen, **values)
        if linear.role == EMB:  # it is looked up, not multiplied with
            if chosen.weights == 4:
                raise RecipeError("emb: weights must be 8, 16 or 32, not 4; its rows are looked up, one scale each")
            chosen = replace(chosen, inputs="float", equalize=0, rounding="nearest")
        return chosen

    def _of_low_rank(self) -> WeightSpec:
        """They are small, and what they make is the decay and other rates: see docs/quantize.md."""
        weights = max(8, self.default.weights)
        return WeightSpec(weights, "float", 32, self.default.compute, equalize=0)

    def resolved(self, linears: Sequence[Linear]) -> dict[str, Any]:
        """For the manifest: the choice of every role, and of the layers that differ from their role's first."""
        roles: dict[str, Any] = {}
        layers: dict[str, Any] = {}
        for linear in linears:
            said = asdict(self.choice(linear))
            if roles.setdefault(linear.role, said) != said:
                layers.setdefault(str(linear.layer), {})[linear.role] = said
        return {"target": self.target, "types": asdict(self.types), "roles": roles, "layers": layers}

    def with_role(self, role: str, **values: Any) -> Recipe:
        """The recipe with more said of a role."""
        return replace(self, roles={**self.roles, role: {**self.roles.get(role, {}), **values}})


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises RecipeError naming the file and the key."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise RecipeError(f"larger than {_LARGEST} bytes, which no recipe is")
        return parse_recipe(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})") from None
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def parse_recipe(text: str) -> Recipe:
    """A recipe from TOML. Raises RecipeError."""
    with boundary(RecipeError, "not TOML"):
        given = tomllib.loads(text)
    _known("", given, ("scheme", "target", "default", "roles", "layers"))
    scheme, target = given.get("scheme"), given.get("target", "x86-vnni")
    if not isinstance(scheme, str) or not scheme:
        raise RecipeError('scheme is missing; name the recipe with scheme = "…"')
    if not isinstance(target, str) or target not in TARGETS:
        raise RecipeError(f"target must be one of {', '.join(TARGETS)}, not {short(target)}")
    default = WeightSpec(**_table("default", given.get("default", {})))
    layers = {
        _layer(number): _by_role(f"layers.{number}", table)
        for number, table in _mapping("layers", given.get("layers", {})).items()
    }
    return Recipe(scheme, target, default, _by_role("roles", given.get("roles", {})), layers)


def _by_role(where: str, given: Any) -> dict[str, dict[str, Any]]:
    tables = _mapping(where, given)
    for pattern in tables:
        if not any(fnmatchcase(role, pattern) for role in ROLES):
            raise RecipeError(f"{where}: {short(pattern)} is no role; the roles are {', '.join(ROLES)}")
    return {pattern: _table(f'{where}."{pattern}"', table) for pattern, table in tables.items()}


def _table(where: str, given: Any) -> dict[str, Any]:
    table = _mapping(where, given)
    _known(where, table, [f.name for f in fields(WeightSpec)])
    for key, value in table.items():
        _check(f"{where}.{key}", key, value)
    return table


def _check(where: str, key: str, value: Any) -> None:
    if key in _VALUES:
        if type(value) is not type(_VALUES[key][0]) or value not in _VALUES[key]:  # true is no 1, 8.0 no 8
            raise RecipeError(f"{where} must be one of {', '.join(map(str, _VALUES[key]))}, not {short(value)}")
    elif key == "percentile":
        if not _number(value) or not 50 < value <= 100:
            raise RecipeError(f"{where} must be a number over 50, up to 100, not {short(value)}")
    elif value != "search" and not (_number(value) and 0 <= value <= 1):
        raise RecipeError(f'{where} must be a number from 0 to 1 or "search", not {short(value)}')


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _layer(number: str) -> int:
    if not (number.isascii() and number.isdecimal() and len(number) < 8):
        raise RecipeError(f"layers.{number[:20]}: a layer is a whole number from 0")
    return int(number)


def _mapping(where: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise RecipeError(f"{where} must be a table")
    return given


def _known(where: str, given: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for key in given:
        if key not in allowed:
            raise RecipeError(f"{where + '.' if where else ''}{key[:60]} is not known; known are {', '.join(allowed)}")
