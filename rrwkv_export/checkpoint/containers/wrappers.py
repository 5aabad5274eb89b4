"""What training puts around a model's names (DDP's `module.`, torch.compile's `_orig_mod.`), taken off whole files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from rrwkv_export.checkpoint.containers.entries import Entry
from rrwkv_export.errors import CheckpointError

# No weight has these in its name; they may stand anywhere, as any part of a model can be wrapped.
_ANYWHERE = {"_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer"}
# The first components of a model's own names, BlinkDL's and Hugging Face's; `rwkv` only of the latter.
_OWN = {"emb", "blocks", "ln_out", "head", "embeddings", "layers", "lm_head"}
_DEEPEST = 16  # wrappers around a model
_HUGGING_FACES = re.compile(r"(^|\.)rwkv\.(embeddings|blocks\.\d+\.(attention|feed_forward|pre_ln))(\.|$)")


def unwrapped(path: Path, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The tensors by the names that the model itself has for them; an Entry keeps its file's.

    A prefix is taken off where every tensor of the checkpoint has it, and nowhere else. Raises CheckpointError for two
    models in one file, and for a model beside something else.
    """
    bare: dict[str, Entry] = {}
    for name, entry in entries.items():
        short = ".".join(part for part in name.split(".") if part not in _ANYWHERE)
        if short in bare:
            raise CheckpointError(f"{path}: has both {bare[short].name!r} and {name!r}; save one model alone")
        bare[short] = entry
    prefix = _common_prefix(list(bare))
    bare = {name[len(prefix) :]: entry for name, entry in bare.items()}
    _check_one_model(path, bare)
    return bare


def _common_prefix(names: list[str]) -> str:
    """The leading components, with their dots, that every name has before the model's own; of no other model's."""
    if not names:
        return ""
    own = _OWN | {"rwkv"} if any(_HUGGING_FACES.search(name) for name in names) else _OWN
    length, first = 0, names[0].split(".")
    while length < min(len(first) - 1, _DEEPEST) and first[length] not in own:
        start = ".".join(first[: length + 1]) + "."
        if not all(name.startswith(start) for name in names):
            break
        length += 1
    prefix = "".join(f"{part}." for part in first[:length])
    return prefix if any(name[len(prefix) :].split(".")[0] in own for name in names) else ""


def _check_one_model(path: Path, entries: Mapping[str, Entry]) -> None:
    """Raises CheckpointError where some of a model's names have a prefix that other tensors of the file have not."""
    starts: dict[str, str] = {}
    for name in entries:
        if found := re.match(r"((?:[^.]+\.)*?)(?:rwkv\.)?blocks\.\d+\.(?:att|ffn|attention|feed_forward|ln1)\.", name):
            starts.setdefault(found[1], name)
    prefixes = sorted(starts)
    if len(prefixes) > 1:
        first, second = (entries[starts[prefix]].name for prefix in prefixes[:2])
        raise CheckpointError(f"{path}: holds two models, as {first!r} and {second!r} show; save one of them alone")
    if prefixes and prefixes[0]:
        other = next(entry.name for name, entry in entries.items() if not name.startswith(prefixes[0]))
        raise CheckpointError(
            f"{path}: {other!r} stands beside a model whose names begin with {prefixes[0]!r}; save that model alone, "
            "with torch.save(model.state_dict(), path)"
        )
