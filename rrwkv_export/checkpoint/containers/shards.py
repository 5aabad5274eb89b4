"""Weight files: one, or the shards that an index lists, under the names that folders have for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from rrwkv_export.checkpoint.containers import safetensors as container_safetensors
from rrwkv_export.checkpoint.containers import torch as container_torch
from rrwkv_export.checkpoint.containers.entries import Entry, read_object
from rrwkv_export.checkpoint.containers.kinds import Container, container
from rrwkv_export.checkpoint.folders import check_folder, no_weights
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError

_SAFETENSORS, _TORCH = "model.safetensors", "pytorch_model.bin"
_NAMES = (_SAFETENSORS, _TORCH)
_SHARD = re.compile(r"-\d{1,9}-of-(\d{1,9})\.")


@dataclass(frozen=True)
class Files:
    """Weights as they lie there. path: what messages call them. entries: by the names in the files, in all of them."""

    path: Path
    container: Container
    entries: dict[str, Entry]
    paths: tuple[Path, ...]


def read_weights(path: Path) -> Files:
    """One weight file, an index of shards, or what a folder holds. Raises CheckpointError."""
    if path.is_dir():
        check_folder(path)
        path = _chosen(path)
    if not path.is_file():  # a pipe, or a device: weights are read more than once
        raise CheckpointError(f"{path}: neither a file nor a folder; save the checkpoint to a file, and give that")
    if ".index." in path.name and path.suffix == ".json":
        entries, paths = _read_shards(path.parent, path)
        return Files(path, container(paths[0]), entries, paths)
    if (shard := _SHARD.search(path.name)) and int(shard[1]) > 1:
        raise CheckpointError(f"{path}: one of {int(shard[1])} shards; give the folder of them all, or their index")
    return Files(path, container(path), read_file(path), (path,))


def read_file(path: Path, wanted: str = "checkpoint") -> dict[str, Entry]:
    """Every tensor of one weight file; `wanted` as of `container`. Raises CheckpointError."""
    if container(path, wanted) == "safetensors":
        return container_safetensors.entries(path)
    return container_torch.entries(path)


def _chosen(folder: Path) -> Path:
    """The folder's weight file, or the index of its shards; of a variant such as fp16 where there is no other."""
    for name in _NAMES:
        for path in (folder / name, folder / f"{name}.index.json"):
            if path.is_file():
                return path
    for name in _NAMES:
        stem, suffix = name.split(".")
        variants = [*folder.glob(f"{stem}.*.{suffix}"), *folder.glob(f"{name}.index.*.json")]
        variants = sorted(path for path in variants if path.is_file() and not _is_shard(path))
        if len(variants) > 1:
            listed = ", ".join(path.name for path in variants)
            raise CheckpointError(f"{folder}: has several variants ({listed}); give the path of one of them")
        if variants:
            return variants[0]
    raise no_weights(folder, _NAMES)


def _is_shard(path: Path) -> bool:
    return _SHARD.search(path.name) is not None


def _read_shards(folder: Path, index: Path) -> tuple[dict[str, Entry], tuple[Path, ...]]:
    places = _weight_map(index)
    found: dict[str, Entry] = {}
    shards = {name: _inside(folder, name, index) for name in sorted(set(places.values()))}
    for shard, path in shards.items():
        for name, entry in read_file(path).items():
            if places.get(name) != shard:
                raise TensorError(
                    f"{path}: {name!r} is not there by {index.name}; shards and index are of different models, "
                    "so put one model's there"
                )
            found[name] = entry
    if lost := sorted(set(places) - set(found)):
        path = shards[places[lost[0]]]
        raise TensorError(
            f"{path}: {lost[0]!r} should be there by {index.name} and is not; put this model's own shard there"
        )
    return found, tuple(shards.values())


def _weight_map(index: Path) -> dict[str, str]:
    try:
        places = read_object(index).get("weight_map")
    except ConfigError as error:
        raise CheckpointError(f"{error}; copy or download the index again") from None
    if not isinstance(places, dict) or not places or not all(isinstance(shard, str) for shard in places.values()):
        raise CheckpointError(f"{index}: has no weight_map from tensor to file; put the shards' own index there")
    return places


def _inside(folder: Path, shard: str, index: Path) -> Path:
    """The path of a shard, which an index of unknown origin must not place elsewhere. Raises CheckpointError."""
    for kind in (PurePosixPath(shard), PureWindowsPath(shard)):
        if "\0" in shard or kind.anchor or ".." in kind.parts:
            raise CheckpointError(f"{index}: {shard!r} leads out of the folder; use an index with plain file names")
    path = folder / shard
    if not path.is_file():
        raise CheckpointError(f"{path}: {index.name} lists this shard and it is missing; put it there too")
    roots = [folder.resolve()]
    if folder.absolute().parent.name == "snapshots":
        # The Hugging Face cache links every file of a snapshot to its own store of blobs.
        roots.append(folder.absolute().parent.parent.resolve() / "blobs")
    if not any(path.resolve().is_relative_to(root) for root in roots):
        raise CheckpointError(f"{index}: {shard!r} is a link out of the folder; put the file itself there")
    return path
