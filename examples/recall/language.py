"""Language modelling of real text, byte by byte: the loss by position, also beyond the rows that were trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from examples.recall.models import Sizes, build
from examples.recall.training import Batch, Training, fit
from rrwkv_export.errors import TextError
from rrwkv_export.train.held_out import buckets

_BYTES = 256
_HELD_OUT = 10  # the last of so many parts of the text


def digest(text: Path) -> str:
    """sha256 of a text: what a run knows it by. Raises TextError."""
    return hashlib.sha256(_read(text)).hexdigest()


def language(
    *,
    text: str,
    sha256: str,
    variant: Mapping[str, Any],
    parameters: int,
    training: Mapping[str, Any],
    measured: int,
    rows: int,
    seed: int,
) -> dict[str, Any]:
    """One run: train on nine tenths of a text, measure on `rows` rows of `measured` bytes of the last one.

    text: its path. Raises TextError where the text is another now.
    """
    torch.set_num_threads(1)
    content, how = _read(Path(text)), Training(**training)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise TextError(f"{text}: not the text that the grid was made for; begin with another store")
    ids = np.frombuffer(content, np.uint8).astype(np.int64)
    cut = len(ids) - len(ids) // _HELD_OUT
    rng, every = np.random.default_rng(seed), torch.arange(how.longest)

    def batch() -> Batch:
        starts = rng.integers(0, cut - how.longest, max(1, how.tokens // how.longest))
        drawn = torch.from_numpy(np.stack([ids[start : start + how.longest + 1] for start in starts]))
        return Batch(drawn[:, :-1], drawn[:, 1:], every)

    model = build(variant, Sizes(_BYTES, parameters=parameters), seed)
    told = fit(model, how, batch)
    return {**told, "loss": losses(model, ids[cut:], measured, rows, how.longest)}


@torch.no_grad()
def losses(model: nn.Module, ids: np.ndarray[Any, Any], measured: int, rows: int, trained: int) -> dict[str, float]:
    """Mean loss in nats a byte by range of positions; "trained": of all positions that rows of a training have."""
    if len(ids) < rows * measured + 1:
        raise TextError(
            f"{rows * measured + 1:,} bytes to measure on are wanted and a tenth of the text has {len(ids):,}"
        )
    total = torch.zeros(measured, dtype=torch.float64)
    for row in range(rows):
        piece = torch.from_numpy(ids[row * measured : (row + 1) * measured + 1])[None]
        logits = model(piece[:, :-1])
        total += cross_entropy(logits[0], piece[0, 1:], reduction="none").double()
    mean = total / rows
    by_position = {f"{a}-{b - 1}": float(mean[a:b].mean()) for a, b in buckets(measured)}
    return {"trained": float(mean[:trained].mean()), **by_position}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: cannot be read ({error.strerror}); give a text that can") from None
