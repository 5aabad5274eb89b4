"""Adapters, merged onto the checkpoint that they were trained on: one weight at a time, when it is read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rrwkv_export.checkpoint import huggingface
from rrwkv_export.checkpoint.adapters.lora import Delta, Halves, Pair, delta, rank, split_halves
from rrwkv_export.checkpoint.adapters.peft import PeftConfig
from rrwkv_export.checkpoint.containers.entries import Entry, Source
from rrwkv_export.checkpoint.containers.shards import read_file
from rrwkv_export.checkpoint.containers.wrappers import unwrapped
from rrwkv_export.checkpoint.folders import ADAPTER_CONFIG
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError

_PEFT_FILES = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True)
class AdapterFile:
    """An adapter as it lies there. rest: whole tensors that take the place of the base's (LayerNorms, time-mixes)."""

    path: Path
    files: tuple[Path, ...]
    halves: Halves
    rest: Mapping[str, Entry]
    config: PeftConfig | None

    @property
    def says_alpha(self) -> bool:
        return self.config is not None and self.config.alpha is not None


@dataclass(frozen=True)
class Adapter:
    """What was merged. files: all that was read. alpha: of those pairs that have none of their own in alpha_pattern."""

    path: Path
    files: tuple[Path, ...]
    alpha: float


def read_adapter(path: Path) -> AdapterFile:
    """A PEFT folder, or one file of LoRA weights. Raises CheckpointError or ConfigError."""
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or directory; give an adapter's path")
    weights = _weights_in(path) if path.is_dir() else path
    if not weights.is_file():
        raise CheckpointError(f"{path}: neither a file nor a folder; save the adapter to a file, and give that")
    found = read_file(weights, wanted="adapter")
    config = _config_beside(weights) if any(name.startswith("base_model.") for name in found) else None
    rest, halves = split_halves(weights, unwrapped(weights, found))
    if not halves.pairs:
        raise CheckpointError(f"{path}: holds no LoRA weights; a whole checkpoint is exported without --adapter")
    return AdapterFile(path, (weights, config.path) if config else (weights,), halves, rest, config)


def own_adapter(source: Source, halves: Halves) -> list[AdapterFile]:
    """The pairs that stand unmerged in the checkpoint's own files, which are hashed with it."""
    if not halves.pairs:
        return []
    config = _config_beside(source.path) if halves.is_pefts else None
    return [AdapterFile(source.path, (config.path,) if config else (), halves, {}, config)]


def _config_beside(weights: Path) -> PeftConfig | None:
    path = weights.with_name(ADAPTER_CONFIG)
    return PeftConfig.load(path) if path.is_file() else None


def merge(
    source: Source, adapters: Sequence[AdapterFile], alphas: Sequence[float]
) -> tuple[Source, tuple[Adapter, ...]]:
    """The source with every adapter merged, one after the other. Raises CheckpointError or ConfigError.

    alphas: of those adapters that do not say theirs, in order; a single one is for all of them.
    """
    merged: list[Adapter] = []
    changed: set[str] = set()
    for adapter, alpha in zip(adapters, _assigned(adapters, alphas), strict=True):
        deltas, replaced = _deltas(source, adapter, alpha), _replaced(source, adapter)
        _check_tied(source, adapter, {*deltas, *replaced})
        if twice := changed & set(replaced):
            raise CheckpointError(
                f"{adapter.path}: replaces {min(twice)!r}, which an adapter before it changes; give only one of them"
            )
        changed |= {*deltas, *replaced}
        entries = {**source.entries, **replaced}
        entries |= {name: part.added_to(entries[name]) for name, part in deltas.items() if name in entries}
        source = dataclasses.replace(source, entries=entries)
        merged.append(Adapter(adapter.path, adapter.files, alpha))
    return source, tuple(merged)


def _weights_in(folder: Path) -> Path:
    for name in _PEFT_FILES:
        if (path := folder / name).is_file():
            return path
    raise CheckpointError(f"{folder}: has no {' or '.join(_PEFT_FILES)}; give the adapter's folder or its file")


def _assigned(adapters: Sequence[AdapterFile], alphas: Sequence[float]) -> list[float]:
    """alpha of each adapter, its own or the next that was given."""
    silent = [adapter for adapter in adapters if not adapter.says_alpha]
    if silent and not alphas:
        raise _no_alpha(silent[0])
    if alphas and not silent:
        raise ConfigError("--adapter-alpha is for LoRA weights that do not say theirs, and there are none; omit it")
    if len(alphas) not in (0, 1, len(silent)):
        raise ConfigError(
            f"--adapter-alpha was given {len(alphas)} times for {len(silent)} adapters that do not say theirs; "
            "give it once, or once for each"
        )
    if wrong := [alpha for alpha in alphas if not math.isfinite(alpha)]:
        raise ConfigError(f"--adapter-alpha {wrong[0]} is no number that LoRA weights are trained with; give theirs")
    given = iter(alphas if len(alphas) > 1 else [*alphas] * len(silent))
    return [_alpha(adapter.config) if adapter.says_alpha else next(given) for adapter in adapters]


def _no_alpha(adapter: AdapterFile) -> ConfigError:
    if adapter.config:
        return ConfigError(f"{adapter.config.path}: has no lora_alpha to merge with; give it with --adapter-alpha")
    wanted = "give the one that they were trained with as --adapter-alpha"
    if adapter.halves.is_pefts:
        wanted = f"put PEFT's {ADAPTER_CONFIG} beside it, or, if all have one rank and alpha, give --adapter-alpha"
    return ConfigError(f"{adapter.path}: LoRA weights to merge, and it does not say with which alpha; {wanted}")


def _alpha(config: PeftConfig | None) -> float:
    assert config is not None
    assert config.alpha is not None
    return config.alpha


def _deltas(source: Source, adapter: AdapterFile, alpha: float) -> dict[str, Delta]:
    made = {}
    for module, pair in adapter.halves.pairs.items():
        name = _known(source, adapter, f"{module}.weight", pair.a or pair.b)
        made[name] = delta(pair, name, source.entries[name].shape, _scale(adapter.config, module, pair, alpha))
    if not any(part.scale for part in made.values()):
        where = f"{adapter.config.path}: a lora_alpha" if adapter.config and adapter.says_alpha else "--adapter-alpha"
        raise ConfigError(f"{where} of 0 merges nothing; give the one that {adapter.path} was trained with")
    return made


def _scale(config: PeftConfig | None, module: str, pair: Pair, alpha: float) -> float:
    r = rank(pair)
    if r == 0:
        return 0.0  # refused by its shape
    if config is None:
        return alpha / r
    said = config.alpha_of(module)
    return (alpha if said is None else said) / (math.sqrt(r) if config.rank_stabilized else r)


def _replaced(source: Source, adapter: AdapterFile) -> dict[str, Entry]:
    return {_known(source, adapter, name, entry): entry for name, entry in adapter.rest.items()}


def _known(source: Source, adapter: AdapterFile, name: str, entry: Entry | None) -> str:
    """The canonical name of what an adapter changes."""
    assert entry is not None
    for ours in (name, *huggingface.canonical_names(name)):
        if ours in source.entries:
            return ours
    raise TensorError(
        f"{entry.file}: {entry.name!r} fits no weight of {source.path}; give the base that the adapter was trained on"
    )


def _check_tied(source: Source, adapter: AdapterFile, names: set[str]) -> None:
    """A pair on one of two tied tensors is ambiguous: in training it changes one, merged into the tensor both."""
    tied = source.entries.get("emb.weight") is source.entries.get("head.weight")
    if tied and (touched := sorted(names & {"emb.weight", "head.weight"})):
        raise CheckpointError(
            f"{adapter.path}: changes {touched[0]}, and embedding and head are one tensor in {source.path}; "
            "save the base with a head.weight of its own, a copy of the embedding, and merge onto that"
        )
