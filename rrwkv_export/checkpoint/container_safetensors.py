"""The safetensors container: its header gives every name, shape and dtype; the data stays mapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from rrwkv_export.checkpoint.entries import Entry, brief, first_bytes
from rrwkv_export.errors import CheckpointError

_LARGEST_HEADER = 16 * 2**20  # a model of 14 thousand million parameters has some 100 kB
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


def entries(path: Path) -> dict[str, Entry]:
    """Every tensor of the file by its name there; no data is read. Raises CheckpointError."""
    head = first_bytes(path)
    if head[8:9] not in (b"{", b""):
        raise CheckpointError(f"{path}: not a safetensors file; give the file that was meant")
    if (length := int.from_bytes(head[:8], "little")) > min(_LARGEST_HEADER, path.stat().st_size):
        raise CheckpointError(f"{path}: cut short or damaged (its header has {length} bytes); download it again")
    try:
        file: Any = safe_open(path, framework="pt")
        found = {}
        names: list[str] = file.keys()
        for name in names:
            part = file.get_slice(name)
            dtype = _DTYPES.get(part.get_dtype(), str(part.get_dtype()))
            found[name] = Entry(path, name, tuple(part.get_shape()), dtype, _loader(file, path, name))
    except Exception as error:
        raise CheckpointError(f"{path}: cut short or damaged ({brief(error)}); download it again") from None
    return found


def _loader(file: Any, path: Path, name: str) -> Callable[[], Tensor]:
    def load() -> Tensor:
        try:
            tensor: Tensor = file.get_tensor(name)
        except Exception as error:
            raise CheckpointError(f"{path}: cannot read {name!r} ({brief(error)}); download it again") from None
        return tensor

    return load
