"""Running graphs that take any number of tokens, with the state carried along and not copied: bound once and swapped.

Two sets of buffers take turns: a run reads one and writes the other. A one-token step allocates no state and binds
nothing anew. Until it is done, the state before it stays whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rrwkv_runtime.bundle.held import HeldFiles
from rrwkv_runtime.common.checks import check_ids, check_run
from rrwkv_runtime.errors import Cancelled, RRWKVError
from rrwkv_runtime.execution.decoder import Progress
from rrwkv_runtime.execution.device import Binding, Buffers, Device
from rrwkv_runtime.execution.engine import reason
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.state import State


class AnyLengthDecoder:
    """A `Decoder` over a graph for any number of tokens, one for a single token and one that completes its states.

    Without the second the first runs single tokens too; the third is there only with the second.
    """

    def __init__(
        self,
        sessions: Mapping[str, Any],
        manifest: Manifest,
        device: Device,
        state: State,
        files: HeldFiles | None = None,
    ) -> None:
        """files: those that the sessions have mapped, to be looked at before each run."""
        self._sessions, self._manifest, self._device, self._files = sessions, manifest, device, files
        self._entries = {name: manifest.graphs[name] for name in sessions}
        self._main = str(manifest.graph_that_runs("any", sessions))
        self._decode, self._end = manifest.graph_that_runs("one", sessions), manifest.graph_that_runs("none", sessions)
        self._counter = manifest.position
        self._wandering = self._entries[self._decode].reads if self._decode else ()
        self._work = device.workspace(self)
        self._current = device.adopt(self._work, {s.input: s.carried(state.values[s.input]) for s in manifest.states})

    @property
    def position(self) -> int:
        """Tokens seen so far."""
        return int(self._device.read(self._current[self._counter]))

    def state(self) -> State:
        """An independent copy of the state now."""
        return self.take_state().copy()

    def take_state(self) -> State:
        """The state now, on the host without a copy; the decoder must not be run after this."""
        values = {s.input: s.restored(self._device.read(self._current[s.input])) for s in self._manifest.states}
        return State.of(self._manifest, values)

    def step(self, token_id: int) -> np.ndarray:
        """Logits [V] float32 after one more token; a view that the next call overwrites. Raises InputError."""
        if not (isinstance(token_id, int | np.integer) and 0 <= token_id < self._manifest.vocab_size):
            check_ids([token_id], self._manifest.vocab_size)  # says what is wrong; too slow for every step
        work, source, target = self._work, self._current, self._other_buffer()
        name = self._decode or self._main
        self._device.write(work.token, np.array([token_id]))
        self._run(name, self._bound(name, source, target))
        kept = self._entries[name].reads
        if end := self._segment_end(source, target):
            self._complete(end, source, target)
            kept = tuple(state for state in kept if not self._entries[end].has_output(state))
        self._keep(kept, source, target)
        self._current = target
        return self._device.read(work.logits).reshape(-1)

    def _segment_end(self, source: Buffers, target: Buffers) -> str | None:
        """The graph that completes the states after a token between these, if one is to run.

        Where there is none nothing is read, which would hold up a device at every token.
        """
        if self._decode is None or self._end is None:
            return None
        entry = self._entries[self._end]
        counted = entry.counts or self._counter
        before = int(self._device.read(source[counted]))
        after = int(self._device.read(target[counted])) if entry.counts else before + 1
        return self._end if entry.follows(before, after) else None

    def _bound(self, name: str, source: Buffers, target: Buffers) -> Binding:
        """A binding for one token, or for the end of a segment after it; made once for every place that the values may
        be in.
        """
        work = self._work
        # States that decoding only reads wander between the buffers, so a binding also depends on where they are.
        key = (name, id(source), *(id(source[state]) for state in self._wandering))
        binding = work.steps.get(key)
        if binding is None:
            if name == self._end:
                binding = self._bind(name, *self._around_end(name, source, target))
            else:
                binding = self._bind_tokens(name, work.token, 1, source, target, work.logits)
            if self._device.binds_once and work.owns(source):
                binding = work.steps[key] = replace(binding, options=self._device.step_options())
        return binding

    def _complete(self, end: str, source: Buffers, target: Buffers) -> None:
        """Run the graph of a segment's end between a token from source to target and what comes next.

        Source is not written to.
        """
        self._run(end, self._bound(end, source, target))
        for state, value in self._work.fresh.items():
            self._device.write(target[state], self._device.read(value))

    def _around_end(self, end: str, source: Buffers, target: Buffers) -> tuple[Buffers, Buffers]:
        """What it takes and gives, by state: what decoding gave is in target, what that only read in source.

        The former has its new values in a place of its own first.
        """
        fresh = self._work.fresh
        for spec in self._manifest.states:
            if self._entries[end].has_output(spec.input) and spec.input not in {*self._wandering, *fresh}:
                fresh[spec.input] = self._device.empty(spec.shape, np.dtype(spec.dtype).type)
        return {**target, **{state: source[state] for state in self._wandering}}, {**target, **fresh}

    def _keep(self, states: Sequence[str], source: Buffers, target: Buffers) -> None:
        """Let target have what a run only read: source's own values, or a copy where source was given from outside."""
        owned = self._work.owns(source)
        for name in states:
            if owned:
                source[name], target[name] = target[name], source[name]
            else:
                self._device.write(target[name], self._device.read(source[name]))

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
        """Logits [N, V] float32 of the last N = num_logits of T ids, given to the graph in chunks."""
        tokens, num_logits, chunk = check_run(ids, num_logits, chunk, self._manifest.vocab_size)
        T, size = len(tokens), chunk or self._entries[self._main].chunk
        logits = np.empty((num_logits, self._manifest.vocab_size), np.float32)
        for start in range(0, T, size):
            piece = tokens[start : start + size]
            done = start + len(piece)
            first = max(0, num_logits - (T - start))  # the row of `logits` for the first token that counts
            wanted = num_logits - (T - done) - first
            self._run_chunk(piece, logits[first : first + wanted] if wanted > 0 else None)
            if progress and progress(done, T) is False and done < T:
                raise Cancelled(f"stopped after {done} of {T} tokens")
        return logits

    def _run_chunk(self, tokens: np.ndarray, logits: np.ndarray | None) -> None:
        """Run some tokens; their last len(logits) rows of logits go there."""
        source, target = self._current, self._other_buffer()
        rows = self._work.logits if logits is None else self._device.output(logits)
        count = 1 if logits is None else len(logits)
        self._run(self._main, self._bind_tokens(self._main, tokens, count, source, target, rows))
        if logits is not None and rows is not logits:
            logits[...] = self._device.read(rows)
        self._current = target

    def _other_buffer(self) -> Buffers:
        """Values that may be overwritten: not those of the state now."""
        for buffer in self._work.buffers:
            if buffer is not self._current:
                return buffer
        # Always C-contiguous, whatever the given state is: the graph writes into them.
        self._work.buffers.append({n: self._device.empty(v.shape, v.dtype) for n, v in self._current.items()})
        return self._work.buffers[-1]

    def _bind_tokens(
        self, name: str, tokens: Any, num_logits: int, source: Buffers, target: Buffers, logits: Any
    ) -> Binding:
        inputs = {"input_ids": tokens}
        if name == self._main:
            inputs["num_logits"] = np.array([num_logits], np.int64)
        return self._bind(name, source, target, inputs, {"logits": logits})

    def _bind(
        self, name: str, source: Buffers, target: Buffers, inputs: Buffers | None = None, outputs: Buffers | None = None
    ) -> Binding:
        """Inputs and outputs of the graph of this name, the states among them, bound to the values' own memory."""
        entry, inputs, outputs = self._entries[name], dict(inputs or {}), dict(outputs or {})
        for spec in self._manifest.states:
            value, apart = source[spec.input], entry.takes_apart(spec.input)
            if entry.has_input(spec.input):
                inputs |= {part: row for (part, _), row in zip(spec.inputs(apart), value if apart else [value])}
            if entry.has_output(spec.input):
                outputs[spec.output] = target[spec.input]
        io = self._sessions[name].io_binding()
        for name, value in inputs.items():
            io.bind_ortvalue_input(name, self._device.ortvalue(value))
        for name, value in outputs.items():
            io.bind_ortvalue_output(name, self._device.ortvalue(value))
        return Binding(io, [*inputs.values(), *outputs.values()])

    def _run(self, name: str, binding: Binding) -> None:
        if self._files:
            self._files.check()
        try:
            self._sessions[name].run_with_iobinding(binding.io, binding.options)
        except Exception as error:  # onnxruntime's own exception types share no base
            raise RRWKVError(f"onnxruntime failed: {reason(error)}") from None
