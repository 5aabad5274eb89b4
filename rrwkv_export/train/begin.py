"""What stands before the first step: the folder of a run, made whole or not at all."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from rrwkv_export.architectures.config import MediumConfig, ModelConfig
from rrwkv_export.atomic import check_target, new_directory, require_space
from rrwkv_export.checkpoint import Checkpoint, open_checkpoint
from rrwkv_export.errors import ExportError, OutputError, TrainingError, without_remedy
from rrwkv_export.export import export
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.recipe import Recipe
from rrwkv_export.train import kept
from rrwkv_export.train.data.corpus import Corpus, read_corpus
from rrwkv_export.train.data.vocabulary import Vocabulary
from rrwkv_export.train.folder import FLOAT, LAST, RUN, card, write_checkpoint
from rrwkv_export.train.kept import Reached
from rrwkv_export.train.models import Model
from rrwkv_export.train.models.rounded import RoundedModel, Start
from rrwkv_export.train.optimizer import adamw
from rrwkv_export.train.settings import MARKER, TRAINING, Settings

VERIFIED = 48  # tokens with which the graph of the first weights is compared
_COPIES = 8  # of the weights: best, last, a float model's, those kept with AdamW's two, and those being written
_WHAT = "a run of `rrwkv train`"


@dataclass(frozen=True)
class Beginning:
    """A model before its first step; weights in float32. recipe, start: of one that is tuned for a recipe."""

    config: ModelConfig
    weights: Mapping[str, Tensor]
    vocabulary: Vocabulary
    recipe: Recipe | None = None
    start: Start | None = None

    def model(self) -> Model:
        if self.recipe is None:
            return Model(self.config, self.weights)
        return RoundedModel(self.config, self.weights, self.recipe, self.start)


def check_run(out: Path, overwrite: bool) -> None:
    """What `begin` refuses of a run's place, before any work. Raises OutputError."""
    if os.path.isfile(out / MARKER) and not overwrite:  # also of a name that is too long
        raise OutputError(f"{out}: a run is there already; --resume goes on with it, --force begins it anew")
    check_target(out, RUN if overwrite else None, marker=MARKER, what=_WHAT)


def begin(
    out: Path, beginning: Beginning, settings: Settings, *, overwrite: bool = False, progress: Progress | None = None
) -> Corpus:
    """Make a run's folder, as it is before the first step; give its texts as ids.

    A model that cannot be exported is refused here. Raises TrainingError, TextError, OutputError; then nothing is left.
    """
    config, model = beginning.config, beginning.model()
    if config.medium:
        require_read(config.medium, settings)
    require_space(out, _COPIES * 4 * config.parameters())
    with new_directory(out, RUN if overwrite else None, marker=MARKER, what=_WHAT) as folder:
        (folder / TRAINING).mkdir()
        for place in (folder, folder / LAST):
            text = card(out.resolve().name, config, settings, Reached())
            write_checkpoint(place, config, beginning.vocabulary, model.weights(), text)
        corpus = read_corpus(settings, beginning.vocabulary.encoding(folder))
        dataclasses.replace(settings, sha256=corpus.sha256).save(folder)
        kept.save(folder, kept.remembered(model, adamw(model, settings)), Reached(), new=True)
        if beginning.recipe:  # the float model was exported
            kept.write_tensors(folder / FLOAT, {n: w.contiguous() for n, w in beginning.weights.items()}, new=True)
        else:
            _require_exported(folder, progress)
    return corpus


def require_read(medium: MediumConfig, settings: Settings) -> None:
    """That a row's tokens come to read a medium. Raises TrainingError."""
    if settings.length <= medium.longest:
        raise TrainingError(
            f"--length {settings.length}: no token of such a row could read a medium, which ends after "
            f"{medium.longest}; give longer rows, or a shorter --medium-interval"
        )


def _require_exported(folder: Path, progress: Progress | None) -> None:
    """Raises TrainingError: hours later would be late."""
    with tempfile.TemporaryDirectory() as temporary:
        try_export(open_checkpoint(folder / LAST), Path(temporary) / "bundle", "trained", progress)


def try_export(checkpoint: Checkpoint, bundle: Path, what: str, progress: Progress | None) -> None:
    """Into a temporary folder. what: is not done where there can be no bundle. Raises TrainingError, OutputError."""
    try:
        export(checkpoint, bundle, tokens=VERIFIED, progress=progress)
    except OutputError as error:
        reason = without_remedy(error)
        raise OutputError(f"{reason} for trying the export; make room, or set TMPDIR to another folder") from None
    except ExportError as error:
        raise TrainingError(f"such a model could not be exported, so it is not {what}: {error}") from None
