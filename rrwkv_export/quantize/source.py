"""What is quantized, and the text that it is calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import Linear, linears
from rrwkv_export.bundle import GRAPH_FILE
from rrwkv_export.errors import RecipeError, TextError
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.kernels.rooms import room_of
from rrwkv_export.quantize.rewrite.rewrite import Rewriter
from rrwkv_export.texts import Text, read_text
from rrwkv_runtime.manifest import Manifest, verify_files

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Source:
    """A float32 bundle that can be quantized: its manifest, graph and linears."""

    path: Path
    manifest: Manifest
    linears: tuple[Linear, ...]

    @classmethod
    def open(cls, path: Path, *, gpu: bool = False) -> Source:
        """Raises BundleError, and RecipeError for a bundle that is quantized already or not float32 for CPU.

        gpu: take one exported for CUDA too.
        """
        manifest = Manifest.load(path)
        if manifest.quantization is not None:
            scheme = manifest.quantization.get("scheme")
            raise RecipeError(f"{path}: already quantized ({scheme}); give the float32 bundle that it was made from")
        if manifest.main.over != "loop" and not gpu:
            raise RecipeError(f"{path}: exported for CUDA; take a bundle exported with --target cpu")
        if (dtype := manifest.main.dtype) != "float32":
            raise RecipeError(f"{path}: its weights are {dtype}; quantize a bundle exported with --dtype float32")
        verify_files(path, manifest)
        found = linears(ModelConfig.from_json(manifest.config))
        # The step on a GPU lays low-rank matrices together, as they are.
        on_cpu = manifest.main.over == "loop"
        return cls(path, manifest, tuple(one for one in found if on_cpu or not one.is_low_rank))

    @property
    def config(self) -> ModelConfig:
        return ModelConfig.from_json(self.manifest.config)

    @property
    def for_gpu(self) -> bool:
        """Whether it was exported for CUDA."""
        return self.manifest.main.over != "loop"

    @property
    def has_kernels(self) -> bool:
        """Whether rrwkv-native may have kernels for its graphs: they know its architecture, on a CPU."""
        return not self.for_gpu and room_of(self.config) is not None

    @property
    def in_fixed_shapes(self) -> list[str]:
        """The names of its graphs in fixed shapes."""
        return [name for name, graph in self.manifest.graphs.items() if graph.fixed_shape]

    @property
    def wkv(self) -> WKVForm:
        form = self.manifest.form
        return "stable" if form == "stable" else "plain"

    def rewriter(self) -> Rewriter:
        """The graph, which reads its weights when they are asked for."""
        return Rewriter(onnx.load(str(self.path / GRAPH_FILE), load_external_data=False), self.path)


@dataclass(frozen=True)
class Calibration:
    """What is observed: texts as passages, and how they were drawn.

    write: makes a text where there is none, once one is needed.
    """

    texts: tuple[Text, ...]
    samples: int | None
    seed: int
    write: Callable[[], Text] | None = None

    @classmethod
    def read(cls, paths: Sequence[Path], bundle: Path, samples: int | None = None, seed: int = 0) -> Calibration:
        """Raises TextError. samples: so many passages of each text, drawn with the seed; None takes all."""
        texts = [read_text(path, bundle) for path in paths]
        return cls(tuple(text if samples is None else text.sample(samples, seed) for text in texts), samples, seed)

    @cached_property
    def observed(self) -> tuple[Text, ...]:
        """The texts, written now if there are none."""
        return self.texts or ((self.write(),) if self.write else ())

    @property
    def passages(self) -> list[Array]:
        return [ids for text in self.observed for ids in text.passages]

    @property
    def tokens(self) -> int:
        return sum(len(ids) for ids in self.passages)

    def require(self) -> None:
        """Raises TextError if there is nothing to observe."""
        if not self.observed:
            raise TextError("a text is needed, and none comes along for a bundle without a tokenizer; give a .ids file")

    def split(self, tokens: int, samples: int) -> tuple[Calibration, Array]:
        """For trials: at most `samples` passages to observe, and others, of so many tokens in all, to measure on.

        What is measured on is the end of the last text, and never observed; unless there is but one passage.
        """
        self.require()
        *others, last = self.observed
        kept = list(last.passages)
        held: list[Array] = []
        while len(kept) > 1 and sum(len(ids) for ids in held) < tokens:
            held.insert(0, kept.pop())
        first = Text(last.name, last.sha256, tuple(kept))
        observed = tuple(text.sample(samples, self.seed) for text in (*others, first))
        return Calibration(observed, samples, self.seed), np.concatenate(held or kept)[:tokens]

    def to_json(self) -> dict[str, Any]:
        files = [{"name": text.name, "sha256": text.sha256, "passages": len(text.passages)} for text in self.observed]
        return {"files": files, "tokens": self.tokens, "samples": self.samples, "seed": self.seed}
