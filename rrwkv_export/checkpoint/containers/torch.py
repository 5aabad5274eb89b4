"""The torch.save container, looked at first (`pickles`) and read with weights_only: nothing in a pickle is ever run.

Zip files stay mapped.
"""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from rrwkv_export.checkpoint.containers.entries import AGAIN, STATE_DICT, Entry, brief, first_bytes
from rrwkv_export.checkpoint.containers.pickles import Refused, check_legacy, check_zip
from rrwkv_export.errors import CheckpointError, TensorError
from rrwkv_runtime.common.printable import one_line
from rrwkv_runtime.common.reading import boundary

_ZIP = b"PK\x03\x04"
_MOST_TIMES = 4  # a tensor that is there under several names has its data once
# Where trainers keep the model's state dict among other things, in the order in which they are looked for.
_NESTS = ("state_dict", "model_state_dict", "model", "module", "model_states", "weights", "params")
_DEEPEST = 4


def entries(path: Path) -> dict[str, Entry]:
    """Every tensor of the file by its name there; the data of zip files is not read. Raises CheckpointError."""
    with boundary(CheckpointError, f"{path}: not a PyTorch checkpoint that can be read; {STATE_DICT}"):
        return _entries(path, _state_dict(path, _load(path)))


def _entries(path: Path, tensors: dict[Any, Any]) -> dict[str, Entry]:
    found = {}
    for name, value in tensors.items():
        if isinstance(name, str) and isinstance(value, torch.Tensor):
            found[name] = _entry(path, name, value)
        elif not (isinstance(name, str) and (value is None or isinstance(value, int | float | str))):
            held = type(value).__name__
            raise CheckpointError(f"{path}: {name!r} is of type {held}, so this is no dict of tensors; {STATE_DICT}")
    read = [value for value in tensors.values() if isinstance(value, torch.Tensor) and value.device.type == "cpu"]
    total, size = sum(value.numel() * value.element_size() for value in read), path.stat().st_size
    if total > _MOST_TIMES * size:
        raise CheckpointError(f"{path}: {size} bytes cannot hold tensors of {total}; {AGAIN}")
    return found


def _state_dict(path: Path, loaded: Any) -> dict[Any, Any]:
    """The dict of tensors, which trainers put into others. Raises CheckpointError where there is none."""
    for _ in range(_DEEPEST):
        if not isinstance(loaded, dict):
            raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, not a dict of tensors; {STATE_DICT}")
        if "_strategy" in loaded:
            raise CheckpointError(f"{path}: converted by the rwkv package for one strategy; give the original .pth")
        if any(isinstance(value, torch.Tensor) for value in loaded.values()):
            return loaded
        inner = next((name for name in _NESTS if isinstance(loaded.get(name), dict)), None)
        if inner is None:
            _check_training_state(path, loaded)
            return loaded
        loaded = loaded[inner]
    raise CheckpointError(f"{path}: its dicts are nested too deep; {STATE_DICT}")


def _check_training_state(path: Path, loaded: dict[Any, Any]) -> None:
    if "param_groups" in loaded or any(str(name).startswith("optimizer") for name in loaded):
        raise CheckpointError(f"{path}: an optimizer's state and no weights; give the model's own file")


def _load(path: Path) -> Any:
    head = first_bytes(path)
    try:
        (check_zip if head.startswith(_ZIP) else check_legacy)(path)
        # Files from before PyTorch 1.6 are no zip and cannot be mapped.
        if path.name.endswith(".safetensors"):  # by which torch.load would go, whatever is in it
            with path.open("rb") as stream:
                return torch.load(stream, mmap=False, weights_only=True, map_location="cpu")
        return torch.load(str(path), mmap=head.startswith(_ZIP), weights_only=True, map_location="cpu")
    except OSError:
        raise
    except Exception as error:
        raise _refusal(path, error) from None


def _refusal(path: Path, error: Exception) -> CheckpointError:
    if isinstance(error, Refused):
        asks = f"its pickle asks to run {error.wanted}" if error.wanted else f"it {error}"
        return CheckpointError(f"{path}: refused, {one_line(asks)[:120]}; if it is your own, load it and {STATE_DICT}")
    if not isinstance(error, UnpicklingError):
        return CheckpointError(f"{path}: cut short or damaged ({brief(error)}); {AGAIN}")
    if wanted := re.search(r"GLOBAL (\S+)", str(error)):
        return CheckpointError(
            f"{path}: refused, its pickle asks to run {wanted[1]}; if it is your own, load it and {STATE_DICT}"
        )
    return CheckpointError(f"{path}: not a PyTorch checkpoint that can be read safely; {STATE_DICT}")


def _entry(path: Path, name: str, tensor: torch.Tensor) -> Entry:
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    dtype = str(tensor.dtype).removeprefix("torch.")
    if not plain:
        kind = "quantized" if tensor.is_quantized else f"{tensor.layout} on {tensor.device}".removeprefix("torch.")
        dtype = f"{dtype} ({kind})"
    elif tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        # Strides of 0 make a huge tensor out of a few bytes.
        raise TensorError(
            f"{path}: {name!r} has less data than its shape {list(tensor.shape)}; save it as a whole tensor"
        )
    return Entry(path, name, tuple(tensor.shape), dtype, tensor.detach)
