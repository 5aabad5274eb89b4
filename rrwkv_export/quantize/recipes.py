"""The recipes and the texts that come along: one to calibrate on, another to evaluate on."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from rrwkv_export.quantize.recipe import Recipe, load_recipe

_FOLDER = Path(str(resources.files("rrwkv_export"))) / "calibration"
TEXT = _FOLDER / "chat_calibration.jsonl"
EVALUATION_TEXT = _FOLDER / "chat_eval.jsonl"


def shipped_recipe(scheme: str, architecture: str = "rwkv4") -> Recipe:
    """The recipe of that name in calibration/recipes: the architecture's own, if it has one there."""
    own = _FOLDER / "recipes" / architecture / f"{scheme}.toml"
    return load_recipe(own if own.exists() else _FOLDER / "recipes" / f"{scheme}.toml")
