"""Texts to train on and text that is held out, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rrwkv_export.errors import TextError
from rrwkv_export.texts import Encoding, Ids, Text, encode_text
from rrwkv_export.train.settings import Settings

_HELD_OUT = 20  # one token of so many, where no text is given for it
_MOST_HELD_OUT = 1 << 16  # tokens of each text


@dataclass(frozen=True)
class Corpus:
    """Token ids of all texts, passage after passage. sha256: of each file, in the order of the settings."""

    trained: Ids
    held_out: Ids
    sha256: tuple[str, ...]


def read_corpus(settings: Settings, encoding: Encoding) -> Corpus:
    """Raises TextError, of texts that are shorter than a row too."""
    texts = [encode_text(Path(path), encoding) for path in settings.texts]
    others = [encode_text(Path(path), encoding) for path in settings.held_out]
    if others:
        trained, held_out = _joined(texts), _joined(others)
    else:
        cuts = [len(text.ids) - min(max(2, len(text.ids) // _HELD_OUT), _MOST_HELD_OUT) for text in texts]
        trained = np.concatenate([text.ids[:cut] for text, cut in zip(texts, cuts, strict=True)])
        held_out = np.concatenate([text.ids[cut:] for text, cut in zip(texts, cuts, strict=True)])
    if len(trained) <= settings.length:
        named = settings.texts[0] if len(texts) == 1 else f"all {len(texts)} texts"
        raise TextError(
            f"{named}: {len(trained):,} tokens to train on and a row has {settings.length}; give more text, or a "
            "smaller --length"
        )
    return Corpus(trained, held_out, tuple(text.sha256 for text in (*texts, *others)))


def _joined(texts: Sequence[Text]) -> Ids:
    return np.concatenate([text.ids for text in texts])
