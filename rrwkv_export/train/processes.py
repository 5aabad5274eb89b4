"""The processes of a run, which are accelerate's affair; and what FSDP shares out among them, whole again.

Where there is no FSDP, everything is whole as it is.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from rrwkv_export.errors import TrainingError
from rrwkv_export.train.settings import Settings

try:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor, distribute_tensor
except ImportError:  # of a torch before 2.6, or without processes
    _HAS_FSDP = False
else:
    _HAS_FSDP = True

_PATIENCE = datetime.timedelta(hours=1)  # others wait while the first process makes a vocabulary, or GPTQ's start


def processes(settings: Settings) -> Any:
    """accelerate's view of the processes and devices that this one is among. Raises TrainingError."""
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    if settings.threads:
        torch.set_num_threads(settings.threads)
    # While mediums alone are trained, the others get no gradient.
    unused = DistributedDataParallelKwargs(find_unused_parameters=settings.mediums_first > 0)
    handlers = [unused, InitProcessGroupKwargs(timeout=_PATIENCE)]
    made = Accelerator(mixed_precision="no", kwargs_handlers=handlers)  # precision is the trainer's own affair
    kind = made.distributed_type.value
    if kind in ("DEEPSPEED", "MEGATRON_LM", "TP") or (kind == "FSDP" and not (_HAS_FSDP and made.is_fsdp2)):
        raise TrainingError(f"{kind}: models are trained by DDP or FSDP 2; give accelerate --fsdp_version 2")
    if made.gradient_accumulation_steps != 1:
        raise TrainingError(
            f"gradient accumulation of {made.gradient_accumulation_steps}: rows of a step are not cut up here; take it "
            "out of accelerate's settings, and give --batch what fits"
        )
    if kind == "FSDP":
        plugin = made.state.fsdp_plugin
        plugin.auto_wrap_policy = None  # modules here hold parameters, and the model alone computes
        plugin.cpu_ram_efficient_loading = False  # for which buffers would have to be shared out too
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # nothing is changed in place
    if settings.batch % made.num_processes:
        raise TrainingError(f"--batch {settings.batch}: no multiple of the {made.num_processes} processes; give one")
    return made


def by_the_first(accelerator: Any, work: Callable[[], None]) -> None:
    """Done by the first process, while the others wait. Where it fails they raise TrainingError, and do not go on."""
    failure: BaseException | None = None
    if accelerator.is_main_process:
        try:
            work()
        except BaseException as error:
            failure = error
    if accelerator.num_processes > 1:
        told = torch.tensor(float(failure is not None), device=accelerator.device)
        failed = bool(accelerator.reduce(told, "sum"))
        if failed and failure is None:
            raise TrainingError("the first process stopped, and says why")
    if failure is not None:
        raise failure


def is_shared(value: Tensor) -> bool:
    """Whether a process has but a part of it."""
    return _HAS_FSDP and isinstance(value, DTensor)


def whole(value: Tensor) -> Tensor:
    """All of it. Every process must call this, since each gives its part."""
    return value.full_tensor() if is_shared(value) else value  # type: ignore[attr-defined]


def shared_as(value: Tensor, like: Tensor) -> Tensor:
    """A tensor that every process has all of, on the device of another and shared out as that is."""
    there = value.to(like.device)
    if not is_shared(like):
        return there
    return distribute_tensor(there, like.device_mesh, like.placements)  # type: ignore[attr-defined]


@contextmanager
def with_whole_parameters(model: torch.nn.Module) -> Iterator[None]:
    """Within it a model's parameters are whole, and it can be called by one process alone. Every process must enter."""
    shared = _HAS_FSDP and isinstance(model, FSDPModule)
    if shared:
        model.set_reshard_after_forward(False)  # type: ignore[operator]
        model.unshard()  # type: ignore[operator]
    try:
        yield
    finally:
        if shared:
            model.reshard()  # type: ignore[operator]
