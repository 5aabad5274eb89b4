"""What a checkpoint's model card says: the name and the licence of its weights."""

from __future__ import annotations

import re
from pathlib import Path

_MOST_BYTES = 2**16
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_FIELD = "^{name}:[ \t]*[\"']?([A-Za-z0-9][A-Za-z0-9 .+_-]{{0,99}}?)[\"']?[ \t]*(?:#.*)?$"
_CALLED = re.compile(r"^(?:model_name|base_model):\s*(?:-\s*)?(.{1,200})$", re.MULTILINE)
_HEADING = re.compile(r"^# (.{1,200})$", re.MULTILINE)
# What licences' texts begin with, and their names on model hubs.
_TEXTS = {
    "Apache License": "apache-2.0",
    "MIT License": "mit",
    "Attribution-ShareAlike 4.0 International": "cc-by-sa-4.0",
    "Attribution-NonCommercial 4.0 International": "cc-by-nc-4.0",
    "Attribution 4.0 International": "cc-by-4.0",
    "CC0 1.0 Universal": "cc0-1.0",
}
_BEGINNING = 300  # characters


def card_facts(checkpoint: Path) -> dict[str, str]:
    """`license` and `model`, as far as they are said: in the front matter (`license: apache-2.0`, `model_name: …`) of
    README.md in the folder or beside the file; a licence also by a folder's LICENSE, if that is a text that is known.

    Not by what files are called: the same weights in another place make the same bundle.
    """
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    front = _FRONT_MATTER.match(_beginning(folder / "README.md"))
    said = {name: _field(front[1], name) if front else None for name in ("license", "license_name", "model_name")}
    licence = said["license"]
    if licence and licence.lower() == "other":
        licence = said["license_name"] or licence
    if not licence and checkpoint.is_dir():  # beside a file it may be that of something else
        text = _beginning(folder / "LICENSE")[:_BEGINNING]
        licence = next((name for words, name in _TEXTS.items() if words in text), None)
    return {name: value for name, value in (("license", licence), ("model", said["model_name"])) if value}


def card_titles(folder: Path) -> list[str]:
    """What a folder's card calls its model: its name, what it was made of, and the first heading."""
    text = _beginning(folder / "README.md")
    front = _FRONT_MATTER.match(text)
    said = _CALLED.findall(front[1]) if front else []
    return [*said, *_HEADING.findall(text)[:1]]


def _field(front: str, name: str) -> str | None:
    found = re.search(_FIELD.format(name=name), front, re.MULTILINE)
    return found[1] if found else None


def _beginning(path: Path) -> str:
    """Of a regular file; nothing where there is none that can be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            return stream.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
