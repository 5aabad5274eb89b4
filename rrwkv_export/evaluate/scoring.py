"""Log-likelihoods of continuations after contexts: a context that several share is read once, its state kept.

A context is read in pieces that end at multiples of the bundle's chunk and at its end, and then the continuation in one
run; so a figure does not depend on what else is asked, even where a run has its own ranges (int8-dynamic). Pairs are
taken in the order of their ids: the states of the last context are kept at the ends of its pieces, for those that begin
alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rrwkv_export.divergence import log_softmax
from rrwkv_export.evaluate.pairs import Pair
from rrwkv_export.progress import Progress
from rrwkv_runtime.model import Model
from rrwkv_runtime.state import State

Array = np.ndarray[Any, np.dtype[Any]]


class Score(NamedTuple):
    """log_p: of the whole continuation, in nats. greedy: whether each of its tokens was the likeliest."""

    log_p: float
    greedy: bool


class _Read(NamedTuple):
    """The state after `ids`, and the log-probabilities float64 [V] of what comes next."""

    ids: tuple[int, ...]
    state: State
    log_p: Array


def score(model: Model, pairs: Sequence[Pair], progress: Progress | None = None) -> list[Score]:
    """Of each pair, in their order. Raises InputError for ids that the model has not."""
    found: dict[Pair, Score] = {}
    contexts = _Contexts(model)
    for pair in sorted(set(pairs)):
        found[pair] = _after(model, contexts.read(pair.context), pair.continuation)
        if progress:
            progress("weighing answers", len(found), len(set(pairs)))
    return [found[pair] for pair in pairs]


def rolling(model: Model, ids: Sequence[int], start: int) -> float:
    """Log-likelihood of ids[start:], each after all that stands before it, in one pass; start is at least 1."""
    decoder, size, total = model.decoder(), model.manifest.main.chunk, 0.0
    for first in range(0, len(ids) - 1, size):
        read = ids[first : min(first + size, len(ids) - 1)]
        following = np.array(ids[first + 1 : first + 1 + len(read)])
        counted = max(0, start - 1 - first)
        log_p = log_softmax(decoder.run(read, len(read)))
        total += float(log_p[np.arange(len(read)), following][counted:].sum())
    return total


def _after(model: Model, read: _Read, continuation: Sequence[int]) -> Score:
    if not continuation:
        return Score(0.0, True)
    rows = [read.log_p[np.newaxis]]
    if len(continuation) > 1:
        decoder = model.decoder(read.state)
        rows.append(log_softmax(decoder.run(continuation[:-1], len(continuation) - 1)))
    log_p, ids = np.concatenate(rows), np.array(continuation)
    greedy = bool((log_p.argmax(axis=-1) == ids).all())
    return Score(float(log_p[np.arange(len(ids)), ids].sum()), greedy)


class _Contexts:
    """Reads contexts, and keeps what it may need again."""

    def __init__(self, model: Model) -> None:
        self._model, self._kept = model, list[_Read]()

    def read(self, context: tuple[int, ...]) -> _Read:
        """After a context of at least one id."""
        size = self._model.manifest.main.chunk
        while self._kept and not self._begins(self._kept[-1], context, size):
            self._kept.pop()
        done = len(self._kept[-1].ids) if self._kept else 0
        for start in range(done, len(context), size):
            decoder = self._model.decoder(self._kept[-1].state if self._kept else None)
            end = min(start + size, len(context))
            log_p = log_softmax(decoder.run(context[start:end], 1))[0]
            self._kept.append(_Read(context[:end], decoder.take_state(), log_p))
        return self._kept[-1]

    @staticmethod
    def _begins(read: _Read, context: tuple[int, ...], size: int) -> bool:
        """Whether the context is read on from there: it ends there, or a piece does."""
        there = len(read.ids)
        return context[:there] == read.ids and (there == len(context) or there % size == 0)
