"""From weight files to canonical names and a config: the names say whose they are, tensors or a config the sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.checkpoint import huggingface
from rrwkv_export.checkpoint.adapters.lora import Halves, is_adapter_alone, split_halves
from rrwkv_export.checkpoint.containers.entries import Entry, Source, read_object
from rrwkv_export.checkpoint.containers.shards import Files, read_weights
from rrwkv_export.checkpoint.containers.wrappers import unwrapped
from rrwkv_export.checkpoint.folders import check_folder
from rrwkv_export.checkpoint.inspection import SUPPORTED, check_names, check_version, has_mediums, infer_config
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError

_EMBEDDING, _HEAD = "emb.weight", "head.weight"
# By whether the names are Hugging Face's.
_WITHOUT_HEAD = {
    True: ", as a base model (RwkvModel) has none; give the whole model (RwkvForCausalLM), or, if its head is the "
    'embedding, put "tie_word_embeddings": true into config.json',
    False: "; give the whole file, or, if its head is the embedding, save it with head.weight, a copy of emb.weight",
}


@dataclass(frozen=True)
class ConfigFile:
    """A config.json that is this model's, and what it says."""

    path: Path
    fields: Mapping[str, Any]

    @property
    def tied(self) -> bool:
        return self.fields.get("tie_word_embeddings") is True

    @property
    def is_huggingface(self) -> bool:
        return huggingface.is_config(self.fields)

    def model_config(self) -> ModelConfig:
        """Raises ConfigError, or CheckpointError for another architecture."""
        try:
            if self.is_huggingface:
                return huggingface.model_config(self.path, self.fields)
            own = {name: value for name, value in self.fields.items() if name != "tie_word_embeddings"}
            return ModelConfig.from_json(own, owner=str(self.path))
        except ConfigError as error:  # of a size, which does not know its file
            named = str(error) if str(error).startswith(str(self.path)) else f"{self.path}: {error}"
            raise ConfigError(named) from None


@dataclass(frozen=True)
class Reading:
    """A checkpoint before its adapters. format: "rrwkv", "blinkdl" or "huggingface". halves: LoRA's, not merged yet.

    config_file: the config.json that is this model's, if any. home: its folder, whose other files are this model's too.
    """

    source: Source
    format: str
    halves: Halves
    config_file: ConfigFile | None
    home: Path | None

    @property
    def says(self) -> tuple[Path, Mapping[str, Any]] | None:
        """Hugging Face's config.json and its fields, which speak of more than sizes."""
        said = self.config_file
        return (said.path, said.fields) if said and said.is_huggingface else None


def read(path: Path, given: ModelConfig | Path | None) -> Reading:
    """given: a config, or the config.json that holds one. Raises CheckpointError or ConfigError."""
    if path.is_dir():
        check_folder(path)
        _check_architecture(path / "config.json")
    files = read_weights(path)
    raw, halves = split_halves(files.path, unwrapped(files.path, files.entries))
    if is_adapter_alone(raw, halves):
        raise _adapter_alone(files.path, raw, halves)
    theirs = huggingface.has_names(raw)
    entries = _canonical(files.path, raw) if theirs else raw
    check_names(files.path, entries)
    said = _config_file(path, given, entries, theirs)
    home = path if path.is_dir() else path.parent if said and said.path.parent == path.parent else None
    config = given if isinstance(given, ModelConfig) else said.model_config() if said else None
    entries = _tied(files.path, entries, said, theirs)
    source = Source(
        files.path,
        config or infer_config(files.path, entries),
        entries,
        huggingface.name_in_file if theirs else str,
        files.paths,
    )
    return Reading(source, _format(files, theirs), halves, said, home)


def _format(files: Files, theirs: bool) -> str:
    if theirs:
        return "huggingface"
    return "rrwkv" if files.container == "safetensors" else "blinkdl"


def _check_architecture(path: Path) -> None:
    """Before its weights are looked for: they have other names, too. Raises CheckpointError."""
    if path.is_file() and huggingface.is_config(fields := read_object(path)):
        huggingface.check_architecture(path, fields)


def _canonical(path: Path, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    made: dict[str, Entry] = {}
    for name, entry in entries.items():
        if (ours := huggingface.canonical(name)) in made:
            raise CheckpointError(f"{path}: has both {made[ours].name!r} and {entry.name!r}; save one model alone")
        made[ours] = entry
    return made


def _config_file(
    path: Path, given: ModelConfig | Path | None, entries: Mapping[str, Entry], theirs: bool
) -> ConfigFile | None:
    """The one that was asked for, or the folder's; beside a file, only one that is this model's."""
    if isinstance(given, Path):
        return ConfigFile(given, read_object(given))
    own = path / "config.json" if path.is_dir() else path.with_name("config.json")
    if not own.is_file():
        return None
    if path.is_dir() or has_mediums(entries):
        return ConfigFile(own, read_object(own))
    # A plain RWKV-4 needs no config, so one of something else may lie beside it.
    try:
        found = ConfigFile(own, read_object(own))
    except ConfigError:
        if theirs:
            raise
        return None
    if found.is_huggingface:
        needed = theirs or _HEAD not in entries or _EMBEDDING not in entries
        return found if needed and huggingface.is_rwkv(found.fields) else None
    return found if found.fields.get("architecture") in ("rrwkv", "rwkv4") else None


def _tied(path: Path, entries: dict[str, Entry], said: ConfigFile | None, theirs: bool) -> dict[str, Entry]:
    """Where one tensor is both embedding and head, and the config says so, it is found under both names.

    Where the file has both tensors they are what is used, as in transformers since version 5: a config that says "tied"
    of tensors that differ is wrong. Raises TensorError where there is only one and nothing says that it is both.
    """
    for there, missing in ((_EMBEDDING, _HEAD), (_HEAD, _EMBEDDING)):
        if there in entries and missing not in entries:
            if said and said.tied:
                return {**entries, missing: entries[there]}
            if missing == _HEAD:
                raise TensorError(f"{path}: has no head.weight{_WITHOUT_HEAD[theirs]}")
    return entries


def _adapter_alone(path: Path, rest: Mapping[str, Entry], halves: Halves) -> CheckpointError:
    check_version(path, rest)
    first = halves.first.name
    if not halves.fits_rwkv():
        return CheckpointError(f"{path}: LoRA weights of another architecture ({first!r}); {SUPPORTED}")
    alpha = "" if halves.is_pefts else " --adapter-alpha ALPHA"
    return CheckpointError(
        f"{path}: LoRA weights alone ({first!r}), an adapter; merge it onto the model that it was trained on with "
        f"`rrwkv export MODEL --adapter {path.name}{alpha}`"
    )
