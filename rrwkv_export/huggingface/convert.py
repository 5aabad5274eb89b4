"""Any checkpoint as a folder that transformers loads, and `rrwkv export` takes as it took the checkpoint."""

from __future__ import annotations

import functools
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from rrwkv_export.atomic import new_directory, require_space
from rrwkv_export.bundle import TOKENIZER_FILES
from rrwkv_export.checkpoint import Checkpoint, Weights
from rrwkv_export.huggingface.folder import WRITTEN, check_supported, write_beside
from rrwkv_export.progress import Progress

WEIGHTS, CARD = "model.safetensors", "README.md"
_INDEX = f"{WEIGHTS}.index.json"
_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}


def _shard(number: int, of: int) -> str:
    return WEIGHTS if of == 1 else f"model-{number:05d}-of-{of:05d}.safetensors"


# What of a folder --force replaces.
FILES = WRITTEN | {WEIGHTS, _INDEX, CARD, *TOKENIZER_FILES.values()}


def convert(
    checkpoint: Checkpoint,
    out: Path,
    *,
    overwrite: bool = False,
    largest_shard: int = 2 << 30,
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Write the folder; nothing is left behind if anything fails. Gives the names of its weight files.

    Weights stay as they are stored; adapters are merged. largest_shard: bytes of a weight file, which are in memory at
    once; a weight that is larger has a file of its own. Raises CheckpointError for an architecture that the code for
    transformers does not compute, and for damaged weights; OutputError.
    """
    check_supported(checkpoint.config)
    weights, tokenizer = checkpoint.weights, checkpoint.tokenizer
    shards = list(_shards(weights, largest_shard))
    require_space(out, sum(_bytes(weights, name) for name in weights))
    dtype = _widest({weights.dtype(name) for name in weights})
    names = tuple(_shard(number, len(shards)) for number in range(1, len(shards) + 1))
    replaceable = FILES | set(_existing_shards(out)) if overwrite else None
    what = "a folder of `rrwkv huggingface`"
    with new_directory(out, replaceable, marker="modeling_rrwkv.py", what=what) as folder:
        if tokenizer:
            (folder / TOKENIZER_FILES[tokenizer.type]).write_bytes(tokenizer.content)
        write_beside(folder, checkpoint.config, checkpoint.chat, dtype)
        for number, (name, held) in enumerate(zip(names, shards, strict=True)):
            if progress:
                progress("writing weights", number, len(shards))
            _save(folder / name, {one: weights[one] for one in held})
        if len(shards) > 1:
            places = {one: name for name, held in zip(names, shards, strict=True) for one in held}
            total = sum(_bytes(weights, name) for name in weights)
            index = {"metadata": {"total_size": total}, "weight_map": places}
            (folder / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        card = checkpoint.path / CARD
        if checkpoint.path.is_dir() and card.is_file():  # beside a file it may be that of something else
            shutil.copyfile(card, folder / CARD)
    return names


def _shards(weights: Weights, largest: int) -> Iterator[list[str]]:
    """Names of weights that go into a file together."""
    held, size = list[str](), 0
    for name in weights:
        more = _bytes(weights, name)
        if held and size + more > largest:
            yield held
            held, size = [], 0
        held.append(name)
        size += more
    yield held


def _bytes(weights: Weights, name: str) -> int:
    return math.prod(weights.shape(name)) * _SIZES[weights.dtype(name)]


def _widest(dtypes: set[str]) -> str:
    """In which all of them are held exactly."""
    found = functools.reduce(torch.promote_types, (getattr(torch, name) for name in dtypes))
    return str(found).removeprefix("torch.")


def _existing_shards(out: Path) -> Iterator[str]:
    return (path.name for path in out.glob("model-*-of-*.safetensors"))


def _save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, {"format": "pt"})
    path.chmod(mode)  # safetensors' own is for nobody else to read
