"""From a checkpoint to a verified bundle: reference first, then the graph, then the comparison, then the rename."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from rrwkv_export.bundle import (
    FILES,
    TOKENIZER_FILES,
    GraphOptions,
    Target,
    compute_model_id,
    file_entries,
    save_manifest,
    write_graph,
    write_manifest,
)
from rrwkv_export.checkpoint import Checkpoint, TokenizerFile
from rrwkv_export.checkpoint.card import card_facts
from rrwkv_export.config import ModelConfig
from rrwkv_export.errors import CheckpointError
from rrwkv_export.graph import WeightsDtype, WKVForm
from rrwkv_export.graph.verify import Parity, Reference, compute_reference, cpu_reference, verification_length, verify
from rrwkv_export.ort_format import write_ort
from rrwkv_export.output import new_directory, require_space
from rrwkv_export.progress import Progress
from rrwkv_runtime.manifest import Manifest, TokenizerEntry, resolve_inside
from rrwkv_runtime.text import open_tokenizer


def export(
    checkpoint: Checkpoint,
    out: Path,
    *,
    wkv: WKVForm | Literal["auto"] = "auto",
    dtype: WeightsDtype = "float32",
    target: Target = "cpu",
    ort: bool = True,
    rtol: float | None = None,
    tokens: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[Manifest, Parity]:
    """Write a bundle for a checkpoint, verified; nothing is left behind if anything fails.

    wkv: "auto" takes the plain form where the keys seen in verification allow it, else the stable one. dtype: of the
    stored matrices; compute is float32, except that target "cuda" multiplies float16 in float16. target: "mobile" adds
    graphs in static shapes, and with ort in onnxruntime's format too. rtol: largest error
    over the largest logit (see DEFAULT_RTOL). tokens: how many to verify with. Raises CheckpointError, OutputError,
    ParityError.
    """
    config, load = checkpoint.config, checkpoint.weights.array
    copies = 3 if target == "mobile" and ort else 1
    require_space(out, copies * config.parameters() * (4 if dtype == "float32" else 2))
    reference = reference_for(checkpoint, tokens, progress)
    options = GraphOptions(_wkv_form(wkv, target, reference), dtype, target)
    model_id = compute_model_id(config, load, progress)
    with new_directory(out, FILES if overwrite else None) as folder:
        write_graph(folder, config, load, options, progress, {"model_id": model_id, **card_facts(checkpoint.path)})
        if target == "mobile" and ort:
            write_ort(folder)
        manifest = write_manifest(
            folder,
            config,
            options,
            model_id=model_id,
            tokenizer=_copy_tokenizer(folder, checkpoint.tokenizer),
            chat=checkpoint.chat,
            provenance={"checkpoint": _provenance(checkpoint, progress)},
            progress=progress,
        )
        parity = verify(folder, reference, rtol, progress=progress)
        parity.require()
        manifest = save_manifest(folder, {**manifest.to_json(), "parity": parity.to_json()})
    return manifest, parity


def _wkv_form(wkv: WKVForm | Literal["auto"], target: Target, reference: Reference) -> WKVForm:
    """Of all the bundle's graphs, as they share their states. Raises CheckpointError for the plain form on a phone."""
    if target == "mobile":
        if wkv == "plain":
            raise CheckpointError("--target mobile takes the stable wkv, as float16 engines hold no other; omit --wkv")
        return "stable"
    return reference.wkv_form if wkv == "auto" else wkv


def verify_against(
    bundle: Path,
    checkpoint: Checkpoint,
    *,
    rtol: float | None = None,
    tokens: int | None = None,
    progress: Progress | None = None,
    **where: Any,
) -> Parity:
    """Compare a bundle with a checkpoint again; it is not changed.

    where: provider, provider_options and strict, of `Model.load`. Raises BundleError, CheckpointError, ProviderError.
    """
    manifest = Manifest.load(bundle)
    if manifest.quantization is not None:
        raise CheckpointError(
            f"{bundle}: quantized, so not what the checkpoint computes; measure it with `rrwkv report`"
        )
    if manifest.config != checkpoint.config.to_json():
        raise CheckpointError(f"{checkpoint.path}: its config is not the one that {bundle} was exported from")
    return verify(bundle, reference_for(checkpoint, tokens, progress), rtol, progress=progress, **where)


def verify_against_cpu(
    bundle: Path,
    *,
    rtol: float | None = None,
    tokens: int | None = None,
    progress: Progress | None = None,
    **where: Any,
) -> Parity:
    """Compare what a bundle, quantized or not, gives on a provider with what it gives on the CPU; as verify_against."""
    manifest = Manifest.load(bundle)
    entry, config = manifest.tokenizer, ModelConfig.from_json(manifest.config)
    tokenizer = TokenizerFile(cast(Any, entry.type), resolve_inside(bundle, entry.file)) if entry else None
    ids = verification_ids(config, tokenizer, tokens)
    return verify(bundle, cpu_reference(bundle, ids), rtol, progress=progress, **where)


def reference_for(checkpoint: Checkpoint, tokens: int | None, progress: Progress | None = None) -> Reference:
    """The reference's answer for the checkpoint's verification text."""
    if progress:
        progress("computing the reference", 0, 1)
    ids = verification_ids(checkpoint.config, checkpoint.tokenizer, tokens)
    reference = compute_reference(checkpoint.config, checkpoint.weights, ids)
    if progress:
        progress("computing the reference", 1, 1)
    return reference


def verification_ids(config: ModelConfig, tokenizer: TokenizerFile | None, tokens: int | None = None) -> list[int]:
    """Real text where there is a tokenizer, random ids after it and where there is none; always the same ones."""
    length = tokens or verification_length(config)
    ids = _sample_ids(config, tokenizer) if tokenizer else []
    random = np.random.default_rng(0).integers(0, config.vocab_size, length)
    return [*ids[:length], *(int(i) for i in random[len(ids[:length]) :])]


def _sample_ids(config: ModelConfig, tokenizer: TokenizerFile) -> Sequence[int]:
    text = resources.files("rrwkv_export").joinpath("assets/sample.txt").read_text(encoding="utf-8")
    ids = open_tokenizer(tokenizer.type, tokenizer.path).encode(text)
    return ids if all(i < config.vocab_size for i in ids) else []


def _copy_tokenizer(folder: Path, tokenizer: TokenizerFile | None) -> TokenizerEntry | None:
    if tokenizer is None:
        return None
    name = TOKENIZER_FILES[tokenizer.type]
    shutil.copyfile(tokenizer.path, folder / name)
    return TokenizerEntry(tokenizer.type, name)


def _provenance(checkpoint: Checkpoint, progress: Progress | None) -> dict[str, object]:
    files = [asdict(entry) for entry in file_entries(checkpoint.files, "hashing the checkpoint", progress)]
    dtypes = sorted({checkpoint.weights.dtype(name) for name in checkpoint.weights})
    return {"format": checkpoint.format, "dtypes": dtypes, "files": files}
