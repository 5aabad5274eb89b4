"""Mediums for a model that has none: the same function at first, which is checked, and then trained."""

from __future__ import annotations

import dataclasses

import torch

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.checkpoint import Checkpoint
from rrwkv_export.errors import TrainingError
from rrwkv_export.train.begin import Beginning, require_read
from rrwkv_export.train.beginnings.found import found
from rrwkv_export.train.models import Model, State
from rrwkv_export.train.models.initial import initial_mediums
from rrwkv_export.train.settings import Settings

_SEGMENTS = 3  # that are compared, and a token more: mediums are made, and read
_PIECE = 256  # tokens at a time, whose logits there is room for


def retrofit(checkpoint: Checkpoint, medium: MediumConfig, settings: Settings) -> Beginning:
    """The checkpoint's model with mediums that are not mixed in yet.

    Raises TrainingError for one that has mediums or is not trained here, and for rows that would read none of them;
    CheckpointError for damaged weights.
    """
    if checkpoint.config.medium:
        raise TrainingError(f"{checkpoint.path}: has mediums already; `rrwkv retrofit` takes a model without them")
    require_read(medium, settings)
    base = found(checkpoint)
    wider = dataclasses.replace(base.config, medium=medium)
    weights = {**base.weights, **initial_mediums(wider, settings.seed)}
    _require_same(Model(base.config, base.weights), Model(wider, weights), settings.seed)
    return Beginning(wider, weights, base.vocabulary)


def _require_same(base: Model, made: Model, seed: int) -> None:
    """That random tokens have the same logits to the bit. Raises TrainingError."""
    medium = made.config.medium
    assert medium is not None
    generator = torch.Generator().manual_seed(seed)
    size = (1, _SEGMENTS * medium.longest + 1)
    ids = torch.randint(0, base.config.vocab_size, size, generator=generator)
    before: State | None = None
    after: State | None = None
    with torch.no_grad():
        for piece in torch.split(ids, _PIECE, dim=1):
            (wanted, before), (logits, after) = base(piece, before), made(piece, after)
            if not torch.equal(wanted, logits):
                raise TrainingError("the model with mediums does not compute what the one without does; report this")
