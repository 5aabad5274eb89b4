"""The API's description as a page, for people; FastAPI's own pages load scripts from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

Schema = dict[str, Any]
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color-scheme:light dark}"
    "code{font-size:.95em}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;vertical-align:top;padding:.2em .8em .2em 0;border-bottom:1px solid #8884}"
)


def page(described: Schema) -> str:
    """HTML of an OpenAPI description."""
    title, schemas = escape(described["info"]["title"]), described["components"]["schemas"]
    parts = [
        f"<h1>{title}</h1><p>{escape(described['info']['description'])} <a href='openapi.json'>openapi.json</a></p>"
    ]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{_text(operation)}</p>")
            if body := operation.get("requestBody"):
                parts.append(_table(body["content"]["application/json"]["schema"], schemas))
    parts += (
        f"<h2 id='{name}'>{name}</h2><p>{_text(schemas[name])}</p>{_table(schemas[name], schemas)}" for name in schemas
    )
    head = f"<meta charset='utf-8'><title>{title}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'>{head}{''.join(parts)}</html>"


def _table(schema: Schema, schemas: Schema) -> str:
    """An object's members."""
    schema = schemas[_name(schema)] if "$ref" in schema else schema
    rows = "".join(
        _row(name, member, schema.get("required", ())) for name, member in schema.get("properties", {}).items()
    )
    return f"<table><tr><th>member</th><th>type</th><th>default</th><th></th></tr>{rows}</table>" if rows else ""


def _row(name: str, member: Schema, required: list[str]) -> str:
    default = "required" if name in required else f"<code>{escape(str(member.get('default', '')))}</code>"
    cells = (f"<code>{escape(name)}</code>", _kind(member), default, _text(member))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _kind(schema: Schema) -> str:
    """What a value may be, in few words."""
    if "$ref" in schema:
        return f"<a href='#{_name(schema)}'>{_name(schema)}</a>"
    if kinds := schema.get("anyOf"):
        return " or ".join(_kind(one) for one in kinds)
    if values := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(" ".join([str(schema.get("type", "anything")), *_bounds(schema)]))


def _bounds(schema: Schema) -> Iterator[str]:
    words = {"minimum": "from", "maximum": "to", "exclusiveMaximum": "below", "maxLength": "up to", "minLength": "from"}
    yield from (f"{word} {schema[name]:g}" for name, word in words.items() if name in schema)


def _name(schema: Schema) -> str:
    return escape(str(schema["$ref"]).rpartition("/")[2])


def _text(schema: Schema) -> str:
    return escape(schema.get("description", ""))
