"""The manifest: the contract between the exporter and every runtime, defined here and in its schema.

`docs/bundle-format.md` says the same to those who read bundles in another language.

A bundle is a directory with `manifest.json` and the files that it lists. `Manifest.load` refuses a manifest that breaks
the schema, is of a newer format, or whose own content was changed; `verify_files` refuses files that are not the ones
that were written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from io import FileIO
from pathlib import Path
from typing import Any

from rrwkv_runtime.bundle.canonical import canonical_json
from rrwkv_runtime.bundle.chat_format import ChatFormat as ChatFormat
from rrwkv_runtime.bundle.chat_format import Thinking as Thinking
from rrwkv_runtime.bundle.graph_entry import GraphEntry, Runs
from rrwkv_runtime.bundle.graph_file import LARGEST_GRAPH, check_graph
from rrwkv_runtime.bundle.schema import violations
from rrwkv_runtime.bundle.state_spec import StateSpec
from rrwkv_runtime.common.printable import is_writable
from rrwkv_runtime.common.reading import boundary, brief, read_json
from rrwkv_runtime.errors import BundleError, DamagedBundle, NewerFormat, OlderFormat

FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
POSITION, WKV = "position", "wkv"  # roles of states
_LARGEST_STATE = 2**32
_SMALL_STATE, _STATE_TO_FILES = 2**26, 4
_DECIDING = (
    *("format_version", "model_id", "config", "graphs", "states", "tokenizer", "chat"),
    *("quantization", "files"),
)
_MOST_LOGITS = 2**28  # of one run of a graph in fixed shapes


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of a manifest."""
    text = resources.files("rrwkv_runtime").joinpath("manifest.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle; `name` is relative to it."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class TokenizerEntry:
    """type: "tokenizer.json" (Hugging Face tokenizers) or "rwkv-world" (RWKV World vocabulary)."""

    type: str
    file: str


@dataclass(frozen=True)
class Manifest:
    """Everything a runtime needs to know about a bundle; see `manifest.schema.json` for each field."""

    bundle_id: str
    model_id: str
    config: dict[str, Any]
    parameters: int
    graphs: dict[str, GraphEntry]
    states: tuple[StateSpec, ...]
    tokenizer: TokenizerEntry | None
    chat: ChatFormat
    quantization: dict[str, Any] | None
    provenance: dict[str, Any]
    parity: dict[str, Any] | None
    files: tuple[FileEntry, ...]

    @property
    def vocab_size(self) -> int:
        return int(self.config["vocab_size"])

    @property
    def main(self) -> GraphEntry:
        """The graph that runs by default and takes any number of tokens."""
        return self.graphs[str(self.graph_that_runs("any"))]

    def graph_that_runs(self, runs: Runs, names: Iterable[str] | None = None) -> str | None:
        """The name of the one graph of these that does so; by default, of those that run by default."""
        among = self.of_variant(None) if names is None else names
        return next((name for name in among if self.graphs[name].runs == runs), None)

    def of_variant(self, variant: str | None) -> list[str]:
        """The names of a variant's graphs; None for those that run by default."""
        return [name for name, graph in self.graphs.items() if graph.variant == variant]

    @property
    def variants(self) -> list[str]:
        """What other graphs can be loaded by."""
        return sorted({graph.variant for graph in self.graphs.values() if graph.variant})

    def states_of(self, role: str) -> list[StateSpec]:
        """The states of a role; of most roles there is one, or none."""
        return [spec for spec in self.states if spec.role == role]

    @property
    def position(self) -> str:
        """The name of the state that counts the tokens seen."""
        return self.states_of(POSITION)[0].input

    @property
    def form(self) -> str | None:
        """The form in which the graphs carry wkv, if there are several."""
        return next((spec.form for spec in self.states_of(WKV)), None)

    def to_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        fields["chat"] = self.chat.to_json()
        return {"format": "rrwkv-bundle", "format_version": FORMAT_VERSION, **fields}

    @classmethod
    def from_json(cls, fields: Any) -> Manifest:
        """Raises NewerFormat or DamagedBundle, naming the field."""
        _check_format(fields)
        for violation in violations(fields, schema()):
            raise DamagedBundle(f"manifest.json: {violation}")
        if fields["bundle_id"] != compute_bundle_id(fields):
            raise DamagedBundle("manifest.json: its content does not match its bundle id; export the bundle again")
        tokenizer, chat = fields["tokenizer"], fields["chat"]
        states = tuple(map(StateSpec.from_json, fields["states"]))
        files = tuple(FileEntry(**entry) for entry in fields["files"])
        _check_states(states, sum(entry.bytes for entry in files))
        graphs = {name: GraphEntry.from_json(graph) for name, graph in fields["graphs"].items()}
        _check_graphs(graphs, states, fields["config"]["vocab_size"])
        return cls(
            bundle_id=fields["bundle_id"],
            model_id=fields["model_id"],
            config=fields["config"],
            parameters=fields["parameters"],
            graphs=graphs,
            states=states,
            tokenizer=None if tokenizer is None else TokenizerEntry(**tokenizer),
            chat=ChatFormat.from_json(chat),
            quantization=fields["quantization"],
            provenance=fields["provenance"],
            parity=fields["parity"],
            files=files,
        )

    @classmethod
    def load(cls, bundle: Path) -> Manifest:
        """Read `bundle/manifest.json` and check it. Raises BundleError."""
        path = bundle / MANIFEST_NAME
        if bundle.is_file():
            folder = next((f for f in bundle.absolute().parents if (f / MANIFEST_NAME).is_file()), None)
            remedy = (
                f"give the bundle's folder, {folder}"
                if folder
                else "a bundle is a folder; make one with `rrwkv export`"
            )
            raise BundleError(f"{bundle}: is a file; {remedy}")
        if not bundle.is_dir():
            raise BundleError(f"{bundle}: no such bundle directory")
        if not path.is_file():
            raise BundleError(f"{bundle}: not a bundle, it has no {MANIFEST_NAME}; make one with `rrwkv export`")
        if not is_writable(str(bundle.resolve())):
            raise BundleError(f"{bundle}: its path is not UTF-8, as onnxruntime wants it; rename what is not")
        fields = read_json(path, DamagedBundle)
        with boundary(DamagedBundle, f"{path}: not the manifest of a bundle"):
            return cls.from_json(fields)


def most_state(files: int) -> int:
    """Bytes of states that a bundle may have, by those of its files: more is nothing that a model is made for."""
    return min(_LARGEST_STATE, max(_SMALL_STATE, _STATE_TO_FILES * files))


def _check_states(states: Sequence[StateSpec], files: int) -> None:
    """Raises DamagedBundle. files: bytes of all files of the bundle."""
    size = sum(spec.nbytes for spec in states)
    if size > _LARGEST_STATE:
        raise DamagedBundle(f"manifest.json: states of {size} bytes are larger than any model's")
    if size > most_state(files):
        raise DamagedBundle(f"manifest.json: states of {size} bytes do not belong to a model of {files} bytes")
    positions = [(spec.dtype, spec.shape) for spec in states if spec.role == POSITION]
    if positions != [("int64", ())]:
        raise DamagedBundle(f"manifest.json: not one state has the role {POSITION!r}, a single int64")


def _check_graphs(graphs: Mapping[str, GraphEntry], states: Sequence[StateSpec], vocab_size: int) -> None:
    """Raises DamagedBundle."""
    by_name = {spec.input: spec for spec in states}
    for name, graph in graphs.items():
        graph.check(name, by_name)
        if graph.fixed_shape and graph.fixed_shape.tokens * vocab_size > _MOST_LOGITS:
            raise DamagedBundle(f"manifest.json: graph {name!r} has more logits than any model")
    found = Counter((graph.variant, graph.runs) for graph in graphs.values())
    for variant, runs in found:
        if variant is None and found[variant, runs] > 1:
            raise DamagedBundle(f"manifest.json: {found[variant, runs]} graphs run {runs!r}, and one is the most")
        if (variant is None) == (runs == "fixed"):
            which = "by default" if variant is None else f"as {variant!r}"
            raise DamagedBundle(f"manifest.json: no graph that runs {which} may run {runs!r}")
        if variant and not any(_is_of_one_token(graph) for graph in graphs.values() if graph.variant == variant):
            raise DamagedBundle(f"manifest.json: variant {variant!r} lacks a graph in fixed shapes for one token")
    if not found[None, "any"]:
        raise DamagedBundle("manifest.json: no graph runs 'any' number of tokens")


def _is_of_one_token(graph: GraphEntry) -> bool:
    return graph.fixed_shape is not None and graph.fixed_shape.tokens == graph.fixed_shape.align == 1


def _check_format(fields: Any) -> None:
    """A manifest of another version may break today's schema in any way, so its version is looked at first."""
    if not isinstance(fields, dict) or fields.get("format") != "rrwkv-bundle":
        raise BundleError("manifest.json: not the manifest of an rrwkv bundle")
    version = fields.get("format_version")
    if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT_VERSION:
        raise NewerFormat(
            f"manifest.json: bundle format {version} is newer than this runtime's, {FORMAT_VERSION}; upgrade it"
        )
    if isinstance(version, int) and not isinstance(version, bool) and 0 < version < FORMAT_VERSION:
        raise OlderFormat(
            f"manifest.json: bundle format {version} is older than this runtime's, {FORMAT_VERSION}; "
            "export its checkpoint again"
        )


def compute_bundle_id(fields: Mapping[str, Any]) -> str:
    """sha256 over the manifest's fields that decide what the bundle does, as RFC 8785 writes them; `files` brings every
    file's own sha256 in. Raises DamagedBundle.

    Provenance and parity are left out: measuring parity again must not make saved states useless.
    """
    try:
        return hashlib.sha256(canonical_json({name: fields.get(name) for name in _DECIDING})).hexdigest()
    except ValueError as error:
        raise DamagedBundle(f"manifest.json: it has no bundle id, for it holds {brief(error)}") from None


def file_sha256(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """sha256 of a file, read in pieces; `progress` is told the bytes of each piece."""
    with path.open("rb", buffering=0) as stream:
        return stream_sha256(stream, progress)


def stream_sha256(stream: FileIO, progress: Callable[[int], None] | None = None) -> str:
    """sha256 of what is left of a file, as `file_sha256`."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(1 << 17))
    while size := stream.readinto(piece):
        digest.update(piece[:size])
        if progress:
            progress(size)
    return digest.hexdigest()


def resolve_inside(bundle: Path, name: str) -> Path:
    """The path of a listed file, links followed. Raises DamagedBundle if it leaves the bundle or is not there."""
    try:
        root, path = bundle.resolve(), (bundle / name).resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        raise DamagedBundle(f"{bundle}: {name} cannot be followed; copy the bundle again") from None
    if not path.is_relative_to(root):
        raise DamagedBundle(f"{bundle}: {name} leads out of the bundle's folder")
    if not path.is_file():
        raise DamagedBundle(f"{bundle}: {name} is missing; export the bundle again or copy it whole")
    return path


def check_sizes(bundle: Path, manifest: Manifest) -> None:
    """Every file that is used is listed, inside the folder and of the listed size. Costs no reading."""
    listed = {entry.name for entry in manifest.files}
    used = {name for graph in manifest.graphs.values() for name in (graph.file, *graph.data)}
    if manifest.tokenizer:
        used.add(manifest.tokenizer.file)
    for name in sorted(used - listed):
        raise DamagedBundle(f"{bundle}: {name} is used but not listed under files")
    for entry in manifest.files:
        check_size(bundle, entry, resolve_inside(bundle, entry.name).stat().st_size)


def check_size(bundle: Path, entry: FileEntry, size: int) -> None:
    """Raises DamagedBundle."""
    if size != entry.bytes:
        raise DamagedBundle(f"{bundle}: {entry.name} has {size} bytes instead of {entry.bytes}; copy the bundle again")


def check_digest(bundle: Path, entry: FileEntry, digest: str) -> None:
    """Raises DamagedBundle."""
    if digest != entry.sha256:
        raise DamagedBundle(f"{bundle}: {entry.name} is not the file that was exported (its sha256 differs)")


def verify_files(bundle: Path, manifest: Manifest) -> None:
    """Every listed file has the listed sha256, and no graph reads others. Reads them all. Raises DamagedBundle naming
    the file.
    """
    check_sizes(bundle, manifest)
    for entry in manifest.files:
        try:
            digest = file_sha256(resolve_inside(bundle, entry.name))
        except OSError as error:
            raise DamagedBundle(f"{bundle}: {entry.name} cannot be read ({error.strerror or error})") from None
        check_digest(bundle, entry, digest)
    for graph in manifest.graphs.values():
        with resolve_inside(bundle, graph.file).open("rb") as stream:
            check_graph(stream.read(LARGEST_GRAPH + 1), f"{bundle}: {graph.file}", graph.data)
