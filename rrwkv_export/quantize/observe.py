"""Calibration: the graph run over real text with its state carried on, and what its products are given there.

Memory does not depend on the text's length: for every product's input a histogram, what is known of each channel, and
second moments where they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from rrwkv_export.quantize.ranges import Histogram
from rrwkv_export.quantize.sites import EMB, Site
from rrwkv_runtime.manifest import StateSpec

Array = np.ndarray[Any, np.dtype[Any]]
_STEPS = 4
_ROWS_AT_ONCE = 256  # single steps are gathered, as few rows cost as much as many


@dataclass
class Observation:
    """What one product's input was seen to be.

    absmax [inputs] float32: largest magnitude of each channel. square [inputs] float64: its mean square. moments
    [inputs, inputs] float32: the mean of x xᵀ, where asked for.
    """

    inputs: int
    with_moments: bool = False
    histogram: Histogram = field(default_factory=Histogram)
    rows: int = 0

    def __post_init__(self) -> None:
        self.absmax = np.zeros(self.inputs, np.float32)
        self._squares = np.zeros(self.inputs)
        self._products = np.zeros((self.inputs, self.inputs), np.float32) if self.with_moments else None
        self._waiting: list[Array] = []

    def add(self, x: Array) -> None:
        """Rows [n, inputs] float32, n >= 0; counted by the next `flush` at the latest."""
        self._waiting.append(x)
        if sum(map(len, self._waiting)) >= _ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Count what waits."""
        x, self._waiting = np.concatenate([np.zeros((0, self.inputs), np.float32), *self._waiting]), []
        if not len(x):
            return
        self.histogram.add(x)
        self.absmax = np.maximum(self.absmax, np.abs(x).max(axis=0))
        self._squares += np.einsum("ij,ij->j", x, x, dtype=np.float64)
        if self._products is not None:
            self._products += x.T @ x
        self.rows += len(x)

    @property
    def square(self) -> Array:
        return self._squares / max(self.rows, 1)

    @property
    def moments(self) -> Array | None:
        return None if self._products is None else self._products / np.float32(max(self.rows, 1))


def observe(
    model: onnx.ModelProto,
    states: Sequence[StateSpec],
    wanted: Sequence[Site],
    passages: Sequence[Array],
    *,
    moments: Collection[str] = (),
    chunk: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Observation]:
    """Observations by the name of the value that a site's product reads.

    The state is carried from passage to passage; each is given in chunks, its last tokens one at a time. moments: the
    values whose second moments are wanted (4 inputs² bytes each). Sites whose value is never computed have no rows.
    """
    names = input_names(model, wanted)
    found = {name: Observation(inputs, name in moments) for name, inputs in names.items()}
    session = _session(model, names)
    carried = {spec.input: spec.initial() for spec in states}
    outputs = [*(spec.output for spec in states), *names]
    done, total = 0, sum(len(ids) for ids in passages)
    for ids in pieces(passages, chunk):
        values = session.run(outputs, {"input_ids": ids, "num_logits": np.array([len(ids)]), **carried})
        carried = {spec.input: value for spec, value in zip(states, values)}
        for name, value in zip(names, values[len(states) :]):
            found[name].add(value.reshape(-1, value.shape[-1]))
        done += len(ids)
        if progress:
            progress(done, total)
    for observation in found.values():
        observation.flush()
    return found


def input_names(model: onnx.ModelProto, wanted: Sequence[Site]) -> dict[str, int]:
    """The values that the sites' products read, with their number of channels; each once."""
    nodes = {node.name: node for node in model.graph.node}
    return {nodes[site.node].input[0]: site.inputs for site in wanted if site.role != EMB}


def pieces(passages: Sequence[Array], chunk: int, steps: int = _STEPS) -> Iterator[Array]:
    """Every passage in chunks, its last `steps` tokens one at a time."""
    for ids in passages:
        end = max(1, len(ids) - steps)
        yield from (ids[start : min(start + chunk, end)] for start in range(0, end, chunk))
        yield from (ids[i : i + 1] for i in range(end, len(ids)))


def _session(model: onnx.ModelProto, names: Collection[str]) -> Any:
    """An onnxruntime session that gives these values too."""
    import onnxruntime as ort

    with_outputs = onnx.ModelProto()
    with_outputs.CopyFrom(model)
    with_outputs.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the work between runs needs the cores
    return ort.InferenceSession(with_outputs.SerializeToString(), options, providers=["CPUExecutionProvider"])
