"""What an earlier `rrwkv demo` left, and whether it is what one would make now: then it need not be made again."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import linears
from rrwkv_export.bundle import TARGETS, compute_model_id, versions
from rrwkv_export.checkpoint import Checkpoint
from rrwkv_export.quantize.recipe import Recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.manifest import Manifest, file_sha256, verify_files


def exported(bundle: Path, checkpoint: Checkpoint) -> Manifest | None:
    """The bundle, if it is a verified export of the checkpoint by these versions with every file as written."""
    with suppress(RRWKVError):
        there = Manifest.load(bundle)
        graphs = {name: entry.dtype for name, entry in there.graphs.items()}
        made_so = (
            graphs == dict.fromkeys(TARGETS["cpu"], "float32")
            and there.provenance.get("versions") == versions()
            and bool(there.parity and there.parity["passed"])
            and there.quantization is None
            and there.chat == checkpoint.chat
            and _same_tokenizer(there, checkpoint)
            and there.model_id == compute_model_id(checkpoint.config, checkpoint.weights.array)
        )
        if made_so:
            verify_files(bundle, there)
            return there
    return None


def quantized(bundle: Path, source: Path, recipe: Recipe, calibration: Calibration) -> Manifest | None:
    """The bundle, if it is exactly that one, quantized by the recipe on that text by these versions, and whole."""
    with suppress(RRWKVError):
        there, given = Manifest.load(bundle), Manifest.load(source)
        wanted = {
            "scheme": recipe.scheme,
            **recipe.resolved(linears(ModelConfig.from_json(given.config))),
            "calibration": calibration.to_json(),
            "source": given.bundle_id,
            "versions": versions(),
        }
        if there.model_id == given.model_id and _has(there.quantization, wanted):
            verify_files(bundle, there)
            return there
    return None


def is_ours(bundle: Path, checkpoint: Checkpoint) -> bool:
    """Whether a folder holds the demo, damaged or of other versions: one may replace it."""
    with suppress(RRWKVError):
        return Manifest.load(bundle).model_id == compute_model_id(checkpoint.config, checkpoint.weights.array)
    # Its manifest is damaged; no other model has this tokenizer.
    tokenizer = bundle / "tokenizer.json"
    with suppress(OSError):
        return checkpoint.tokenizer is not None and file_sha256(tokenizer) == file_sha256(checkpoint.tokenizer.path)
    return False


def discard_remains(folder: Path, marker: str, names: frozenset[str]) -> None:
    """Of something that the demo made: without its marker nothing tells what it was, and nothing may replace it.

    Only where the folder holds nothing but what such a thing may hold.
    """
    if folder.is_symlink() or not folder.is_dir() or (folder / marker).is_file():
        return
    if {path.name for path in folder.iterdir()} <= names:
        rmtree(folder)


def _same_tokenizer(there: Manifest, checkpoint: Checkpoint) -> bool:
    entry, given = there.tokenizer, checkpoint.tokenizer
    if entry is None or given is None:
        return entry is None and given is None
    hashes = {file.name: file.sha256 for file in there.files}
    return entry.type == given.type and hashes.get(entry.file) == file_sha256(given.path)


def _has(said: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    """Whether a manifest says all this, as JSON has it."""
    plain: dict[str, Any] = json.loads(json.dumps(wanted))
    return said is not None and all(said.get(name) == value for name, value in plain.items())
