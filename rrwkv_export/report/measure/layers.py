"""Where the error comes from: the relative error of every product's output, by role and layer.

    ‖a - b‖ / ‖b‖ over the first tokens of a text, b the reference's output, a the other's

Both models run on their own, so an error is what the product adds to what reaches it. Some outputs may be kept in other
units channel by channel, because quantization moves scales through them (SCALED_ROLES): there a channel of `a` counts
after the one factor that brings it closest to b.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import Linear, linears
from rrwkv_export.onnx.functions import inline
from rrwkv_export.onnx.stateful_session import carried, chunks
from rrwkv_export.progress import Progress
from rrwkv_runtime.errors import DamagedBundle, ProviderError
from rrwkv_runtime.manifest import resolve_inside
from rrwkv_runtime.model import Model
from rrwkv_runtime.providers import import_onnxruntime

Array = np.ndarray[Any, np.dtype[Any]]
SCALED_ROLES = frozenset({"att.value", "low_rank.g2", "ffn.key", "medium.down"})
TOKENS = 512
# Where a graph in memory finds the files with its weights.
_FOLDER_OPTION = "session.model_external_initializers_file_folder_path"


@dataclass(frozen=True)
class LayerErrors:
    """Relative error of each linear's output. missing: linears without a value of that name in one of the graphs."""

    errors: dict[Linear, float]
    missing: tuple[Linear, ...]
    tokens: int


@dataclass
class _Sums:
    """Of one linear's channels [C], over rows: of a², a b and b²."""

    aa: Array
    ab: Array
    bb: Array

    @classmethod
    def of(cls, a: Array, b: Array) -> _Sums:
        a, b = (x.astype(np.float64).reshape(-1, x.shape[-1]) for x in (a, b))
        return cls((a * a).sum(0), (a * b).sum(0), (b * b).sum(0))

    def add(self, other: _Sums) -> None:
        self.aa += other.aa
        self.ab += other.ab
        self.bb += other.bb

    def relative_error(self, scaled: bool) -> float | None:
        """scaled: each channel of a by the factor ab / aa, with which it is closest to b. None if both are zero."""
        if not (self.aa.any() or self.bb.any()):
            return None
        with np.errstate(all="ignore"):
            if scaled:
                squared = np.where(self.aa == 0, self.bb, self.bb - self.ab**2 / self.aa)
            else:
                squared = self.aa - 2 * self.ab + self.bb
            total = np.maximum(squared, 0).sum()  # rounding may leave a hair below 0
            error = float(np.sqrt(total / self.bb.sum())) if total else 0.0
        return error if not np.isnan(error) else float("inf")


def layer_errors(
    reference: Model,
    other: Model,
    ids: Array,
    *,
    chunk: int = 256,
    progress: Progress | None = None,
) -> LayerErrors:
    """Both graphs over the first ids [T], with the outputs of their products exposed."""
    ids = ids[:TOKENS]
    models = (reference, other)
    wanted = linears(ModelConfig.from_json(reference.manifest.config))
    loaded = [_load(model) for model in models]
    held = [{name for node in graph.graph.node for name in node.output} for graph in loaded]
    there = [linear for linear in wanted if all(linear.node in names for names in held)]
    runs = [_outputs(*pair, there, ids, chunk) for pair in zip(models, loaded)]
    sums: dict[Linear, _Sums] = {}
    for done, (b_outputs, a_outputs) in enumerate(zip(*runs), 1):
        for linear, a, b in zip(there, a_outputs, b_outputs):
            if linear in sums:
                sums[linear].add(_Sums.of(a, b))
            else:
                sums[linear] = _Sums.of(a, b)
        if progress:
            progress("comparing layers", min(done * chunk, len(ids)), len(ids))
    found = {linear: total.relative_error(linear.role in SCALED_ROLES) for linear, total in sums.items()}
    errors = {linear: error for linear, error in found.items() if error is not None}
    return LayerErrors(errors, tuple(linear for linear in wanted if linear not in errors), len(ids))


def _load(model: Model) -> onnx.ModelProto:
    """The main graph, its functions' bodies in the place of their calls: there the products' outputs are."""
    graph = ir.load(resolve_inside(model.path, model.manifest.main.file))
    inline(graph)
    return ir.to_proto(graph)


def _outputs(
    model: Model, graph: onnx.ModelProto, wanted: Sequence[Linear], ids: Array, chunk: int
) -> Iterator[list[Array]]:
    """The values of the linears' outputs, chunk after chunk, the state carried."""
    values = [linear.node for linear in wanted]
    session = _session(model, graph, values)
    return (found for _, found in carried(session, model.manifest.states, values, chunks(ids, chunk)))


def _session(model: Model, graph: onnx.ModelProto, values: Sequence[str]) -> Any:
    """The graph with these values among its outputs, made in memory: the bundle's folder may be read only."""
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in values)
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(_FOLDER_OPTION, str(model.path.resolve()))
    try:
        return model.engine.session(graph.SerializeToString(), options)
    except ProviderError:
        raise
    except Exception as error:  # onnxruntime's own exception types share no base
        said = str(error).splitlines()[0]
        raise DamagedBundle(f"{model.path}: onnxruntime cannot expose the layers' outputs: {said}") from None
