"""Running graphs in fixed shapes: whole segments where the place in the text allows it, single tokens elsewhere.

What the graphs take besides tokens is written in the manifest: pieces of states, bound in place, and a few values that
follow from the position. Two sets of states take turns: a run reads one and writes the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from rrwkv_runtime.bundle.fixed_shape import FixedShape
from rrwkv_runtime.bundle.held import HeldFiles
from rrwkv_runtime.common.checks import check_ids, check_run
from rrwkv_runtime.errors import Cancelled, RRWKVError
from rrwkv_runtime.execution.decoder import Progress
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.providers import import_onnxruntime
from rrwkv_runtime.state import State

Arrays = dict[str, np.ndarray]


class FixedShapeDecoder:
    """A `Decoder` over graphs in fixed shapes, one of them for a single token."""

    def __init__(
        self, sessions: Mapping[str, Any], manifest: Manifest, state: State, files: HeldFiles | None = None
    ) -> None:
        """files: those that the sessions have mapped, to be looked at before each run."""
        self._manifest, self._files, self._counter = manifest, files, manifest.position
        given = {spec.input: spec.carried(state.values[spec.input]) for spec in manifest.states}
        self._current: Arrays = {name: np.array(value, order="C") for name, value in given.items()}
        self._other: Arrays = {name: np.empty_like(value) for name, value in self._current.items()}
        shapes = {name: manifest.graphs[name].fixed_shape for name in sessions}
        graphs = [_Graph(sessions[name], shape, manifest) for name, shape in shapes.items() if shape]
        self._graphs = sorted(graphs, key=lambda graph: -graph.tokens)

    @property
    def position(self) -> int:
        """Tokens seen so far."""
        return int(self._current[self._counter])

    def state(self) -> State:
        """An independent copy of the state now."""
        return self.take_state().copy()

    def take_state(self) -> State:
        """The state now, without a copy; the decoder must not be run after this."""
        values = {spec.input: spec.restored(self._current[spec.input]) for spec in self._manifest.states}
        return State.of(self._manifest, values)

    def step(self, token_id: int) -> np.ndarray:
        """Logits [V] float32 after one more token; a view that the next call overwrites. Raises InputError."""
        row: np.ndarray = self._forward(self._graphs[-1], check_ids([token_id], self._manifest.vocab_size))[-1]
        return row

    def prefill(self, ids: Sequence[int] | np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """Logits [V] float32 after the last of T >= 1 ids. Raises InputError, Cancelled."""
        return self.run(ids, 1, progress=progress).reshape(-1)

    def run(
        self,
        ids: Sequence[int] | np.ndarray,
        num_logits: int = 1,
        *,
        chunk: int | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Logits [N, V] float32 of the last N = num_logits of T ids. chunk: runs of no more tokens than that."""
        tokens, num_logits, chunk = check_run(ids, num_logits, chunk, self._manifest.vocab_size)
        T = len(tokens)
        most = chunk or T
        logits = np.empty((num_logits, self._manifest.vocab_size), np.float32)
        done = 0
        while done < T:
            graph = self._widest(min(most, T - done))
            rows = self._forward(graph, tokens[done : done + graph.tokens])
            done += graph.tokens
            end = num_logits - (T - done)  # the row of `logits` after the last one that this run gave
            if end > 0:
                wanted = min(end, graph.tokens)
                logits[end - wanted : end] = rows[graph.tokens - wanted :]
            if progress and progress(done, T) is False and done < T:
                raise Cancelled(f"stopped after {done} of {T} tokens")
        return logits

    def _widest(self, most: int) -> _Graph:
        """The graph of the most tokens that may run here; there is one for a single token."""
        position = self.position
        return next(graph for graph in self._graphs if graph.tokens <= most and position % graph.align == 0)

    def _forward(self, graph: _Graph, tokens: np.ndarray) -> np.ndarray:
        """Logits [tokens, V] of a run, which the graph's next one overwrites."""
        if self._files:
            self._files.check()
        source, target = self._current, self._other
        logits = graph.run(tokens, self.position, source, target)
        target[self._counter][...] = source[self._counter] + graph.tokens
        for name in graph.untouched:
            target[name][...] = source[name]
        self._current, self._other = target, source
        return logits


class _Graph:
    """One graph in fixed shapes, its own inputs and outputs, and its bindings to either set of states."""

    def __init__(self, session: Any, shape: FixedShape, manifest: Manifest) -> None:
        self._session, self._shape, self._ort = session, shape, import_onnxruntime()
        self.tokens, self.align = shape.tokens, shape.align
        used = {manifest.position, *(part.state for part in shape.parts)}
        self.untouched = [spec.input for spec in manifest.states if spec.input not in used]
        self._ids = np.zeros((1, shape.tokens), np.int32)
        self._logits = np.zeros((1, shape.tokens, manifest.vocab_size), np.float32)
        self._derived = {one.input: one.at(0) for one in shape.derived}
        self._bindings: dict[int, Any] = {}
        # Other providers may take a copy of an input when it is bound, and would go on with that.
        self._binds_once = session.get_providers() == ["CPUExecutionProvider"]

    def run(self, tokens: np.ndarray, position: int, source: Arrays, target: Arrays) -> np.ndarray:
        self._ids[0] = tokens
        for one in self._shape.derived:
            self._derived[one.input][...] = one.at(position)
        binding = self._bindings.get(id(source))
        if binding is None or not self._binds_once:
            binding = self._bindings[id(source)] = self._bind(source, target)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's own exception types share no base
            raise RRWKVError(f"onnxruntime failed: {str(error).splitlines()[0]}") from None
        rows: np.ndarray = self._logits[0]
        return rows

    def _bind(self, source: Arrays, target: Arrays) -> Any:
        """Inputs and outputs bound to the arrays' own memory, which lives as long as the decoder."""
        io, value = self._session.io_binding(), self._ort.OrtValue.ortvalue_from_numpy
        for name, array in {"input_ids": self._ids, **self._derived}.items():
            io.bind_ortvalue_input(name, value(array))
        io.bind_ortvalue_output("logits", value(self._logits))
        for part in self._shape.parts:
            of_source, of_target = (
                values[part.state].reshape(-1)[part.offset : part.offset + prod(part.shape)].reshape(part.shape)
                for values in (source, target)
            )
            io.bind_ortvalue_input(part.input, value(of_source))
            io.bind_ortvalue_output(part.output, value(of_target))
        return io
