"""From weight files to canonical names and a config: the names say whose they are, tensors or a config the sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwkv_export import architectures
from rrwkv_export.architectures import SUPPORTED
from rrwkv_export.architectures.base import Dialect
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.mediums import has_mediums
from rrwkv_export.checkpoint import huggingface
from rrwkv_export.checkpoint.adapters.lora import Halves, is_adapter_alone, split_halves
from rrwkv_export.checkpoint.containers.entries import Entry, Source, read_object
from rrwkv_export.checkpoint.containers.shards import Files, read_weights
from rrwkv_export.checkpoint.containers.wrappers import unwrapped
from rrwkv_export.checkpoint.folders import check_folder
from rrwkv_export.checkpoint.huggingface import MODEL_TYPE
from rrwkv_export.checkpoint.inspection import check_config, check_names, check_supported, infer_config
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError

_EMBEDDING, _HEAD = "emb.weight", "head.weight"


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

    def model_config(self, entries: Mapping[str, Entry], named: Callable[[str], str]) -> ModelConfig:
        """What it says of a model of these tensors. Raises ConfigError, or CheckpointError for another architecture."""
        try:
            if self.is_huggingface:
                huggingface.check_architecture(self.path, self.fields)
                return infer_config(self.path, entries, named, self.fields)
            return ModelConfig.from_json(huggingface.own_fields(self.fields), owner=str(self.path))
        except ConfigError as error:  # of a size, which does not know its file
            told = str(error) if str(error).startswith(str(self.path)) else f"{self.path}: {error}"
            raise ConfigError(told) from None


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

    @property
    def chat(self) -> ConfigFile | None:
        """The config.json that also says how a dialogue is written, as those do that transformers saved again."""
        said = self.config_file
        return said if said and said.fields.get("model_type") == MODEL_TYPE and "chat" in said.fields else None


def read(path: Path, given: ModelConfig | Path | None) -> Reading:
    """given: a config, or the config.json that holds one. Raises CheckpointError or ConfigError."""
    if path.is_dir():
        check_folder(path)
        _check_architecture(path / "config.json")
    files = read_weights(path)
    raw, halves = split_halves(files.path, unwrapped(files.path, files.entries))
    if is_adapter_alone(raw, halves):
        raise _adapter_alone(files.path, raw, halves)
    dialect = huggingface.dialect_of(raw)
    named: Callable[[str], str] = dialect.name_in_file if dialect else str
    entries = huggingface.canonical(files.path, raw, dialect) if dialect else raw
    check_names(files.path, entries)
    said = _config_file(path, given, entries, dialect)
    home = path if path.is_dir() else path.parent if said and said.path.parent == path.parent else None
    entries = _tied(files.path, entries, said, dialect)
    config = _config(files.path, entries, given, said, named)
    check_config(files.path, entries, config)
    room = architectures.of(config)
    entries = {name: entry for name, entry in entries.items() if not room.unused(name)}
    return Reading(Source(files.path, config, entries, named, files.paths), _format(files, dialect), halves, said, home)


def _config(
    path: Path,
    entries: Mapping[str, Entry],
    given: ModelConfig | Path | None,
    said: ConfigFile | None,
    named: Callable[[str], str],
) -> ModelConfig:
    """The one that was given, else what its config.json says, else what the tensors do."""
    if isinstance(given, ModelConfig):
        return given
    return said.model_config(entries, named) if said else infer_config(path, entries, named)


def _format(files: Files, dialect: Dialect | None) -> str:
    if dialect:
        return "huggingface"
    return "rrwkv" if files.container == "safetensors" else "blinkdl"


def _check_architecture(path: Path) -> None:
    """Before its weights are looked for: they have other names, too. Raises CheckpointError."""
    if path.is_file() and huggingface.is_config(fields := read_object(path)):
        huggingface.check_architecture(path, fields)


def _config_file(
    path: Path, given: ModelConfig | Path | None, entries: Mapping[str, Entry], dialect: Dialect | None
) -> ConfigFile | None:
    """The one that was asked for, or the folder's; beside a file, only one that is this model's."""
    if isinstance(given, Path):
        return ConfigFile(given, read_object(given))
    own = path / "config.json" if path.is_dir() else path.with_name("config.json")
    if not own.is_file():
        return None
    if path.is_dir() or has_mediums(entries):
        return ConfigFile(own, read_object(own))
    # A model without mediums needs no config, so one of something else may lie beside it.
    try:
        found = ConfigFile(own, read_object(own))
    except ConfigError:
        if dialect:
            raise
        return None
    if found.is_huggingface:
        needed = dialect is not None or _HEAD not in entries or _EMBEDDING not in entries
        return found if needed and huggingface.is_rwkv(found.fields) else None
    room = architectures.recognise({name: entry.shape for name, entry in entries.items()})
    return found if huggingface.own_fields(found.fields).get("architecture") in room.NAMES else None


def _tied(path: Path, entries: dict[str, Entry], said: ConfigFile | None, dialect: Dialect | None) -> dict[str, Entry]:
    """Where one tensor is both embedding and head, and the config says so, it is found under both names.

    Where the file has both tensors they are what is used, as in transformers since version 5: a config that says "tied"
    of tensors that differ is wrong. Raises TensorError where there is only one and nothing says that it is both.
    """
    for there, missing in ((_EMBEDDING, _HEAD), (_HEAD, _EMBEDDING)):
        if there in entries and missing not in entries:
            if said and said.tied:
                return {**entries, missing: entries[there]}
            if missing == _HEAD:
                raise TensorError(f"{path}: has no head.weight{_without_head(dialect)}")
    return entries


def _without_head(dialect: Dialect | None) -> str:
    if dialect is None:
        return "; give the whole file, or, if its head is the embedding, save it with head.weight, a copy of emb.weight"
    base, whole = dialect.classes
    return (
        f", as a base model ({base}) has none; give the whole model ({whole}), or, if its head is the embedding, put "
        '"tie_word_embeddings": true into config.json'
    )


def _adapter_alone(path: Path, rest: Mapping[str, Entry], halves: Halves) -> CheckpointError:
    check_supported(path, rest)
    first = halves.first.name
    if not halves.fits_rwkv():
        return CheckpointError(f"{path}: LoRA weights of another architecture ({first!r}); {SUPPORTED}")
    alpha = "" if halves.is_pefts else " --adapter-alpha ALPHA"
    return CheckpointError(
        f"{path}: LoRA weights alone ({first!r}), an adapter; merge it onto the model that it was trained on with "
        f"`rrwkv export MODEL --adapter {path.name}{alpha}`"
    )
