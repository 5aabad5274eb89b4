"""What the names and shapes of tensors say: which version of RWKV they are, and a plain RWKV-4's sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.checkpoint.containers.entries import Entry, brackets
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError

SUPPORTED = "RWKV-4 and RRWKV are what is supported"
# In order: a later version keeps names of the earlier ones.
_SIGNS = (
    ("RWKV-7", re.compile(r"\.(att|attn|attention)\.(x_[rwkvag]|[wav]0|r_k|k_k)$")),
    ("RWKV-6", re.compile(r"\.time_maa_\w+$")),
    ("RWKV-5.2", re.compile(r"\.time_faaaa$")),
    ("RWKV-5.1", re.compile(r"\.(att|attention)\.gate\.weight$")),
    ("RWKV-5", re.compile(r"\.(att|attention)\.ln_x\.weight$")),
)


def check_version(path: Path, entries: Mapping[str, Entry]) -> None:
    """Raises CheckpointError, naming the version and the tensor that shows it, for what is no RWKV-4 or RRWKV."""
    for version, sign in _SIGNS:
        for name, entry in entries.items():
            if sign.search(name):
                raise CheckpointError(f"{path}: an {version} checkpoint (it has {entry.name!r}); {SUPPORTED}")
    for name, entry in entries.items():
        if re.search(r"\.time_(decay|first)$", name) and len(entry.shape) == 2 and entry.shape[1] > 1:
            shape = brackets(entry.shape)
            raise CheckpointError(f"{path}: an RWKV-5 checkpoint ({entry.name!r} is {shape}); {SUPPORTED}")


def check_names(path: Path, entries: Mapping[str, Entry]) -> None:
    """By canonical names. Raises CheckpointError for another version of RWKV, and for what is no RWKV at all."""
    check_version(path, entries)
    if "emb.weight" not in entries and not any(name.startswith("blocks.") for name in entries):
        first = f"it begins with {next(iter(entries.values())).name!r}" if entries else "it holds no tensor"
        raise CheckpointError(f"{path}: no RWKV checkpoint ({first}); {SUPPORTED}")
    if empty := next((entry for entry in entries.values() if 0 in entry.shape), None):
        raise TensorError(
            f"{path}: {empty.name!r} is empty, as where DeepSpeed (ZeRO-3) keeps weights elsewhere; "
            "join them with its zero_to_fp32.py, and give the result"
        )


def layers(names: Iterable[str]) -> set[int]:
    """The layers that any name belongs to."""
    return {int(found[1]) for name in names if (found := re.search(r"(?:^|\.)blocks\.(\d{1,7})\.", name))}


def has_mediums(entries: Mapping[str, Entry]) -> bool:
    return any(re.search(r"\.medium\.|\.medium_mix_", name) for name in entries)


def infer_config(path: Path, entries: Mapping[str, Entry]) -> ModelConfig:
    """A plain RWKV-4's sizes from its tensors. Raises TensorError or CheckpointError."""
    if has_mediums(entries):
        raise CheckpointError(
            f"{path}: has mediums, whose interval and slots it does not say; put its config.json beside it, "
            "or give it with --config"
        )
    vocab_size, hidden_size = _matrix(path, entries, "emb.weight")
    ffn_size, _ = _matrix(path, entries, "blocks.0.ffn.key.weight")
    attention_size, _ = _matrix(path, entries, "blocks.0.att.key.weight")
    try:
        return ModelConfig(vocab_size, hidden_size, len(layers(entries)), ffn_size, attention_size=attention_size)
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: its tensors have sizes that no model has ({error}); give a checkpoint of a trained model"
        ) from None


def _matrix(path: Path, entries: Mapping[str, Entry], name: str) -> tuple[int, int]:
    if name not in entries:
        raise TensorError(f"{path}: {name!r} is missing; give the whole file")
    shape = entries[name].shape
    if len(shape) != 2:
        raise TensorError(f"{path}: {name!r} is {brackets(shape)}, expected two dimensions; {SUPPORTED}")
    return shape[0], shape[1]
