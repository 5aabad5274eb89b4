"""What a run can be gone on with: weights, what AdamW remembers of each, and how far it is, in one safetensors file.

It is written beside and renamed, so there is always one, and whole. The order of rows and the learning rate follow from
the step, and after the first weights nothing is drawn at random; so nothing else has to be kept.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rrwkv_export.atomic import new_file
from rrwkv_export.errors import OutputError, TrainingError, is_out_of_memory
from rrwkv_export.train.models import Model
from rrwkv_export.train.processes import shared_as, whole
from rrwkv_export.train.settings import TRAINING
from rrwkv_runtime.common.reading import brief

FILE = "state.safetensors"
_WEIGHT, _BUFFER = "weight", "buffer"
_MEMORY = ("exp_avg", "exp_avg_sq", "step")  # AdamW's own names

_REASONS = {
    "No space left": "the disk is full",
    "quota": "the disk's quota is used up",
    "File too large": "larger than a file may be here (`ulimit -f`, or the file system's own limit)",
}


@dataclass
class Reached:
    """step: steps done. seconds: that they took. best: the least loss on held-out text, and the step that had it.

    first: the loss before the first step.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = math.inf
    best_step: int = 0
    first: float = math.inf


def remembered(model: Model, optimizer: torch.optim.Optimizer, *, main: bool = True) -> dict[str, Tensor]:
    """What a run is gone on with, on the CPU; main: of the process that writes it, of others nothing.

    Under FSDP every process must call this, since each has a part.
    """
    tensors = {}

    def add(kind: str, name: str, value: Tensor) -> None:
        together = whole(value.detach())
        if main:
            tensors[f"{kind}.{name}"] = together.to("cpu", copy=True).contiguous()

    for name, value in model.named_buffers():
        add(_BUFFER, name, value)
    for name, value in model.named_parameters():
        add(_WEIGHT, name, value)
        memory = optimizer.state.get(value, {})
        for part in _MEMORY:
            if part in memory:
                add(part, name, memory[part])
    return tensors


def save(run: Path, tensors: Mapping[str, Tensor], reached: Reached, *, new: bool = False) -> None:
    """tensors: as remembered. Raises OutputError, and leaves what was kept before."""
    write_tensors(run / TRAINING / FILE, tensors, {"reached": json.dumps(dataclasses.asdict(reached))}, new=new)


def load(run: Path, model: Model, optimizer: torch.optim.Optimizer) -> Reached:
    """Raises TrainingError for what is damaged."""
    path, parameters = run / TRAINING / FILE, dict(model.named_parameters())
    try:
        with safe_open(path, framework="pt") as file:
            reached = Reached(**json.loads((file.metadata() or {})["reached"]))
            names = set(file.keys())
            for name, value in model.named_buffers():
                value.copy_(file.get_tensor(f"{_BUFFER}.{name}"))
            for name, value in parameters.items():
                with torch.no_grad():
                    value.copy_(shared_as(file.get_tensor(f"{_WEIGHT}.{name}"), value))
                memory = {part: file.get_tensor(f"{part}.{name}") for part in _MEMORY if f"{part}.{name}" in names}
                if memory:
                    optimizer.state[value] = {
                        part: memory[part] if part == "step" else shared_as(memory[part], value) for part in _MEMORY
                    }
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise TrainingError(f"{path}: cannot be gone on with ({brief(error)}); begin the run again") from None
    return reached


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, *, new: bool = False
) -> None:
    """A safetensors file, whole or not at all. new: of a run whose folder is being made. Raises OutputError."""
    with new_file(path) as temporary:
        try:
            mode = temporary.stat().st_mode
            save_file(dict(tensors), temporary, dict(metadata or {}))
            temporary.chmod(mode)  # safetensors' own is for nobody else to read
        except SafetensorError as error:  # which has an OSError's words alone
            reason = next((told for said, told in _REASONS.items() if said in str(error)), None)
            reason = reason or f"cannot be written ({brief(error)})"
            if new:
                raise OutputError(f"{path.name}: {reason}; mend that, and begin again") from None
            raise OutputError(
                f"{path}: {reason}; what was kept before is whole: mend that, and go on with --resume"
            ) from None
