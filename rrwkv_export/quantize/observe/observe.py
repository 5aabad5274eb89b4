"""Calibration: the graph run over real text with its state carried on, and what its products are given there.

Memory does not depend on the text's length: for every product's input a histogram, what is known of each channel, and
second moments where they are asked for; besides, the values of one chunk. Equalization needs no graph of its own to be
observed: where a scale is moved into a matrix, what it is multiplied with is what it was before, divided by the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from rrwkv_export.architectures.linears import EMB, Linear
from rrwkv_export.errors import RecipeError
from rrwkv_export.onnx.stateful_session import carried, chunks, exposed
from rrwkv_export.quantize.observe.moments import Moments
from rrwkv_export.quantize.observe.ranges import Histogram
from rrwkv_export.quantize.parallel import workers
from rrwkv_runtime.bundle.state_spec import StateSpec

Array = np.ndarray[Any, np.dtype[Any]]
_STEPS = 4
_ROWS_AT_ONCE = 256  # single steps are gathered, as few rows cost as much as many


@dataclass
class Observation:
    """What one value, the input [rows, inputs] of one or more products, was seen to be.

    low, high [inputs] float32: the extremes of each channel, 0 within. square [inputs] float64: its mean square.
    moments [inputs, inputs] float32: the mean of x xᵀ, where asked for. rows: 0 if the value was never computed.
    divisor [inputs]: the histogram and the moments are those of x / divisor; None of x.
    with_channels: the extremes and the squares are kept. with_histogram: so is the histogram. Both cost time.
    """

    name: str
    inputs: int
    with_moments: bool = False
    with_channels: bool = True
    with_histogram: bool = True
    divisor: Array | None = None
    histogram: Histogram = field(default_factory=Histogram)
    rows: int = 0

    def __post_init__(self) -> None:
        self.low, self.high = np.zeros((2, self.inputs), np.float32)
        self._squares = np.zeros(self.inputs)
        self._products = Moments(self.inputs) if self.with_moments else None
        self._waiting: list[Array] = []

    def add(self, x: Array) -> None:
        """Rows [n, inputs] float32, n >= 0; counted by the next `flush` at the latest."""
        self._waiting.append(x)
        if sum(map(len, self._waiting)) >= _ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Count what waits. Raises RecipeError if a value is not finite."""
        waiting, self._waiting = [x for x in self._waiting if len(x)], []
        if not waiting:
            return
        x = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
        with np.errstate(invalid="ignore"):  # of infinities of either sign
            if not np.isfinite(x.sum(dtype=np.float64)):
                raise self._not_finite()
        if self.with_channels:
            self.low, self.high = np.minimum(self.low, x.min(axis=0)), np.maximum(self.high, x.max(axis=0))
            self._squares += np.einsum("ij,ij->j", x, x)  # over some hundred rows in float32, over all in float64
        if self.with_histogram:
            self._count(x if self.divisor is None else x / self.divisor)
        if self._products is not None:
            self._products.add(x)
        self.rows += len(x)

    def _count(self, x: Array) -> None:
        try:
            self.histogram.add(x)
        except ValueError:  # by the divisor
            raise self._not_finite() from None

    def _not_finite(self) -> RecipeError:
        remedy = "`rrwkv verify BUNDLE --against CHECKPOINT` says more"
        return RecipeError(f"{self.name}: a value is not finite in the float model; {remedy}")

    @property
    def absmax(self) -> Array:
        """The largest magnitude of each channel."""
        return np.maximum(self.high, -self.low)

    @property
    def square(self) -> Array:
        return self._squares / max(self.rows, 1)

    @property
    def moments(self) -> Array | None:
        return None if self._products is None else self._products.mean(max(self.rows, 1), self.divisor)


def observe(
    model: onnx.ModelProto | Path,
    states: Sequence[StateSpec],
    wanted: Sequence[Linear],
    passages: Sequence[Array],
    *,
    moments: Collection[str] = (),
    channels: bool = True,
    histograms: bool = True,
    divisors: Mapping[str, Array] | None = None,
    chunk: int | None = None,
    steps: int = _STEPS,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Observation]:
    """Observations by the name of the value that a linear's product reads; linears that read the same value share one.

    model: a graph with its weights in memory, or a bundle's model.onnx, whose weights stay mapped; both may be larger
    than protobuf's 2 GB. passages: int64 [n] each. The state is carried from one to the next; each is given in chunks,
    its last `steps` tokens one at a time. moments: the values whose second moments are wanted; each takes a little over
    2 inputs² bytes (137 MB for 8192 inputs). channels, histograms: False leaves these out; without both the text is
    given without a break, which is faster. divisors: see `Observation`, by the value's name. threads: None lets
    onnxruntime choose. progress(done, total): in tokens.

    The same input and threads give the same observations, bit for bit. A value that is never computed (a medium's, of a
    text shorter than an interval) has no rows. Raises RecipeError if a value is not finite.
    """
    graph = onnx.load(str(model), load_external_data=False) if isinstance(model, Path) else model
    names = input_names(graph, wanted)
    outputs = [*(spec.output for spec in states), *names]
    folder = model.parent if isinstance(model, Path) else None
    by, ranges = divisors or {}, channels or histograms
    found = {
        name: Observation(name, inputs, name in moments, channels, histograms, by.get(name))
        for name, inputs in names.items()
    }
    chunk = chunk or (256 if ranges else 512)
    done, total = 0, sum(len(ids) for ids in passages)
    with exposed(graph, outputs, folder, threads, lean=True) as session, workers(threads) as pool:
        cut = pieces(passages, chunk, steps) if ranges else chunks(np.concatenate(passages), chunk)
        for ids, values in carried(session, states, list(names), cut):
            rows = [value.reshape(-1, observation.inputs) for observation, value in zip(found.values(), values)]
            list(pool.map(Observation.add, found.values(), rows))
            del values, rows
            done += len(ids)
            if progress:
                progress(done, total)
        list(pool.map(Observation.flush, found.values()))
    return found


def input_names(model: onnx.ModelProto, wanted: Sequence[Linear]) -> dict[str, int]:
    """The values that linears read, with their number of channels; each once. The embedding reads none."""
    nodes = {node.name: node for node in model.graph.node}
    return {nodes[linear.node].input[0]: linear.inputs for linear in wanted if linear.role != EMB}


def pieces(passages: Sequence[Array], chunk: int, steps: int = _STEPS) -> Iterator[Array]:
    """Every passage in chunks, its last `steps` tokens one at a time (all but the first, of a short one)."""
    for ids in passages:
        end = min(len(ids), max(1, len(ids) - steps))
        yield from (ids[start : min(start + chunk, end)] for start in range(0, end, chunk))
        yield from (ids[i : i + 1] for i in range(end, len(ids)))
