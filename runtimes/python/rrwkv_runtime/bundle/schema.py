"""A checker for the part of JSON Schema that `manifest.schema.json` uses; nothing else to install on a device.

Known keywords: type, enum, pattern, minimum, maximum, maxLength, maxItems, required, properties, additionalProperties,
items, $ref to `#/$defs/…`. The test suite holds its verdicts against the `jsonschema` package's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
    "boolean": (bool,),
}


def violations(
    value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, where: str = ""
) -> Iterator[str]:
    """Yield one line for each way in which `value` breaks `schema`, the outermost first."""
    root = root or schema
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    where = where or "the manifest"
    if (types := schema.get("type")) is not None and not _has_type(value, types):
        yield f"{where} must be {types if isinstance(types, str) else ' or '.join(types)}, not {_short(value)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} must be {' or '.join(map(repr, schema['enum']))}, not {_short(value)}"
    if isinstance(value, str):
        yield from _string_violations(value, schema, where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{where} is out of range: {value}"
    elif isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            yield f"{where} has {len(value)} items, and {schema['maxItems']} are the most"
            return
        for index, item in enumerate(value):
            yield from violations(item, schema.get("items", {}), root, f"{where}[{index}]")
    elif isinstance(value, dict):
        yield from _object_violations(value, schema, root, where)


def _has_type(value: Any, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    if isinstance(value, bool):  # which is an int in Python, and no number in JSON
        return "boolean" in names
    return any(isinstance(value, _TYPES[name]) for name in names)


def _string_violations(value: str, schema: dict[str, Any], where: str) -> Iterator[str]:
    # JSON Schema's `$` does not match before a final newline as Python's does, hence fullmatch.
    if "pattern" in schema and not re.fullmatch(schema["pattern"].removeprefix("^").removesuffix("$"), value):
        yield f"{where} is not acceptable: {_short(value)}"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{where} is longer than {schema['maxLength']} characters"


def _object_violations(
    value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], where: str
) -> Iterator[str]:
    prefix = "" if where == "the manifest" else f"{where}."
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{prefix}{name} is missing"
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in properties:
            yield from violations(item, properties[name], root, f"{prefix}{name}")
        elif others is False:
            yield f"{prefix}{name} is not a known field"
        elif isinstance(others, dict):
            yield from violations(item, others, root, f"{prefix}{name}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
