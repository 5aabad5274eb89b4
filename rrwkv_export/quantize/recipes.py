"""The recipes and the texts that come along: one to calibrate on, another to evaluate on."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from rrwkv_export.errors import RecipeError
from rrwkv_export.quantize.recipe import Recipe, load_recipe

_FOLDER = Path(str(resources.files("rrwkv_export"))) / "calibration"
TEXT = _FOLDER / "chat_calibration.jsonl"
EVALUATION_TEXT = _FOLDER / "chat_eval.jsonl"


def shipped_recipe(scheme: str, architecture: str = "rwkv4") -> Recipe:
    """The recipe of that name in calibration/recipes: the architecture's own, if it has one there."""
    return load_recipe(_shipped_file(scheme, architecture))


def recipe_text(given: str, architecture: str) -> str:
    """The TOML of a recipe that comes along, by its scheme, or of a file. Raises RecipeError, of a damaged one too."""
    schemes = sorted(path.stem for path in _recipes().glob("*.toml"))
    path = _shipped_file(given, architecture) if given in schemes else Path(given)
    if given not in schemes and not path.is_file():
        raise RecipeError(f"{given}: no scheme and no file; the schemes are {', '.join(schemes)}")
    load_recipe(path)
    return path.read_text(encoding="utf-8")


def _shipped_file(scheme: str, architecture: str) -> Path:
    own = _recipes() / architecture / f"{scheme}.toml"
    return own if own.exists() else _recipes() / f"{scheme}.toml"


def _recipes() -> Path:
    folder = _FOLDER / "recipes"
    if not folder.is_dir():  # in a checkout a link leads there, which not every copy or archive keeps
        raise RecipeError(f"{folder}: the recipes that come with rrwkv-export are not there; install it again")
    return folder
