"""What is measured of what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rrwkv_export.bench.alternate import Run
from rrwkv_export.bench.weights import TokenCost, token_cost
from rrwkv_export.bench.workloads import decode, prefill
from rrwkv_runtime.common.checks import check_whole
from rrwkv_runtime.errors import InputError
from rrwkv_runtime.execution import native as kernels
from rrwkv_runtime.manifest import Manifest, check_sizes
from rrwkv_runtime.model import Model
from rrwkv_runtime.providers import AUTO


@dataclass(frozen=True)
class Test:
    """name: "pp256", a prompt of 256 tokens read at once, or "tg128", 128 tokens one by one; llama-bench's names."""

    name: str
    tokens: int
    run: Callable[[Model, Any], Run] = field(repr=False)


@dataclass(frozen=True)
class Options:
    """How to measure.

    prompts, generated: numbers of tokens, each a test; 0 is none. threads: None is onnxruntime's own choice.
    repetitions: of each test, after one that warms up. native, provider_options, strict: as in `Model.load`. Raises
    InputError.
    """

    prompts: tuple[int, ...] = (256,)
    generated: tuple[int, ...] = (128,)
    threads: tuple[int | None, ...] = (None,)
    repetitions: int = 5
    provider: str = "cpu"
    native: bool | str | None = None
    provider_options: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False

    def __post_init__(self) -> None:
        for name, values in (("prompts", self.prompts), ("generated", self.generated)):
            for value in values:
                check_whole(name, value, 0, None, "whole numbers from 0")
        check_whole("repetitions", self.repetitions, 1, None, "a whole number from 1")
        if not self.threads:
            raise InputError("at least one number of threads is needed")
        if not self.tests:
            raise InputError("there is nothing to measure: no tokens to read, and none to generate")

    @property
    def loading(self) -> dict[str, Any]:
        """What `Model.load` is given besides bundle, provider and threads."""
        return {"native": self.native, "provider_options": dict(self.provider_options), "strict": self.strict}

    @property
    def fused(self) -> bool:
        """Whether kernels compute the graphs' functions. Raises ProviderError."""
        return kernels.find("cpu" if self.provider == AUTO else self.provider, self.native) is not None

    @property
    def tests(self) -> tuple[Test, ...]:
        """In the order given, each once."""
        read = [Test(f"pp{count}", count, prefill) for count in self.prompts if count]
        generated = [Test(f"tg{count}", count, decode) for count in self.generated if count]
        return tuple(dict.fromkeys((*read, *generated)))


@dataclass(frozen=True)
class Subject:
    """A bundle, at a number of threads. name: its folder's, or the path given where two folders share theirs."""

    name: str
    path: Path
    threads: int | None
    manifest: Manifest = field(hash=False, repr=False)
    cost: TokenCost

    @property
    def scheme(self) -> str:
        return scheme(self.manifest)


def subjects(
    bundles: Sequence[Path], threads: Sequence[int | None] = (None,), fused: bool = False
) -> tuple[Subject, ...]:
    """Every bundle at every number of threads. fused: see `token_cost`. Raises BundleError, InputError."""
    if not bundles:
        raise InputError("at least one bundle is needed")
    paths = tuple(dict.fromkeys(bundles))
    names = [path.resolve().name for path in paths]
    found = []
    for path, name in zip(paths, names):
        manifest = Manifest.load(path)
        check_sizes(path, manifest)
        said = str(path) if names.count(name) > 1 else name
        said = said.encode("utf-8", "replace").decode()  # a name on disk need not be text
        cost = token_cost(path, manifest, fused=fused)
        found += [Subject(said, path, count, manifest, cost) for count in dict.fromkeys(threads)]
    return tuple(found)


def scheme(manifest: Manifest) -> str:
    """What the weights are."""
    recipe = manifest.quantization
    return manifest.main.dtype if recipe is None else str(recipe.get("scheme", "quantized"))


def graph_bytes(manifest: Manifest) -> int:
    """Of graph and weight files."""
    files = {name for graph in manifest.graphs.values() for name in (graph.file, *graph.data)}
    return sum(entry.bytes for entry in manifest.files if entry.name in files)
