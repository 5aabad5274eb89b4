"""What goes into a bundle's folder: graphs, weights, manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, cast

import onnx
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.errors import ExportError
from rrwkv_export.graph import CHUNKED_TOKENS, OPSET, Over, StateLayout, WeightsDtype, WKVForm, build, state_layout
from rrwkv_export.graph.fixed_shape.graph import build_fixed_shape
from rrwkv_export.graph.fixed_shape.parts import fixed_shape, fixed_shape_graphs
from rrwkv_export.graph.names import MADE_AT_END, READ_ONLY, WKV, taken_at_end
from rrwkv_export.onnx.about import Facts, describe
from rrwkv_export.onnx.scope import LoadArray
from rrwkv_export.progress import Progress
from rrwkv_runtime.bundle.canonical import canonical_json
from rrwkv_runtime.bundle.graph_entry import GraphEntry, Runs
from rrwkv_runtime.bundle.state_spec import StateSpec
from rrwkv_runtime.common.atomic import new_file
from rrwkv_runtime.common.reading import read_json
from rrwkv_runtime.errors import DamagedBundle, RRWKVError
from rrwkv_runtime.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    ChatFormat,
    FileEntry,
    Manifest,
    TokenizerEntry,
    compute_bundle_id,
    file_sha256,
)

GRAPH_FILE, DATA_FILE = "model.onnx", "model.onnx.data"
DECODE_FILE, SEGMENT_END_FILE = "decode.onnx", "segment_end.onnx"
VARIANTS, VARIANTS_DATA, MOBILE = "variants", "variants.onnx.data", "mobile"
Target = Literal["cpu", "cuda", "mobile"]
# target -> graph's name -> (file, most tokens of a run, how it runs over them), main first. All share DATA_FILE.
# "mobile" has those of VARIANTS besides, in fixed shapes.
_Parts = dict[str, tuple[str, int, Over]]
_ON_CPU: _Parts = {
    "main": (GRAPH_FILE, 256, "loop"),
    "decode": (DECODE_FILE, 1, "decode_cpu"),
    "segment_end": (SEGMENT_END_FILE, 1, "segment_end"),
}
TARGETS: dict[str, _Parts] = {
    "cpu": _ON_CPU,
    "cuda": {"main": (GRAPH_FILE, CHUNKED_TOKENS, "chunked"), "decode": (DECODE_FILE, 1, "decode_gpu")},
    "mobile": _ON_CPU,
}
_RUNS: dict[Over, Runs] = {
    "loop": "any",
    "chunked": "any",
    "decode_cpu": "one",
    "decode_gpu": "one",
    "segment_end": "none",
}
TOKENIZER_FILES = {"tokenizer.json": "tokenizer.json", "rwkv-world": "rwkv_vocab.txt"}
# All files that an export may write, and so may replace.
FILES = frozenset(
    {MANIFEST_NAME, DATA_FILE, VARIANTS, VARIANTS_DATA, *TOKENIZER_FILES.values()}
    | {file for graphs in TARGETS.values() for file, _, _ in graphs.values()}
)
# What is large is in the data file, once for all graphs; matrices begin on pages, so that a runtime can map them.
_EXTERNAL_FROM_BYTES, _PAGE, _ALIGNED_FROM_BYTES = 1024, 4096, 2**16
_PACKAGES = ("rrwkv-export", "onnx", "onnx-ir", "onnxruntime", "torch", "numpy")


@dataclass(frozen=True)
class GraphOptions:
    """How the graph is built."""

    wkv: WKVForm
    dtype: WeightsDtype = "float32"
    target: Target = "cpu"

    def graphs(self, config: ModelConfig) -> dict[str, GraphEntry]:
        """Which graphs the bundle has, and what the manifest says of each: all that writes them goes by this."""
        parts = TARGETS[self.target].items()
        found = {name: self._entry(config, *part) for name, part in parts if config.medium or part[2] != "segment_end"}
        if self.target == "mobile":
            for name, tokens in fixed_shape_graphs(config).items():
                file, shape = f"{VARIANTS}/{name}.onnx", fixed_shape(config, tokens)
                entry = GraphEntry(file, (DATA_FILE,), "fixed", tokens, self.dtype, OPSET, "fixed_shape")
                found[name] = replace(entry, variant=MOBILE, fixed_shape=shape)
        return found

    def _entry(self, config: ModelConfig, file: str, chunk: int, over: Over) -> GraphEntry:
        entry = GraphEntry(file, (DATA_FILE,), _RUNS[over], chunk, self.dtype, OPSET, over)
        if config.medium and over == "decode_cpu":
            return replace(entry, reads=READ_ONLY)
        if config.medium and over == "segment_end":
            taken = tuple(name for name in taken_at_end(config) if name not in MADE_AT_END)
            counts = config.medium.counted if config.medium.adaptive else ""
            return replace(entry, reads=taken, updates=MADE_AT_END, after_every=config.medium.unit, counts=counts)
        return entry


def write_graph(
    folder: Path,
    config: ModelConfig,
    load: LoadArray,
    options: GraphOptions,
    progress: Progress | None = None,
    facts: Facts | None = None,
) -> None:
    """The target's graphs and model.onnx.data, one weight at a time; checked with full shape inference.

    facts: what the graphs' files say of the model (see `rrwkv_export.onnx.about`), besides what they know themselves.
    """
    graphs, matrices = options.graphs(config), dict[str, ir.TensorProtocol]()
    half = options.target == "cuda" and options.dtype == "float16"
    for name, entry in graphs.items():
        if entry.fixed_shape:
            (folder / VARIANTS).mkdir(exist_ok=True)
            made = build_fixed_shape(config, load, entry.fixed_shape.tokens, options.dtype, matrices=matrices)
            save_variant(made, folder, name)
            continue
        over = cast(Over, entry.over)
        made = build(config, load, options.wkv, options.dtype, over, half_matmuls=half, matrices=matrices)
        if entry.file == GRAPH_FILE:  # the first: the others refer to its weights
            _save(made, folder, progress)
            _check_graph(folder / GRAPH_FILE)
            matrices = _external_tensors(folder / GRAPH_FILE)
        else:
            save_beside(made, folder / entry.file)
    describe_graphs(folder, config, graphs, {"target": options.target, "wkv": options.wkv, **(facts or {})})


def describe_graphs(folder: Path, config: ModelConfig, graphs: Mapping[str, GraphEntry], facts: Facts) -> None:
    """What they are, written into the graphs' files."""
    for name, entry in graphs.items():
        describe(folder / entry.file, name, entry, config, facts)


def save_variant(model: ir.Model, folder: Path, name: str) -> None:
    """A graph whose weights lie in the bundle's folder, in VARIANTS; checked beside them, as the checker wants it."""
    beside = folder / f"{name}.onnx"
    save_beside(model, beside)
    beside.rename(folder / VARIANTS / beside.name)


def save_with_weights(model: ir.Model, folder: Path, progress: Progress | None = None) -> None:
    """A graph and its weights as model.onnx and model.onnx.data, checked with full shape inference."""
    # Floats first: bytes of any number may follow them, and would leave them off their natural alignment.
    model.graph.sort()
    weights = sorted(model.graph.initializers.values(), key=lambda value: -_itemsize(value))
    model.graph.initializers.clear()
    for value in weights:
        model.graph.register_initializer(value)
    _save(model, folder, progress)
    _check_graph(folder / GRAPH_FILE)


def save_beside(model: ir.Model, path: Path) -> None:
    """A graph whose large weights are all in the data file already, which lies beside it."""
    _drop_unused(model)
    ir.save(model, path)
    _check_graph(path)


def _save(model: ir.Model, folder: Path, progress: Progress | None) -> None:
    _drop_unused(model)

    def written(_: ir.TensorProtocol, info: ir.external_data.CallbackInfo) -> None:
        if progress:
            progress("writing weights", info.index + 1, info.total)

    try:
        ir.save(
            model,
            folder / GRAPH_FILE,
            external_data=DATA_FILE,
            size_threshold_bytes=_EXTERNAL_FROM_BYTES,
            alignment=_PAGE,
            align_threshold=_ALIGNED_FROM_BYTES,
            callback=written,
        )
    except ir.serde.SerdeError as error:  # onnx-ir's wrapping of what reading a small weight raised
        raise _innermost(error) from None
    if not (folder / DATA_FILE).exists():  # a model so small that the graph file holds it all
        (folder / DATA_FILE).touch()


def _drop_unused(model: ir.Model) -> None:
    """Initializers that no node reads: constants made for what another form of the graph computes."""
    weights = model.graph.initializers
    for name in [name for name, value in weights.items() if not (value.uses() or value.is_graph_output())]:
        del weights[name]


def _itemsize(value: ir.Value) -> float:
    return value.const_value.dtype.itemsize if value.const_value else 0


def _external_tensors(path: Path) -> dict[str, ir.TensorProtocol]:
    """The matrices that a saved graph keeps in its data file, for other graphs to refer to."""
    values = ir.load(path).graph.initializers.items()
    return {name: v.const_value for name, v in values if isinstance(v.const_value, ir.ExternalTensor)}


def _innermost(error: BaseException) -> BaseException:
    return _innermost(error.__cause__) if error.__cause__ else error


def _check_graph(path: Path) -> None:
    # In a function's body no types are said, and ONNX infers none past the operators that only onnxruntime knows.
    functions = onnx.load(str(path), load_external_data=False).functions
    inferable = not any(node.domain == "com.microsoft" for function in functions for node in function.node)
    try:
        onnx.checker.check_model(str(path), full_check=inferable)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        first = str(error).strip().splitlines()[0]
        raise ExportError(
            f"the exported graph is not valid ONNX ({first}); please report this with the config"
        ) from None


def write_manifest(
    folder: Path,
    config: ModelConfig,
    options: GraphOptions,
    *,
    model_id: str,
    tokenizer: TokenizerEntry | None,
    chat: ChatFormat,
    provenance: Mapping[str, Any],
    progress: Progress | None = None,
) -> Manifest:
    """Write manifest.json for the files that are in the folder, and give it back as a runtime reads it."""
    files = bundle_files(folder)
    fields: dict[str, Any] = {
        "format": "rrwkv-bundle",
        "format_version": FORMAT_VERSION,
        "bundle_id": "",
        "model_id": model_id,
        "config": config.to_json(),
        "parameters": config.parameters(),
        "graphs": {name: asdict(entry) for name, entry in options.graphs(config).items()},
        "states": [asdict(_state_spec(layout, options.wkv)) for layout in state_layout(config, options.wkv)],
        "tokenizer": asdict(tokenizer) if tokenizer else None,
        "chat": chat.to_json(),
        "quantization": None,
        "provenance": {**provenance, "versions": versions()},
        "parity": None,
        "files": [asdict(entry) for entry in file_entries(files, "hashing the bundle", progress, folder)],
    }
    return save_manifest(folder, fields)


def _state_spec(layout: StateLayout, form: WKVForm) -> StateSpec:
    """The graphs' names of states are those of their roles."""
    spec = StateSpec(layout.name, layout.output, layout.name, layout.shape, layout.dtype, layout.init)
    return replace(spec, form=form) if layout.name == WKV else spec


def bundle_files(folder: Path) -> list[Path]:
    """All files of a bundle but its manifest."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST_NAME)


def file_entries(
    files: Sequence[Path], what: str, progress: Progress | None = None, folder: Path | None = None
) -> list[FileEntry]:
    """Name, size and sha256 of each file; names are relative to the folder, if one is given."""
    done, total = 0, sum(path.stat().st_size for path in files)

    def read(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(what, done, total)

    def name(path: Path) -> str:
        return path.relative_to(folder).as_posix() if folder else path.name

    return [FileEntry(name(path), path.stat().st_size, file_sha256(path, read)) for path in files]


def replaceable(target: Path) -> frozenset[str]:
    """What of a bundle at the target may be replaced: what an export writes, and what that bundle itself lists.

    A format of another version has other names.
    """
    with suppress(RRWKVError, AttributeError, TypeError, KeyError):
        listed = read_json(target / MANIFEST_NAME, DamagedBundle)["files"]
        return FILES | {str(entry["name"]).partition("/")[0] for entry in listed}
    return FILES


def save_manifest(folder: Path, fields: Mapping[str, Any]) -> Manifest:
    """Set the bundle id, check against the schema, and replace manifest.json in one step."""
    plain = json.loads(json.dumps(fields))
    plain["bundle_id"] = compute_bundle_id(plain)
    manifest = Manifest.from_json(plain)
    with new_file(folder / MANIFEST_NAME) as path:
        path.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def versions() -> dict[str, str]:
    """Versions of the packages that had a hand in the bundle."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def compute_model_id(config: ModelConfig, load: LoadArray, progress: Progress | None = None) -> str:
    """sha256 of the config and of every weight as float32 by canonical name, so that no file format changes it."""
    digest = hashlib.sha256(canonical_json(config.to_json()))
    shapes = config.shapes()
    for index, name in enumerate(shapes):
        digest.update(f"{name}\n".encode())
        digest.update(load(name).data)
        if progress:
            progress("reading weights", index + 1, len(shapes))
    return digest.hexdigest()
