"""The checkpoint that a run writes, a folder that `rrwkv export` and transformers take, and its card."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from rrwkv_export import __version__
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.atomic import new_file
from rrwkv_export.bundle import TOKENIZER_FILES
from rrwkv_export.errors import TrainingError
from rrwkv_export.huggingface import WRITTEN, write_beside
from rrwkv_export.quantize.recipe import parse_recipe
from rrwkv_export.train.data.vocabulary import Vocabulary
from rrwkv_export.train.kept import Reached, write_tensors
from rrwkv_export.train.settings import MARKER, TRAINING, Settings
from rrwkv_runtime.common.atomic import held
from rrwkv_runtime.common.printable import json_escaped, one_line

WEIGHTS, CARD, LAST = "model.safetensors", "README.md", "last"
FLOAT = f"{TRAINING}/float.safetensors"  # what a rounded model is to stay near
# What of a folder --force replaces.
RUN = WRITTEN | {WEIGHTS, CARD, *TOKENIZER_FILES.values(), LAST, TRAINING}


def write_checkpoint(
    folder: Path, config: ModelConfig, vocabulary: Vocabulary, weights: Mapping[str, Tensor], card: str
) -> None:
    """All of a checkpoint, into a folder that is being made."""
    folder.mkdir(exist_ok=True)
    vocabulary.write(folder)
    write_beside(folder, config, vocabulary.chat, "float32")
    (folder / CARD).write_text(card, encoding="utf-8")
    write_tensors(folder / WEIGHTS, weights, {"format": "pt"}, new=True)


def replace_weights(folder: Path, weights: Mapping[str, Tensor], card: str) -> None:
    """Of a checkpoint that is there, which is whole at any moment. Raises OutputError."""
    write_tensors(folder / WEIGHTS, weights, {"format": "pt"})
    with new_file(folder / CARD) as temporary:
        temporary.write_text(card, encoding="utf-8")


@contextmanager
def only_one(run: Path) -> Iterator[None]:
    """Raises TrainingError where another process is within this for the run."""
    with held(run / MARKER) as free:
        if not free:
            raise TrainingError(f"{run}: another process trains it; wait until it is done, or stop it")
        yield


def require_whole(run: Path) -> None:
    """Raises TrainingError where a file of the best weights or of the last is gone: both have the same ones."""
    if not any((folder / WEIGHTS).is_file() for folder in (run, run / LAST)):
        raise TrainingError(f"{run / WEIGHTS}: gone from the run, from {LAST} too; begin again, with --force")
    files = RUN - {LAST, TRAINING}
    places = [(folder, {name for name in files if (folder / name).is_file()}) for folder in (run, run / LAST)]
    for (folder, there), (other, beside) in (places, reversed(places)):
        if gone := sorted(beside - there):
            raise TrainingError(f"{folder / gone[0]}: gone from the run; copy it from {other}, and go on")


def card(name: str, config: ModelConfig, settings: Settings, reached: Reached) -> str:
    """The model card, after so many steps."""
    licence = f"license: {settings.license}\n" if settings.license else ""
    medium = config.medium
    mediums = f", a medium every {medium.interval} tokens, {medium.slots} slots" if medium else ""
    begun = f"from {one_line(settings.base)}{_made_of_it(settings)}," if settings.base else "from scratch"
    texts = ", ".join(one_line(Path(path).name) for path in settings.texts)
    measured = ""
    if reached.best < math.inf:
        what, digits = ("KL divergence from the float model", 5) if settings.recipe else ("loss", 4)
        measured = (
            f"**Measured** on held-out text, in rows of {settings.length} tokens from the initial state: {what} "
            f"{reached.best:.{digits}f} nats a token after step {reached.best_step}, {reached.first:.{digits}f} before "
            "the first.\n\n"
        )
    quoted = json_escaped(json.dumps(name, ensure_ascii=False))  # which is YAML too
    return (
        f"---\nmodel_name: {quoted}\n{licence}---\n\n# Model card: {one_line(name)}\n\n"
        f"{config.architecture}, {config.parameters():,} parameters: {config.num_layers} layers, {config.hidden_size} "
        f"channels, {config.vocab_size:,} tokens{mediums}.\n\n"
        f"**Training** {begun} in {settings.precision} by rrwkv-export {__version__}: {reached.step:,} steps of "
        f"{settings.batch} rows of {settings.length} tokens, AdamW, seed {settings.seed}. Texts: {texts}.\n\n{measured}"
        "**Not said here**, but by who trained it: what it is for, and the licences of its texts and weights.\n"
    )


def _made_of_it(settings: Settings) -> str:
    if settings.recipe:
        scheme = parse_recipe(settings.recipe).scheme
        return f", for `rrwkv quantize` with {scheme}, which rounds these weights to what they are"
    return ", which had no mediums" if settings.retrofit else ""
