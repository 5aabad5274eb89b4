"""The two things a model is timed at: reading a prompt at once, and one token after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from rrwkv_export.bench.alternate import Prepared, Run
from rrwkv_runtime.model import Model

Ids = np.ndarray[Any, np.dtype[Any]]


def prefill(model: Model, ids: Ids) -> Run:
    """Reading ids [T] from the beginning, with the logits of the last."""

    def prepare() -> Prepared:
        model.decoder().step(0)  # what others left in the caches is not this run's
        decoder = model.decoder()
        return lambda: decoder.prefill(ids)

    return prepare


def decode(model: Model, ids: Ids) -> Run:
    """One run for each of ids [T], with the logits of every one, after a token that does not count."""

    def prepare() -> Prepared:
        decoder, tokens = model.decoder(), [int(token) for token in ids]
        for _ in range(2):  # both sets of buffers are bound
            decoder.step(0)

        def run() -> None:
            for token in tokens:
                decoder.step(token)

        return run

    return prepare
