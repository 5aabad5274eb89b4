"""Running the graph with the state carried along, without copying it: inputs and outputs are bound once and swapped.

Two sets of buffers take turns: a run reads one and writes the other. A one-token step allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rrwkv_runtime.errors import Cancelled, InputError, RRWKVError
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.providers import import_onnxruntime
from rrwkv_runtime.state import State

Progress = Callable[[int, int], bool | None]
"""Called with (tokens done, tokens in all) after each chunk; False asks to stop."""

Values = dict[str, np.ndarray]
"""State arrays by the names of the graph's inputs."""


@dataclass(frozen=True)
class _Binding:
    """An IOBinding, and the arrays whose memory it points to without owning it."""

    io: Any
    arrays: list[np.ndarray]


class Decoder:
    """A conversation in motion. Made by `Model.decoder`; not for use from several threads at once."""

    def __init__(self, session: Any, manifest: Manifest, state: State) -> None:
        self._session, self._manifest = session, manifest
        self._from_numpy = import_onnxruntime().OrtValue.ortvalue_from_numpy
        # The given state is only ever read: the first run leaves it for buffers of the decoder's own.
        self._current = state.values
        self._buffers: list[Values] = []
        self._token = np.zeros(1, np.int64)
        self._logits = np.zeros((1, manifest.vocab_size), np.float32)
        self._row: np.ndarray = self._logits[0]
        self._steps: dict[int, _Binding] = {}

    @property
    def position(self) -> int:
        """Tokens seen so far."""
        return int(self._current["position"])

    def state(self) -> State:
        """An independent copy of the state now."""
        return State(self._manifest.bundle_id, self._manifest.model_id, self._current).copy()

    def take_state(self) -> State:
        """The state now, without a copy; the decoder must not be run after this."""
        return State(self._manifest.bundle_id, self._manifest.model_id, self._current)

    def step(self, token_id: int) -> np.ndarray:
        """Logits [V] float32 after one more token; a view that the next call overwrites. Raises InputError."""
        if not isinstance(token_id, int | np.integer):
            raise InputError(f"token ids must be integers, not {token_id!r}")
        if not 0 <= token_id < self._manifest.vocab_size:
            raise InputError(f"token id {token_id} is outside 0..{self._manifest.vocab_size - 1}")
        self._token[0] = token_id
        source, target = self._current, self._other_buffer()
        binding = self._steps.get(id(source))
        if binding is None:
            binding = self._bind(self._token, 1, source, target, self._logits)
            if any(source is buffer for buffer in self._buffers):
                self._steps[id(source)] = binding
        self._run(binding)
        self._current = target
        return self._row

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
        tokens = self._checked(ids)
        T, size = len(tokens), self._manifest.graphs["main"].chunk if chunk is None else chunk
        if not 1 <= num_logits <= T:
            raise InputError(f"num_logits must be from 1 to the {T} tokens given, not {num_logits}")
        if size < 1:
            raise InputError(f"chunk must be at least 1, not {size}")
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
        source, target = self._current, self._other_buffer()
        rows = self._logits if logits is None else logits
        self._run(self._bind(tokens, len(rows), source, target, rows))
        self._current = target

    def _checked(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        try:
            tokens = np.asarray(ids)
        except ValueError:  # sequences of several lengths
            tokens = np.empty((0, 0))
        if tokens.ndim != 1 or len(tokens) == 0:
            raise InputError("at least one token id is needed, as a flat sequence")
        if not np.issubdtype(tokens.dtype, np.integer):
            raise InputError(f"token ids must be integers, not {tokens.dtype}")
        if tokens.min() < 0 or tokens.max() >= self._manifest.vocab_size:
            wrong = next(int(i) for i in tokens if not 0 <= i < self._manifest.vocab_size)
            raise InputError(f"token id {wrong} is outside 0..{self._manifest.vocab_size - 1}")
        return np.ascontiguousarray(tokens, dtype=np.int64)

    def _other_buffer(self) -> Values:
        """Values that may be overwritten: not those of the state now."""
        for buffer in self._buffers:
            if buffer is not self._current:
                return buffer
        # Always C-contiguous, whatever the given state is: the graph writes into them.
        self._buffers.append({name: np.empty(value.shape, value.dtype) for name, value in self._current.items()})
        return self._buffers[-1]

    def _bind(
        self, tokens: np.ndarray, num_logits: int, source: Values, target: Values, logits: np.ndarray
    ) -> _Binding:
        """Inputs and outputs bound to the arrays' own memory."""
        inputs = {"input_ids": tokens, "num_logits": np.array([num_logits], np.int64), **source}
        outputs = {"logits": logits, **{spec.output: target[spec.input] for spec in self._manifest.states}}
        io = self._session.io_binding()
        for name, array in inputs.items():
            io.bind_ortvalue_input(name, self._from_numpy(array))
        for name, array in outputs.items():
            io.bind_ortvalue_output(name, self._from_numpy(array))
        return _Binding(io, [*inputs.values(), *outputs.values()])

    def _run(self, binding: _Binding) -> None:
        try:
            self._session.run_with_iobinding(binding.io)
        except Exception as error:  # onnxruntime's own exception types share no base
            raise RRWKVError(f"onnxruntime failed: {str(error).splitlines()[0]}") from None
