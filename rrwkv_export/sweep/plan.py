"""What a sweep is of, checked before anything is run, and its grids of runs.

A run's parameters hold what its result depends on: ids of bundles, recipes as they are written, hashes of texts; not
where they lie. So one is run anew if any of it changes, and not otherwise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rrwkv_export.bench.plan import graph_bytes
from rrwkv_export.errors import RecipeError
from rrwkv_export.quantize.recipe import parse_recipe
from rrwkv_export.quantize.recipes import EVALUATION_TEXT, recipe_text
from rrwkv_export.quantize.source import Source
from rrwkv_export.report.shipped_text import shipped_text
from rrwkv_export.runs import Run
from rrwkv_export.texts import check_text, read_text
from rrwkv_runtime.common.checks import check_whole
from rrwkv_runtime.common.printable import writable
from rrwkv_runtime.errors import UsageError

_WORK = "rrwkv_export.sweep.work"
_QUANTIZED = f"{_WORK}:quantized"
BUNDLES = "bundles"  # the folder of what is made


@dataclass(frozen=True)
class Settings:
    """What all figures of a sweep depend on.

    tokens: predictions of each text that count. chunk: tokens of a run. samples: of each calibration text so many
    passages are observed, None for all, drawn with the seed. Raises InputError.
    """

    tokens: int = 16_384
    chunk: int = 256
    samples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tokens", "chunk"):
            check_whole(name, getattr(self, name), 1, None, "a whole number from 1")


@dataclass(frozen=True)
class Named:
    """A file or a folder, by the name that the page gives it; and what it is known by, its bundle id or sha256."""

    name: str
    path: str
    id: str


@dataclass(frozen=True)
class Bundle(Named):
    """A float32 bundle. bytes: of graphs and weights. parameters: the model's. architecture: whose recipes it takes."""

    bytes: int
    parameters: int
    architecture: str


@dataclass(frozen=True)
class Recipe:
    """name: a scheme's, or a file's without its end. texts: what it says, in TOML, by architecture."""

    name: str
    texts: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class Quantized:
    """A bundle to be made: of which, by which recipe, and in which folder."""

    bundle: Bundle
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.bundle.name} {self.recipe.name}"


@dataclass(frozen=True)
class Plan:
    """bundles × recipes × texts. calibration: what is observed; none takes the text that comes along."""

    bundles: tuple[Bundle, ...]
    recipes: tuple[Recipe, ...]
    texts: tuple[Named, ...]
    calibration: tuple[Named, ...]
    settings: Settings

    def quantized(self, out: Path) -> list[Quantized]:
        """Every bundle by every recipe."""
        folder = out.absolute() / BUNDLES  # workers may have another current one
        return [
            Quantized(bundle, recipe, folder / self._folder(bundle, recipe))
            for bundle in self.bundles
            for recipe in self.recipes
        ]

    def _folder(self, bundle: Bundle, recipe: Recipe) -> str:
        """Follows from the run's key alone: the names of bundles and recipes change with what else is swept."""
        key = Run("", _QUANTIZED, self._made_of(bundle, recipe)).key
        scheme = re.sub(r"[^\w.-]+", "-", parse_recipe(recipe.texts[bundle.architecture]).scheme)
        return f"{scheme[:40]}-{key[:12]}"

    def _made_of(self, bundle: Bundle, recipe: Recipe) -> dict[str, Any]:
        return {
            "bundle_id": bundle.id,
            "recipe": recipe.texts[bundle.architecture],
            "calibration_ids": [text.id for text in self.calibration],
            "samples": self.settings.samples,
            "seed": self.settings.seed,
        }

    def quantizing(self, each: Quantized) -> Run:
        """The run that makes a bundle."""
        how = self._made_of(each.bundle, each.recipe)
        where = {"bundle": each.bundle.path, "calibration": [t.path for t in self.calibration], "out": str(each.folder)}
        return Run(f"quantize {each.name}", _QUANTIZED, how, where)

    def measuring(self, each: Quantized, made: str, text: Named) -> Run:
        """The run that reads a text by a bundle and by what was made of it. made: the bundle id of that."""
        how = {
            "reference_id": each.bundle.id,
            "bundle_id": made,
            "sha256": text.id,
            "tokens": self.settings.tokens,
            "chunk": self.settings.chunk,
        }
        where = {"reference": each.bundle.path, "bundle": str(each.folder), "text": text.path}
        return Run(f"measure {each.name} on {text.name}", f"{_WORK}:measured", how, where)

    def timing(self, bundle: Bundle, made: Mapping[str, str], machine: str) -> Run:
        """The run that times a bundle beside all that was made of it. made: folders by bundle id."""
        folders = {bundle.id: bundle.path, **made}
        how = {"bundle_ids": list(folders), "sha256": self.texts[0].id, "machine": machine}
        where = {"bundles": list(folders.values()), "text": self.texts[0].path}
        return Run(f"time {bundle.name}", f"{_WORK}:timed", how, where)


def make_plan(
    bundles: Sequence[Path],
    recipes: Sequence[str],
    texts: Sequence[Path] = (),
    calibration: Sequence[Path] = (),
    settings: Settings | None = None,
) -> Plan:
    """A plan of what is there and can be used. Raises BundleError, RecipeError, TextError, UsageError.

    recipes: names of schemes, or paths of files. texts: none for the evaluation text that comes along.
    """
    if not bundles or not recipes:
        raise UsageError(f"a sweep needs at least one {'recipe' if bundles else 'bundle'}")
    found = tuple(_bundle(path, name) for path, name in _named(bundles))
    architectures = dict.fromkeys(bundle.architecture for bundle in found)
    read = tuple(_recipe(given, tuple(architectures)) for given in dict.fromkeys(recipes))
    if twice := next((r.name for i, r in enumerate(read) if r.name in [other.name for other in read[:i]]), None):
        raise RecipeError(f"two recipes are called {twice}; give their files other names")
    for path in (*texts, *calibration):
        check_text(path)
    for path in dict.fromkeys(bundles):
        for text in texts:
            read_text(text, path)
        if not texts:
            shipped_text(path)
    chosen = [_text(path, name) for path, name in _named(texts or [EVALUATION_TEXT])]
    observed = [_text(path, name) for path, name in _named(calibration)]
    return Plan(found, read, tuple(chosen), tuple(observed), settings or Settings())


def _named(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each once, by its own name, or by its path where two have one name."""
    unique = list(dict.fromkeys(paths))
    names = [writable(path.resolve().name) for path in unique]
    return [(path, writable(str(path)) if names.count(name) > 1 else name) for path, name in zip(unique, names)]


def _bundle(path: Path, name: str) -> Bundle:
    source = Source.open(path, gpu=True)
    manifest = source.manifest
    sizes = graph_bytes(manifest), manifest.parameters
    return Bundle(name, str(path.resolve()), manifest.bundle_id, *sizes, str(manifest.config["architecture"]))


def _recipe(given: str, architectures: Sequence[str]) -> Recipe:
    name = Path(given).stem if given.endswith(".toml") else given
    return Recipe(writable(name), {architecture: recipe_text(given, architecture) for architecture in architectures})


def _text(path: Path, name: str) -> Named:
    return Named(name, str(path.resolve()), hashlib.sha256(path.read_bytes()).hexdigest())
