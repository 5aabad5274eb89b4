"""Leaf of the package: one tensor of a file that was not read yet, and what every reader needs to talk about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from rrwkv_export.architectures.config import ModelConfig, read_json
from rrwkv_export.errors import CheckpointError, ConfigError
from rrwkv_runtime.common.reading import brief as brief

# Of a file that is not whole. Where it came from is not known: its own trainer saved it as often as not.
AGAIN = "copy, download or save it again"
STATE_DICT = "save a plain state dict with torch.save(model.state_dict(), path)"
DTYPES = ("float32", "float16", "bfloat16", "float64")


@dataclass(frozen=True)
class Entry:
    """One tensor as its file has it. dtype: one of DTYPES, or words for what is not read (such as "int64").

    load: the tensor, possibly a view of the mapped file, so it must not be written to.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], Tensor]


@dataclass(frozen=True)
class Source:
    """A model's tensors by canonical name. path: what messages call it. names: canonical name -> name in the file."""

    path: Path
    config: ModelConfig
    entries: Mapping[str, Entry]
    names: Callable[[str], str]
    files: tuple[Path, ...]


def brackets(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def first_bytes(path: Path) -> bytes:
    """The first bytes of a weight file. Raises CheckpointError for what is no weight file of any format."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if not head:
        raise CheckpointError(f"{path}: the file is empty; {AGAIN}")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: a Git LFS pointer, not the weights; fetch them with `git lfs pull`")
    return head


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ConfigError."""
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: must hold a JSON object")
    return fields
