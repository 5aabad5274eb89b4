"""The torch.save container, looked at first (`pickles`) and read with weights_only: nothing in a pickle is ever run.

Zip files stay mapped.
"""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from rrwkv_export.checkpoint.entries import Entry, brief, first_bytes
from rrwkv_export.checkpoint.pickles import Refused, check_legacy, check_zip
from rrwkv_export.errors import CheckpointError, TensorError
from rrwkv_runtime.printable import one_line
from rrwkv_runtime.reading import boundary

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_MOST_TIMES = 4  # a tensor that is there under several names has its data once
_STATE_DICT = "save a plain state dict with torch.save(model.state_dict(), path)"


def entries(path: Path) -> dict[str, Entry]:
    """Every tensor of the file by its name there; the data of zip files is not read. Raises CheckpointError."""
    with boundary(CheckpointError, f"{path}: not a PyTorch checkpoint that can be read; {_STATE_DICT}"):
        return _entries(path, _load(path))


def _entries(path: Path, tensors: Any) -> dict[str, Entry]:
    if not isinstance(tensors, dict):
        raise CheckpointError(f"{path}: holds a {type(tensors).__name__}, not a dict of tensors; {_STATE_DICT}")
    if "_strategy" in tensors:
        raise CheckpointError(f"{path}: converted by the rwkv package for one strategy; give the original .pth")
    found = {}
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            held = type(value).__name__
            raise CheckpointError(f"{path}: {name!r} is of type {held}, so this is no dict of tensors; {_STATE_DICT}")
        found[name] = _entry(path, name, value)
    sizes = (value.numel() * value.element_size() for value in tensors.values() if value.device.type == "cpu")
    if (total := sum(sizes)) > _MOST_TIMES * (size := path.stat().st_size):
        raise CheckpointError(f"{path}: {size} bytes cannot hold tensors of {total}; download it again")
    return found


def _load(path: Path) -> Any:
    head = first_bytes(path)
    if not head.startswith((_ZIP, _PICKLE)):
        raise CheckpointError(f"{path}: not a PyTorch checkpoint; give the .pth file that was meant")
    try:
        (check_zip if head.startswith(_ZIP) else check_legacy)(path)
        # Files from before PyTorch 1.6 are no zip and cannot be mapped.
        return torch.load(str(path), mmap=head.startswith(_ZIP), weights_only=True, map_location="cpu")
    except OSError:
        raise
    except Exception as error:
        raise _refusal(path, error) from None


def _refusal(path: Path, error: Exception) -> CheckpointError:
    if isinstance(error, Refused):
        asks = f"its pickle asks to run {error.wanted}" if error.wanted else f"it {error}"
        return CheckpointError(f"{path}: refused, {one_line(asks)[:120]}; {_STATE_DICT}")
    if "TorchScript" in str(error):
        return CheckpointError(f"{path}: a TorchScript program, not a dict of tensors; {_STATE_DICT}")
    if not isinstance(error, UnpicklingError):
        return CheckpointError(f"{path}: cut short or damaged ({brief(error)}); download it again")
    if wanted := re.search(r"GLOBAL (\S+)", str(error)):
        return CheckpointError(f"{path}: refused, its pickle asks to run {wanted[1]}; {_STATE_DICT}")
    return CheckpointError(f"{path}: not a PyTorch checkpoint that can be read safely; {_STATE_DICT}")


def _entry(path: Path, name: str, tensor: torch.Tensor) -> Entry:
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    dtype = str(tensor.dtype).removeprefix("torch.")
    if not plain:
        kind = "quantized" if tensor.is_quantized else f"{tensor.layout} on {tensor.device}".removeprefix("torch.")
        dtype = f"{dtype} ({kind})"
    elif tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        # Strides of 0 make a huge tensor out of a few bytes.
        raise TensorError(f"{path}: {name!r} has less data than its shape {list(tensor.shape)}; download it again")
    return Entry(path, name, tuple(tensor.shape), dtype, tensor.detach)
