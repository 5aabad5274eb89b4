"""Leaf of the package: one tensor of a file that was not read yet, and what every reader needs to talk about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from rrwkv_export.config import ModelConfig, read_json
from rrwkv_export.errors import CheckpointError, ConfigError
from rrwkv_runtime.reading import brief as brief

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
    """What a format's `read` hands over. names: canonical name -> name in the file. path: what messages call it.

    eos_token_id: of the end of a text, where there is no chat.json to say it.
    """

    path: Path
    config: ModelConfig
    entries: Mapping[str, Entry]
    names: Callable[[str], str]
    files: tuple[Path, ...]
    eos_token_id: int | None = None


def brackets(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def first_bytes(path: Path) -> bytes:
    """The first bytes of a weight file. Raises CheckpointError for what is no weight file of any format."""
    with path.open("rb") as stream:
        head = stream.read(64)
    if not head:
        raise CheckpointError(f"{path}: the file is empty; download it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: a Git LFS pointer, not the weights; fetch them with `git lfs pull`")
    return head


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ConfigError."""
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: must hold a JSON object")
    return fields
