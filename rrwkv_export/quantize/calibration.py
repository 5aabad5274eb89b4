"""Which text is observed where none was given, or none that says much of the model.

The text that comes along is English: it is taken where the bundle's tokenizer makes something of it. Elsewhere the
model writes one itself, each token drawn by the probability that it gives it (as LLM-QAT does, arXiv 2305.17888), and
only when a recipe observes anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rrwkv_export.errors import TextError
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.recipes import TEXT
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.texts import Text, poverty
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.model import Model
from rrwkv_runtime.tokenizer import load_tokenizer

Say = Callable[[str], None]
SELF_WRITTEN = "written by the model"
_PASSAGES, _PASSAGE = 32, 128  # tokens of a passage
_FEW = 256  # tokens


def choose_calibration(
    paths: Sequence[Path],
    bundle: Path,
    samples: int | None = None,
    seed: int = 0,
    *,
    say: Say,
    progress: Progress | None = None,
) -> Calibration:
    """The texts of these files, or else the one that comes along or the model's own. Raises TextError.

    say: called with one line for each text that says little of the model, and where the model has to write one.
    """
    manifest = Manifest.load(bundle)
    if paths:
        read = Calibration.read(paths, bundle, samples, seed)
        for text in read.texts:
            if why := _poor(text, bundle, manifest):
                say(f"warning: {text.name} says little of this model: {why}; give a text of what it will read")
        return read
    why = "there is no tokenizer"
    if manifest.tokenizer:
        try:
            read = Calibration.read([TEXT], bundle, samples, seed)
            poor = _poor(read.texts[0], bundle, manifest, enough=0)
        except TextError as error:
            poor = str(error).removeprefix(f"{TEXT}: ")
        if not poor:
            return read
        why = f"of the text that comes along it knows little ({poor})"

    def write() -> Text:
        count = min(samples or _PASSAGES, _PASSAGES)
        say(
            f"warning: {why}: calibrating on {count * _PASSAGE:,} tokens that the model writes itself; "
            "a text of what it will read is better: --calibration FILE, .ids for token ids"
        )
        return self_written(bundle, count, seed, progress)

    return Calibration((), samples, seed, write)


def self_written(bundle: Path, passages: int, seed: int, progress: Progress | None = None) -> Text:
    """So many passages of 128 tokens, drawn from the model's own probabilities; the same with the same seed.

    Each begins with a token at random, the first with the bundle's beginning of a text where it has one.
    """
    model, rng = Model.load(bundle), np.random.default_rng(seed)
    starts = rng.integers(0, model.vocab_size, passages)
    if (bos := model.manifest.chat.bos_token_id) is not None:
        starts[0] = bos
    found = []
    for number, start in enumerate(starts):
        decoder, ids = model.decoder(), [int(start)]
        while len(ids) < _PASSAGE:
            ids.append(_drawn(decoder.step(ids[-1]), rng))
        found.append(np.array(ids, np.int64))
        if progress:
            progress("writing a text to observe", number + 1, passages)
    return Text(SELF_WRITTEN, hashlib.sha256(np.concatenate(found).tobytes()).hexdigest(), tuple(found))


def _drawn(logits: np.ndarray, rng: np.random.Generator) -> int:
    """A token by its probability: the largest of the logits with Gumbel noise."""
    return int((logits + rng.gumbel(size=len(logits))).argmax())


def _poor(text: Text, bundle: Path, manifest: Manifest, enough: int = _FEW) -> str | None:
    tokenizer = load_tokenizer(bundle, manifest)
    why = poverty(text.ids, manifest.vocab_size, tokenizer.unknown if tokenizer else None)
    few = f"it has only {len(text.ids)} tokens" if len(text.ids) < enough else None
    return why or few
