"""Weight files of a folder: one file, or the shards that an index lists."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from rrwkv_export.checkpoint import container_safetensors, container_torch
from rrwkv_export.checkpoint.entries import Entry, read_object
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError

SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"


def read_file(path: Path) -> dict[str, Entry]:
    """Every tensor of one weight file. Raises CheckpointError."""
    if path.suffix == ".safetensors":
        return container_safetensors.entries(path)
    return container_torch.entries(path)


def read_folder(folder: Path, names: tuple[str, ...]) -> tuple[Path, dict[str, Entry], tuple[Path, ...]]:
    """The first of `names` that is in the folder, whole or sharded: what was opened, its tensors, its files."""
    for name in names:
        if (path := folder / name).is_file():
            return path, read_file(path), (path,)
        if (index := folder / f"{name}.index.json").is_file():
            return index, *_read_shards(folder, index)
    if not any(folder.iterdir()):
        raise CheckpointError(f"{folder}: the directory is empty; download the checkpoint into it")
    if loose := sorted([*folder.glob("*.pth"), *folder.glob("*.safetensors")]):
        raise CheckpointError(f"{folder}: has no {' or '.join(names)}; give the path of {loose[0].name} itself")
    raise CheckpointError(f"{folder}: has no weights; put {' or '.join(names)} (or its shards and index) there")


def _read_shards(folder: Path, index: Path) -> tuple[dict[str, Entry], tuple[Path, ...]]:
    places = _weight_map(index)
    found: dict[str, Entry] = {}
    shards = {name: _inside(folder, name, index) for name in sorted(set(places.values()))}
    for shard, path in shards.items():
        for name, entry in read_file(path).items():
            if places.get(name) != shard:
                raise TensorError(f"{path}: {name!r} is not there by {index.name}; download shards and index again")
            found[name] = entry
    if lost := sorted(set(places) - set(found)):
        path = shards[places[lost[0]]]
        raise TensorError(f"{path}: {lost[0]!r} should be there by {index.name} and is not; download the shard again")
    return found, tuple(shards.values())


def _weight_map(index: Path) -> dict[str, str]:
    try:
        places = read_object(index).get("weight_map")
    except ConfigError as error:
        raise CheckpointError(f"{error}; download it again") from None
    if not isinstance(places, dict) or not places or not all(isinstance(shard, str) for shard in places.values()):
        raise CheckpointError(f"{index}: has no weight_map from tensor to file; download it again")
    return places


def _inside(folder: Path, shard: str, index: Path) -> Path:
    """The path of a shard, which an index of unknown origin must not place elsewhere. Raises CheckpointError."""
    for kind in (PurePosixPath(shard), PureWindowsPath(shard)):
        if "\0" in shard or kind.anchor or ".." in kind.parts:
            raise CheckpointError(f"{index}: {shard!r} leads out of the folder; use an index with plain file names")
    path = folder / shard
    if not path.is_file():
        raise CheckpointError(f"{path}: {index.name} lists this shard and it is missing; download it too")
    roots = [folder.resolve()]
    if folder.absolute().parent.name == "snapshots":
        # The Hugging Face cache links every file of a snapshot to its own store of blobs.
        roots.append(folder.absolute().parent.parent.resolve() / "blobs")
    if not any(path.resolve().is_relative_to(root) for root in roots):
        raise CheckpointError(f"{index}: {shard!r} is a link out of the folder; put the file itself there")
    return path
