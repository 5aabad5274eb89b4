"""What a run tells of itself: two CSV files and, where tensorboard is installed, its events."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rrwkv_export.atomic import new_file
from rrwkv_export.errors import OutputError, without_remedy
from rrwkv_export.train import held_out
from rrwkv_export.train.held_out import HeldOut
from rrwkv_export.train.settings import TRAINING

LOSSES, HELD_OUT, EVENTS = "losses.csv", "held_out.csv", "tensorboard"
_STEP = ("step", "loss", "learning_rate", "gradient_norm", "seconds")


class Logs:
    """step: the last that was kept; what was written of later ones is taken back. length: of the held-out rows."""

    def __init__(self, run: Path, step: int, length: int) -> None:
        folder = run / TRAINING
        self._losses, self._held_out = folder / LOSSES, folder / HELD_OUT
        _cut(self._losses, _STEP, step)
        _cut(self._held_out, ("step", "loss", *held_out.names(length)), step)
        self._events = _events(folder / EVENTS, step)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """values: of the columns after the step."""
        _append(self._losses, [step, *(repr(float(values[name])) for name in _STEP[1:])])
        self._told("training", step, {name: values[name] for name in _STEP[1:-1]})

    def held_out(self, step: int, found: HeldOut) -> None:
        """Before the first step too, as step 0."""
        _append(self._held_out, [step, repr(found.loss), *map(repr, found.by_position.values())])
        self._told("held_out", step, {"loss": found.loss, **found.by_position})

    def close(self) -> None:
        if self._events:
            self._events.close()

    def _told(self, what: str, step: int, values: Mapping[str, float]) -> None:
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(f"{what}/{name}", value, step)


def _events(folder: Path, step: int) -> Any:
    """TensorBoard's writer; None where it is not installed."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _cut(path: Path, header: Sequence[str], step: int) -> None:
    """Leave whole lines of steps up to this one; of a new file the header alone. Raises OutputError."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[1:] if path.is_file() else []
    steps = [line.partition(",")[0] for line in lines]
    kept = [line for line, at in zip(lines, steps) if line.endswith("\n") and at.isdigit() and int(at) <= step]
    if step == 0:
        kept = []
    try:
        with new_file(path) as temporary:
            temporary.write_text("".join([",".join(header) + "\n", *kept]), encoding="utf-8")
    except OutputError as error:
        raise OutputError(f"{without_remedy(error)}; make room, or move it away, and go on with --resume") from None


def _append(path: Path, row: Sequence[object]) -> None:
    try:
        with path.open("a", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerow(row)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{path}: cannot be written ({reason}); make room, and go on with --resume") from None
