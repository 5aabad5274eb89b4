"""The manifest: the contract between the exporter and every runtime, defined here (and in its schema) and nowhere else.

A bundle is a directory with `manifest.json` and the files that it lists. `Manifest.load` refuses a manifest that breaks
the schema, is of a newer format, or whose own content was changed; `verify_files` refuses files that are not the ones
that were written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from rrwkv_runtime.bundle.graph_entry import GraphEntry
from rrwkv_runtime.bundle.graph_file import LARGEST_GRAPH, check_graph
from rrwkv_runtime.bundle.schema import violations
from rrwkv_runtime.common.reading import boundary, read_json
from rrwkv_runtime.errors import BundleError, DamagedBundle, NewerFormat

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
_LARGEST_STATE = 2**32
# States of a bundle this small, or of so many times the bytes of its files, are nothing that a model is made for.
_SMALL_STATE, _STATE_TO_FILES = 2**26, 4
_LARGEST_EXPONENT = 32
_MOST_LOGITS = 2**28  # of one run of a graph in static shapes


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
class StateSpec:
    """One recurrent state: graph input and output names, shape, dtype ("float32" …) and initial value.

    exponents: the graph carries the model's value / 2^exponents, in which quantization found it rounds less. A number,
    or nested lists that broadcast to the shape.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    init: float | list[Any]
    exponents: float | list[Any] = 0

    def __post_init__(self) -> None:
        if self.exponents == 0:
            return
        try:
            exponents = np.asarray(self.exponents, np.float32)
            np.broadcast_to(exponents, self.shape)  # a view: the shape may be of any size yet
        except (ValueError, TypeError, OverflowError):
            raise BundleError(f"the manifest's exponents of state {self.input!r} do not fit its shape") from None
        if not (np.abs(exponents) <= _LARGEST_EXPONENT).all():
            raise BundleError(f"the manifest's exponents of state {self.input!r} are out of range")
        if not self.dtype.startswith("float"):
            raise BundleError(f"the manifest has exponents for state {self.input!r}, which is {self.dtype}")

    def inputs(self, apart: bool) -> list[tuple[str, tuple[int, ...]]]:
        """Name and shape of the graph's input; apart: of one input for each of the first axis."""
        if apart and self.shape:
            return [(f"{self.input}.{i}", self.shape[1:]) for i in range(self.shape[0])]
        return [(self.input, self.shape)]

    def carried(self, value: np.ndarray) -> np.ndarray:
        """The model's value as the graph carries it."""
        return value if self.exponents == 0 else value * np.exp2(-np.asarray(self.exponents, np.float32))

    def restored(self, value: np.ndarray) -> np.ndarray:
        """The model's value from what the graph carries."""
        return value if self.exponents == 0 else value * np.exp2(np.asarray(self.exponents, np.float32))

    def initial(self) -> np.ndarray:
        """A new array with the state's value before the first token."""
        try:
            value = np.array(np.broadcast_to(np.asarray(self.init, dtype=self.dtype), self.shape), order="C")
        except (ValueError, TypeError, OverflowError, MemoryError):
            raise BundleError(f"the manifest's initial value of state {self.input!r} does not fit its shape") from None
        if not np.isfinite(value).all():
            raise BundleError(f"the manifest's initial value of state {self.input!r} is not finite")
        return value

    @property
    def nbytes(self) -> int:
        count = np.dtype(self.dtype).itemsize
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class TokenizerEntry:
    """type: "tokenizer.json" (Hugging Face tokenizers) or "rwkv-world" (RWKV World vocabulary)."""

    type: str
    file: str


@dataclass(frozen=True)
class ChatFormat:
    """How a dialogue is written as text: `{user}{text}{turn_end}{assistant} {reply}{turn_end}`.

    stop: strings that end a reply; none given means `turn_end`, which else ends one only if it is listed. bos_token_id:
    token put before a dialogue, if any. eos_token_id: the token that ends a text, or several of them. sampling: the
    model's preferred sampling options by name.
    """

    user: str = "User: "
    assistant: str = "Assistant:"
    turn_end: str = "\n\n"
    stop: tuple[str, ...] = ()
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ChatFormat:
        """From JSON whose types are checked; lists become tuples."""
        made: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
        return cls(**made)

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Every token that ends a text."""
        ids = self.eos_token_id
        return frozenset() if ids is None else frozenset({ids} if isinstance(ids, int) else ids)


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

    def to_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
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
        states = tuple(StateSpec(**{**s, "shape": tuple(s["shape"])}) for s in fields["states"])
        files = tuple(FileEntry(**entry) for entry in fields["files"])
        _check_states(states, sum(entry.bytes for entry in files))
        graphs = {name: GraphEntry.from_json(graph) for name, graph in fields["graphs"].items()}
        by_name = {spec.input: spec for spec in states}
        for name, graph in graphs.items():
            graph.check(name, by_name)
            if graph.static and graph.static.tokens * fields["config"]["vocab_size"] > _MOST_LOGITS:
                raise DamagedBundle(f"manifest.json: graph {name!r} has more logits than any model")
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
        fields = read_json(path, DamagedBundle)
        with boundary(DamagedBundle, f"{path}: not the manifest of a bundle"):
            return cls.from_json(fields)


def _check_states(states: Sequence[StateSpec], files: int) -> None:
    """Raises DamagedBundle. files: bytes of all files of the bundle."""
    size = sum(spec.nbytes for spec in states)
    if size > _LARGEST_STATE:
        raise DamagedBundle(f"manifest.json: states of {size} bytes are larger than any model's")
    if size > max(_SMALL_STATE, _STATE_TO_FILES * files):
        raise DamagedBundle(f"manifest.json: states of {size} bytes do not belong to a model of {files} bytes")
    if not any((spec.input, spec.dtype, spec.shape) == ("position", "int64", ()) for spec in states):
        raise DamagedBundle("manifest.json: there is no state 'position', a single int64")


def _check_format(fields: Any) -> None:
    """A newer manifest may break today's schema in any way, so its version is looked at first."""
    if not isinstance(fields, dict) or fields.get("format") != "rrwkv-bundle":
        raise BundleError("manifest.json: not the manifest of an rrwkv bundle")
    version = fields.get("format_version")
    if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT_VERSION:
        raise NewerFormat(
            f"manifest.json: bundle format {version} is newer than this runtime's, {FORMAT_VERSION}; upgrade it"
        )


def compute_bundle_id(fields: Mapping[str, Any]) -> str:
    """sha256 over the manifest's fields that decide what the bundle does; `files` brings every file's own sha256 in.

    Provenance and parity are left out: measuring parity again must not make saved states useless.
    """
    deciding = (
        "format_version",
        "model_id",
        "config",
        "graphs",
        "states",
        "tokenizer",
        "chat",
        "quantization",
        "files",
    )
    content = {name: fields.get(name) for name in deciding}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


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
