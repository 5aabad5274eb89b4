"""The safetensors container: its header gives every name, shape and dtype; the data stays mapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from rrwkv_export.checkpoint.containers.entries import AGAIN, Entry, brief
from rrwkv_export.errors import CheckpointError
from rrwkv_runtime.common.printable import is_writable

_LARGEST_HEADER = 16 * 2**20  # a model of 14 thousand million parameters has some 100 kB
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


def entries(path: Path) -> dict[str, Entry]:
    """Every tensor of the file by its name there; no data is read. Raises CheckpointError."""
    if not is_writable(str(path)):
        raise CheckpointError(f"{path}: its path is not UTF-8, as safetensors wants it; rename what is not")
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > min(_LARGEST_HEADER, path.stat().st_size):
        raise CheckpointError(f"{path}: cut short or damaged (its header has {length} bytes); {AGAIN}")
    try:
        file: Any = safe_open(path, framework="pt")
        found = {}
        names: list[str] = file.keys()
        for name in names:
            part = file.get_slice(name)
            dtype = _DTYPES.get(part.get_dtype(), str(part.get_dtype()))
            found[name] = Entry(path, name, tuple(part.get_shape()), dtype, _loader(file, path, name))
    except Exception as error:
        raise CheckpointError(f"{path}: cut short or damaged ({brief(error)}); {AGAIN}") from None
    return found


def _loader(file: Any, path: Path, name: str) -> Callable[[], Tensor]:
    def load() -> Tensor:
        try:
            tensor: Tensor = file.get_tensor(name)
        except Exception as error:
            raise CheckpointError(f"{path}: cannot read {name!r} ({brief(error)}); {AGAIN}") from None
        return tensor

    return load
