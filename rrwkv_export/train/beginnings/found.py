"""A model that is there already, as it is: what a training goes on from."""

from __future__ import annotations

import dataclasses

from rrwkv_export.bundle import TOKENIZER_FILES
from rrwkv_export.checkpoint import Checkpoint
from rrwkv_export.checkpoint.beside.card import card_facts
from rrwkv_export.train.begin import Beginning
from rrwkv_export.train.data.vocabulary import Vocabulary
from rrwkv_export.train.models.model import require_trained
from rrwkv_export.train.settings import Settings


def found(checkpoint: Checkpoint) -> Beginning:
    """Raises TrainingError for an architecture that is not trained here; CheckpointError for damaged weights."""
    config = checkpoint.config
    require_trained(config.architecture)
    weights = {name: checkpoint.weights[name].float() for name in config.shapes()}
    return Beginning(config, weights, _vocabulary(checkpoint))


def described(settings: Settings, checkpoint: Checkpoint) -> Settings:
    """With what the checkpoint's card says of it."""
    facts, path = card_facts(checkpoint.path), checkpoint.path.resolve()
    name = facts.get("model", path.stem if path.is_file() else path.name)
    return dataclasses.replace(settings, base=name, license=facts.get("license", ""))


def _vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    tokenizer = checkpoint.tokenizer
    file = (TOKENIZER_FILES[tokenizer.type], tokenizer.content) if tokenizer else None
    return Vocabulary(checkpoint.config.vocab_size, file, checkpoint.chat)
