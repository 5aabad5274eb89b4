"""The steps of a run, from where it is to its end."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rrwkv_export.checkpoint import Checkpoint, open_checkpoint
from rrwkv_export.errors import TrainingError, is_out_of_memory
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.recipe import parse_recipe
from rrwkv_export.texts import Encoding
from rrwkv_export.train import kept
from rrwkv_export.train.begin import Beginning, begin
from rrwkv_export.train.data.corpus import Corpus, read_corpus
from rrwkv_export.train.data.rows import Rows, windows
from rrwkv_export.train.folder import FLOAT, LAST, card, only_one, replace_weights, require_whole
from rrwkv_export.train.held_out import held_out_loss
from rrwkv_export.train.kept import Reached
from rrwkv_export.train.logs import Logs
from rrwkv_export.train.models import Model, State
from rrwkv_export.train.models.rounded import RoundedModel
from rrwkv_export.train.objective import Objective, information_loss, predicting, prediction, staying_near
from rrwkv_export.train.optimizer import adamw, choose_trained, learning_rate, set_learning_rate
from rrwkv_export.train.processes import by_the_first, processes, whole, with_whole_parameters
from rrwkv_export.train.settings import MARKER, Settings
from rrwkv_runtime.common.reading import brief

Say = Callable[[str], None]
_HELD_OUT = 1 << 14  # predictions that an evaluation counts


@dataclass(frozen=True)
class Result:
    """What a run came to. main: of several processes, the one that writes and tells."""

    checkpoint: Checkpoint
    settings: Settings
    reached: Reached
    main: bool


def train(
    run: Path,
    make: Callable[[], Beginning],
    settings: Settings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    say: Say = print,
) -> Result:
    """Begin a run and take it to its end. make: the model before its first step.

    Raises TrainingError, TextError, OutputError; after the first step what was kept last stays whole.
    """
    accelerator, corpora = processes(settings), list[Corpus]()

    def begun() -> None:
        with only_one(run) if os.path.isfile(run / MARKER) else nullcontext():
            corpora.append(begin(run, make(), settings, overwrite=overwrite, progress=progress))

    by_the_first(accelerator, begun)
    return _to_its_end(run, accelerator, corpora[0] if corpora else None, progress, say)


def resume(run: Path, *, progress: Progress | None = None, say: Say = print) -> Result:
    """Take a run to its end from where it was kept last. Raises as `train`."""
    return _to_its_end(run, processes(Settings.load(run)), None, progress, say)


def _to_its_end(run: Path, accelerator: Any, corpus: Corpus | None, progress: Progress | None, say: Say) -> Result:
    main = accelerator.is_main_process
    with ExitStack() as within:
        by_the_first(accelerator, lambda: within.enter_context(only_one(run)))
        settings = Settings.load(run)
        require_whole(run)
        checkpoint = open_checkpoint(run)
        corpus = corpus or _corpus_again(run, settings, checkpoint)
        trainer = Trainer(run, accelerator, settings, checkpoint, corpus, say if main else _silent)
        within.callback(trainer.close)
        trainer.go_on(progress if main else None)
    return Result(open_checkpoint(run), settings, trainer.reached, main)


def _corpus_again(run: Path, settings: Settings, checkpoint: Checkpoint) -> Corpus:
    """The texts that a run was begun with. Raises TrainingError where they are not what they were."""
    texts = (*settings.texts, *settings.held_out)
    if gone := [path for path in texts if not os.path.lexists(path)]:
        raise TrainingError(f"{gone[0]}: a text of {run} is gone; put it back, or begin again, with --force")
    if not checkpoint.tokenizer and not all(Path(path).suffix.lower() == ".ids" for path in texts):
        raise TrainingError(f"{run}: its tokenizer is gone, from {LAST} too; put it back, or begin again, with --force")
    tokenizer = checkpoint.tokenizer.open() if checkpoint.tokenizer else None
    corpus = read_corpus(settings, Encoding(str(run), tokenizer, checkpoint.chat, checkpoint.config.vocab_size))
    if changed := [path for path, was, now in zip(texts, settings.sha256, corpus.sha256) if was != now]:
        raise TrainingError(
            f"{changed[0]}: not what it was when {run} was begun; put that text back, or begin again, with --force"
        )
    return corpus


def _model(settings: Settings, checkpoint: Checkpoint) -> Model:
    """Before what was kept is loaded into it."""
    config, weights = checkpoint.config, {n: checkpoint.weights[n].float() for n in checkpoint.weights}
    return RoundedModel(config, weights, parse_recipe(settings.recipe)) if settings.recipe else Model(config, weights)


def _objective(run: Path, settings: Settings, model: Model) -> Objective:
    """Raises TrainingError where the float model is gone or damaged."""
    if not settings.recipe:
        return predicting()
    try:
        near = Model(model.config, load_file(run / FLOAT))
    except (OSError, SafetensorError, KeyError) as error:
        raise TrainingError(f"{run / FLOAT}: cannot be read ({brief(error)}); begin the run again") from None
    near.to(next(model.parameters()).device).requires_grad_(False)
    return staying_near(near, settings.text_share)


def _silent(text: str) -> None:
    """Of several processes one tells."""


class Trainer:
    """A run in motion. reached: how far it is."""

    def __init__(
        self, run: Path, accelerator: Any, settings: Settings, checkpoint: Checkpoint, corpus: Corpus, say: Say
    ) -> None:
        self._run, self._accelerator, self._settings, self._say = run, accelerator, settings, say
        self._model = _model(settings, checkpoint)
        self._optimizer = adamw(self._model, settings)
        self._computed, self._stepped = accelerator.prepare(self._model, self._optimizer)
        self.reached = kept.load(run, self._model, self._optimizer)
        self._objective = _objective(run, settings, self._model)
        self._rows = Rows(corpus.trained, settings.length, settings.seed)
        self._held_out = windows(corpus.held_out, settings.length, _HELD_OUT)
        self._logs = Logs(run, self.reached.step, self._held_out.shape[1] - 1) if accelerator.is_main_process else None

    def go_on(self, progress: Progress | None = None) -> None:
        settings, reached = self._settings, self.reached
        if not reached.step:
            self._evaluate()
        begun, before = time.perf_counter(), reached.seconds
        while (fraction := self._fraction()) < 1:
            choose_trained(self._model, settings, fraction)
            rate = learning_rate(settings, reached.step, fraction)
            with self._enough_memory():
                loss, norm = self._step(rate)
            reached.step += 1
            reached.seconds = before + time.perf_counter() - begun
            if self._logs:
                told = {"loss": loss, "learning_rate": rate, "gradient_norm": norm, "seconds": reached.seconds}
                self._logs.step(reached.step, told)
            if progress:
                done = (reached.step, settings.steps) if settings.steps else (round(reached.seconds), self._seconds)
                progress("training", *done)
            if reached.step % settings.every == 0 or self._fraction() >= 1:
                self._evaluate()

    def close(self) -> None:
        if self._logs:
            self._logs.close()

    def _mixed(self) -> torch.autocast:
        bfloat16 = self._settings.precision == "bfloat16"
        return torch.autocast(self._accelerator.device.type, torch.bfloat16, enabled=bfloat16)

    @property
    def _seconds(self) -> int:
        return round(60 * (self._settings.minutes or 0))

    def _fraction(self) -> float:
        """How far it is; by the clock of all processes together, where a clock decides."""
        seconds = self.reached.seconds
        if self._settings.minutes and self._accelerator.num_processes > 1:
            told = torch.tensor(seconds, device=self._accelerator.device)
            seconds = float(self._accelerator.reduce(told, "mean"))
        return self._settings.fraction(self.reached.step, seconds)

    def _step(self, rate: float) -> tuple[float, float]:
        """Loss of all rows, and the gradient's norm. Raises TrainingError where they are not finite."""
        accelerator, settings = self._accelerator, self._settings
        rows = self._rows.step(self.reached.step, settings.batch)
        own = rows[accelerator.process_index :: accelerator.num_processes]
        ids = torch.from_numpy(own).to(accelerator.device)
        with self._mixed():
            logits, state = self._computed(ids[:, :-1])
            loss = self._objective.trained(logits, ids).mean()
            minimized = loss + self._information(logits, ids, state)
        accelerator.backward(minimized)
        norm = float(whole(accelerator.clip_grad_norm_(self._model.parameters(), settings.clip)))
        total = float(accelerator.reduce(loss.detach(), "mean"))
        if not math.isfinite(total) or not math.isfinite(norm):
            raise self._diverged(f"step {self.reached.step + 1}: the loss is {total} and the gradient's norm {norm}")
        set_learning_rate(self._optimizer, rate)
        self._stepped.step()
        self._stepped.zero_grad()
        return total, norm

    def _information(self, logits: Tensor, ids: Tensor, state: State) -> Tensor | float:
        """What draws the information of tokens to what they told, where there is an adaptive interval."""
        settings, medium = self._settings, self._model.config.medium
        if medium is None or medium.adaptive is None or settings.recipe or not settings.information_weight:
            return 0.0
        told = information_loss(medium.adaptive, settings.medium_nats, prediction(logits, ids), state)
        return settings.information_weight * told

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            settings = self._settings
            resume = "go on with --resume where there is more, or " if self.reached.step else ""
            raise TrainingError(
                f"no memory for --batch {settings.batch} rows of --length {settings.length} tokens; {resume}begin "
                "again, with --force and less of one of them"
            ) from error

    def _diverged(self, what: str) -> TrainingError:
        option, rate = self._settings.fastest
        return TrainingError(
            f"{what}; begin again, with --force and a lower {option} than {rate:g} or a longer --warm-up"
        )

    def _evaluate(self) -> None:
        """Measure on the held-out text, and keep what is there: the best weights, the last, and the run. Raises
        TrainingError for a loss that is not finite, and what was kept before stays.
        """
        remembered = kept.remembered(self._model, self._optimizer, main=self._accelerator.is_main_process)
        with with_whole_parameters(self._model):
            by_the_first(self._accelerator, lambda: self._keep(self._measured(), remembered))

    def _measured(self) -> float:
        """The held-out loss. Raises TrainingError."""
        reached, logs = self.reached, self._logs
        assert logs
        with self._mixed(), self._enough_memory():
            found = held_out_loss(self._model, self._objective.measured, self._held_out, self._settings.batch)
        if not math.isfinite(found.loss):
            told = f"step {reached.step}: the held-out {self._objective.what} is {found.loss}"
            if not reached.step:
                raise TrainingError(f"{told}, so it is the model's own; give another, or another --held-out")
            raise self._diverged(told)
        logs.held_out(reached.step, found)
        return found.loss

    def _keep(self, loss: float, remembered: Mapping[str, Tensor]) -> None:
        reached, best = self.reached, loss < self.reached.best
        if best:
            reached.best, reached.best_step = loss, reached.step
        if not reached.step:
            reached.first = loss
        weights = self._model.weights()
        text = card(self._run.resolve().name, self._model.config, self._settings, reached)
        for folder in ([self._run] if best else []) + [self._run / LAST]:
            replace_weights(folder, weights, text)
        kept.save(self._run, remembered, reached)
        best_so_far = ", the best so far" if best else ""
        self._say(f"step {reached.step}: held-out {self._objective.what} {self._objective.written(loss)}{best_so_far}")
