"""From a checkpoint to a verified bundle: reference first, then the graph, then the comparison, then the rename."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

from rrwkv_export import architectures
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.atomic import new_directory, require_space
from rrwkv_export.bundle import (
    TOKENIZER_FILES,
    GraphOptions,
    Target,
    compute_model_id,
    file_entries,
    replaceable,
    save_manifest,
    write_graph,
    write_manifest,
)
from rrwkv_export.checkpoint import Checkpoint, TokenizerFile
from rrwkv_export.checkpoint.beside.card import card_facts
from rrwkv_export.errors import CheckpointError
from rrwkv_export.graph import WeightsDtype, WKVForm
from rrwkv_export.graph.drawings import require_drawn
from rrwkv_export.graph.names import state_layout
from rrwkv_export.ort_format import write_ort
from rrwkv_export.progress import Progress
from rrwkv_export.verify import (
    KeyBound,
    Parity,
    Reference,
    compute_reference,
    cpu_reference,
    draw_sample,
    key_bound,
    verify,
)
from rrwkv_runtime.manifest import ChatFormat, Manifest, TokenizerEntry, most_state, resolve_inside


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

    wkv: "auto" takes the plain form where it is proven for every token (see `KeyBound`), else the stable one. dtype: of
    the stored matrices; compute is float32, except that target "cuda" multiplies float16 in float16. target: "mobile"
    adds graphs in fixed shapes, and with ort in onnxruntime's format too. rtol: largest error over the largest logit;
    by default what can be explained (see `default_tolerance`). tokens: how many to verify with. Raises CheckpointError,
    OutputError, ParityError.
    """
    config, load = checkpoint.config, checkpoint.weights.array
    require_drawn(config, target)
    forms = architectures.of(config).FORMS
    copies = 3 if target == "mobile" and ort else 1
    require_space(out, copies * config.parameters() * (4 if dtype == "float32" else 2))
    _require_states(config, forms[0], dtype)
    reference = reference_for(checkpoint, tokens, progress)
    options = GraphOptions(_wkv_form(wkv, target, reference.bound, forms), dtype, target)
    model_id = compute_model_id(config, load, progress)
    with new_directory(out, replaceable(out) if overwrite else None) as folder:
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


def _require_states(config: ModelConfig, form: WKVForm, dtype: WeightsDtype) -> None:
    """Readers of a manifest take no more of a bundle of its size. Raises CheckpointError."""
    states = sum(4 * math.prod(layout.shape) for layout in state_layout(config, form))
    most = most_state(config.parameters() * (4 if dtype == "float32" else 2))
    if states > most:
        raise CheckpointError(
            f"states of {states / 1e6:.0f} MB for {config.parameters():,} parameters are more than a bundle may have, "
            f"{most / 1e6:.0f} MB; give the model fewer slots for mediums"
        )


def _wkv_form(
    wkv: WKVForm | Literal["auto"], target: Target, bound: KeyBound | None, forms: Sequence[WKVForm]
) -> WKVForm:
    """Of all the bundle's graphs, as they share their states. Raises CheckpointError for a form that is not there, and
    for the plain form on a phone.
    """
    if len(forms) == 1:
        if wkv not in ("auto", *forms):
            raise CheckpointError(f"--wkv {wkv}: the states of this model have one form only; omit --wkv")
        return forms[0]
    if target == "mobile":
        if wkv == "plain":
            raise CheckpointError("--target mobile takes the stable wkv, as float16 engines hold no other; omit --wkv")
        return "stable"
    if wkv != "auto":
        return wkv
    return bound.form if bound else "stable"


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
    sample = draw_sample(config, tokenizer, _ends(manifest.chat), tokens)
    return verify(bundle, cpu_reference(bundle, sample), rtol, progress=progress, **where)


def reference_for(checkpoint: Checkpoint, tokens: int | None, progress: Progress | None = None) -> Reference:
    """What is right for the checkpoint's verification ids."""
    config, weights = checkpoint.config, checkpoint.weights
    sample = draw_sample(config, checkpoint.tokenizer, _ends(checkpoint.chat), tokens)
    if progress:
        progress("computing the reference", 0, 2)
    bound = key_bound(config, weights) if len(architectures.of(config).FORMS) > 1 else None
    if progress:
        progress("computing the reference", 1, 2)
    reference = compute_reference(config, weights, sample, bound)
    if progress:
        progress("computing the reference", 2, 2)
    return reference


def _ends(chat: ChatFormat) -> list[int]:
    """The tokens that end and begin a text."""
    return [*sorted(chat.eos_token_ids), *([] if chat.bos_token_id is None else [chat.bos_token_id])]


def _copy_tokenizer(folder: Path, tokenizer: TokenizerFile | None) -> TokenizerEntry | None:
    if tokenizer is None:
        return None
    name = TOKENIZER_FILES[tokenizer.type]
    (folder / name).write_bytes(tokenizer.content)
    return TokenizerEntry(tokenizer.type, name)


def _provenance(checkpoint: Checkpoint, progress: Progress | None) -> dict[str, object]:
    files = [asdict(entry) for entry in file_entries(checkpoint.files, "hashing the checkpoint", progress)]
    dtypes = sorted({checkpoint.weights.dtype(name) for name in checkpoint.weights})
    adapters = [
        {
            "alpha": one.alpha,
            "files": [asdict(entry) for entry in file_entries(one.files, "hashing adapters", progress)],
        }
        for one in checkpoint.adapters
    ]
    return {
        "format": checkpoint.format,
        "dtypes": dtypes,
        "files": files,
        **({"adapters": adapters} if adapters else {}),
    }
