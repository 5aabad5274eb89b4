"""Mediums for a model that has none: the same function at first, which is checked, and then trained."""

from __future__ import annotations

import dataclasses

import torch

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.bundle import TOKENIZER_FILES
from rrwkv_export.checkpoint import Checkpoint
from rrwkv_export.checkpoint.beside.card import card_facts
from rrwkv_export.errors import TrainingError
from rrwkv_export.train.begin import Beginning
from rrwkv_export.train.data.vocabulary import Vocabulary
from rrwkv_export.train.models import Model
from rrwkv_export.train.models.initial import initial_mediums
from rrwkv_export.train.models.model import require_trained
from rrwkv_export.train.settings import Settings

_SEGMENTS = 3  # that are compared, and a token more: mediums are made, and read


def retrofit(checkpoint: Checkpoint, medium: MediumConfig, seed: int) -> Beginning:
    """The checkpoint's model with mediums that are not mixed in yet.

    Raises TrainingError for one that has mediums, or is not trained here; CheckpointError for damaged weights.
    """
    config = checkpoint.config
    require_trained(config.architecture)
    if config.medium:
        raise TrainingError(f"{checkpoint.path}: has mediums already; `rrwkv retrofit` takes a model without them")
    base = {name: checkpoint.weights[name].float() for name in config.shapes()}
    wider = dataclasses.replace(config, medium=medium)
    weights = {**base, **initial_mediums(wider, seed)}
    _require_same(Model(config, base), Model(wider, weights), seed)
    return Beginning(wider, weights, _vocabulary(checkpoint))


def described(settings: Settings, checkpoint: Checkpoint) -> Settings:
    """With what the checkpoint's card says of it."""
    facts, path = card_facts(checkpoint.path), checkpoint.path.resolve()
    name = facts.get("model", path.stem if path.is_file() else path.name)
    return dataclasses.replace(settings, base=name, license=facts.get("license", ""))


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


def _vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    tokenizer = checkpoint.tokenizer
    file = (TOKENIZER_FILES[tokenizer.type], tokenizer.content) if tokenizer else None
    return Vocabulary(checkpoint.config.vocab_size, file, checkpoint.chat)
