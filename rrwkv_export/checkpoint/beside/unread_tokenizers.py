"""What lies beside a checkpoint without a tokenizer and looks like one, so that nobody wonders why it is not used."""

from __future__ import annotations

import re
from pathlib import Path

from rrwkv_export.checkpoint.beside.tokenizer import read_tokenizer, save_as_json, usually
from rrwkv_export.checkpoint.beside.world import SETTINGS, SIZES, is_worlds, named_tokenizer
from rrwkv_export.errors import CheckpointError
from rrwkv_runtime.text.world_vocabulary import ORIGINAL

_JSON = re.compile(r".*tokenizer.*\.json", re.IGNORECASE)
_OTHERS = re.compile(
    r".*\.(model|tiktoken|spm)|vocab\.json|merges\.txt|spiece\..*|.*vocab.*\.(txt|json)", re.IGNORECASE
)


def unread_tokenizers(folder: Path, vocab_size: int) -> tuple[str, ...]:
    """At most one line: what looks like a tokenizer in a folder that `find_tokenizer` found none in, and what to do; or
    which tokenizer models of so many tokens have."""
    usual = usually(vocab_size)
    missing = (f"no tokenizer is beside the weights, and the bundle works on token ids; {usual}",) if usual else ()
    if vocab_size in SIZES:  # whatever else lies in a folder of downloads, such as older models' tokenizer
        return missing
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    for name in names:
        if _JSON.fullmatch(name) and name != SETTINGS and _is_tokenizer(folder / name):
            return (
                f"{folder / name} is not read, as it may be another model's, and the bundle works on token ids; if it "
                f"is this model's: --tokenizer {folder / name}",
            )
    named = named_tokenizer(folder)
    if is_worlds(named):
        return (
            f"{folder / SETTINGS} names {named!r}, whose vocabulary is not in the folder or not whole; without it the "
            f"bundle works on token ids. Give it with --tokenizer {ORIGINAL}",
        )
    files = [name for name in names if _OTHERS.fullmatch(name)]
    if files:
        return (
            f"{', '.join(files[:4])} in {folder}: not read, and the bundle works on token ids; {save_as_json(folder)}",
        )
    if named:
        return (
            f"{folder / SETTINGS} names {named!r}, but its tokenizer.json is not there, and the bundle works on token "
            "ids; put it there, or give it with --tokenizer",
        )
    return missing


def _is_tokenizer(path: Path) -> bool:
    try:
        read_tokenizer(path)
    except CheckpointError:
        return False
    return True
