"""Mediums for a model that has none: the same function at first, which is checked, and then trained."""

from __future__ import annotations

import dataclasses

import torch

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.checkpoint import Checkpoint
from rrwkv_export.errors import TrainingError
from rrwkv_export.train.begin import Beginning
from rrwkv_export.train.beginnings.found import found
from rrwkv_export.train.models import Model
from rrwkv_export.train.models.initial import initial_mediums

_SEGMENTS = 3  # that are compared, and a token more: mediums are made, and read


def retrofit(checkpoint: Checkpoint, medium: MediumConfig, seed: int) -> Beginning:
    """The checkpoint's model with mediums that are not mixed in yet.

    Raises TrainingError for one that has mediums, or is not trained here; CheckpointError for damaged weights.
    """
    if checkpoint.config.medium:
        raise TrainingError(f"{checkpoint.path}: has mediums already; `rrwkv retrofit` takes a model without them")
    base = found(checkpoint)
    wider = dataclasses.replace(base.config, medium=medium)
    weights = {**base.weights, **initial_mediums(wider, seed)}
    _require_same(Model(base.config, base.weights), Model(wider, weights), seed)
    return Beginning(wider, weights, base.vocabulary)


def _require_same(base: Model, made: Model, seed: int) -> None:
    """That random tokens have the same logits to the bit. Raises TrainingError."""
    medium = made.config.medium
    assert medium is not None
    generator = torch.Generator().manual_seed(seed)
    size = (1, _SEGMENTS * medium.longest + 1)
    ids = torch.randint(0, base.config.vocab_size, size, generator=generator)
    with torch.no_grad():
        if not torch.equal(base(ids)[0], made(ids)[0]):
            raise TrainingError("the model with mediums does not compute what the one without them does; report this")
