"""The recipes and the texts that come along: one to calibrate on, another to evaluate on."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from rrwkv_export.quantize.recipe import Recipe, load_recipe

_FOLDER = Path(str(resources.files("rrwkv_export"))) / "calibration"
TEXT = _FOLDER / "chat_calibration.jsonl"
EVALUATION_TEXT = _FOLDER / "chat_eval.jsonl"
# In the order in which one would try them.
SCHEMES = ("int8", "int8-static", "int8-dynamic", "int8-weight", "int4", "float16")


def shipped_recipe(scheme: str) -> Recipe:
    """The recipe of one of SCHEMES."""
    return load_recipe(_FOLDER / "recipes" / f"{scheme}.toml")
