"""The state of a conversation: what the graph carries from run to run, always tied to its bundle.

File format, little-endian, the same on every runtime:

    8 bytes   magic "RRWKVST1"
    4 bytes   length n of the header
    n bytes   JSON header {bundle_id, model_id, states: [{name, dtype, shape}], sha256 of the payload}
    payload   the states' raw values, one after the other in the header's order
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rrwkv_runtime.bundle.state_spec import StateSpec
from rrwkv_runtime.common.atomic import new_file
from rrwkv_runtime.errors import OtherBundle, StateError
from rrwkv_runtime.execution.state_values import fitted, other_form
from rrwkv_runtime.manifest import POSITION, Manifest

_MAGIC = b"RRWKVST1"
_LARGEST_HEADER = 1 << 20


@dataclass(frozen=True, repr=False)
class State:
    """The values of all states after some tokens, by the names of the graph's inputs.

    A state belongs to one bundle (`bundle_id`); other bundles of one model, quantized or with the other form of wkv,
    share its `model_id`, and with `allow_other_quantization` their states too. counter: which of the values counts the
    tokens.
    """

    bundle_id: str
    model_id: str
    values: dict[str, np.ndarray]
    counter: str = POSITION

    @classmethod
    def of(cls, manifest: Manifest, values: dict[str, np.ndarray]) -> State:
        """A state of the bundle with this manifest."""
        return cls(manifest.bundle_id, manifest.model_id, values, manifest.position)

    @classmethod
    def initial(cls, manifest: Manifest) -> State:
        """The state before the first token."""
        return cls.of(manifest, {spec.input: spec.initial() for spec in manifest.states})

    @property
    def position(self) -> int:
        """Tokens seen so far."""
        return int(self.values[self.counter])

    def __repr__(self) -> str:
        known = f"position={self.position}, " if self.counter in self.values else ""
        return f"State({known}{self.nbytes:,} bytes, bundle {self.bundle_id[:12]}, model {self.model_id[:12]})"

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in self.values.values())

    def copy(self) -> State:
        return dataclasses.replace(self, values={name: value.copy() for name, value in self.values.items()})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a file, whole or not at all. Raises StateError if it cannot be written."""
        payload = [np.ascontiguousarray(value).tobytes() for value in self.values.values()]
        digest = hashlib.sha256(b"".join(payload)).hexdigest()
        described = [{"name": n, "dtype": str(v.dtype), "shape": list(v.shape)} for n, v in self.values.items()]
        fields = {"bundle_id": self.bundle_id, "model_id": self.model_id, "states": described, "sha256": digest}
        header = json.dumps(fields).encode()
        target = Path(path)
        if not target.name:
            raise StateError(f"{target}: cannot save the state (not the name of a file); give one")
        try:
            with new_file(target) as temporary, temporary.open("wb") as stream:
                stream.writelines([_MAGIC, struct.pack("<I", len(header)), header, *payload])
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            gone = isinstance(error, FileNotFoundError) and target.parent.is_dir()  # in /proc
            reason = f"{target.parent} takes no new files" if gone else _reason(error)
            raise StateError(f"{target}: cannot save the state ({reason}); choose another place") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str], manifest: Manifest, allow_other_quantization: bool = False) -> State:
        """Read a state of the bundle with this manifest; with `allow_other_quantization` of any of the same model.

        Raises StateError for a damaged file or a state of another bundle. Sizes are checked before anything is read.
        """
        source = Path(path)
        try:
            with source.open("rb") as stream:
                header = _read_header(source, stream.read(12), stream.read)
                state = cls(str(header.get("bundle_id")), str(header.get("model_id")), {})
                state.check_belongs(manifest, allow_other_quantization)
                specs = _layout(source, header, manifest.states)
                payload = _read_payload(source, header, specs, stream.read, source.stat().st_size - stream.tell())
        except (OSError, ValueError) as error:
            raise StateError(f"{source}: cannot read the state ({_reason(error)})") from None
        try:
            return cls.of(manifest, fitted(_unpack(payload, specs), manifest))
        except StateError as error:
            raise StateError(f"{source}: cannot go on from this state: {error}") from None

    def fitted(self, manifest: Manifest, allow_other_quantization: bool = False) -> State:
        """This state for the bundle with this manifest; its values are not copied where they fit as they are.

        Raises StateError for one of another bundle, and for values that no text leads to.
        """
        self.check_belongs(manifest, allow_other_quantization)
        try:
            return State.of(manifest, fitted(self.values, manifest))
        except StateError as error:
            raise StateError(f"cannot go on from the given state: {error}") from None

    def check_belongs(self, manifest: Manifest, allow_other_quantization: bool = False) -> None:
        """Raises StateError if the state is not one of the bundle with this manifest."""
        if self.bundle_id == manifest.bundle_id:
            return
        if self.model_id != manifest.model_id:
            raise StateError(
                f"the state belongs to another model ({self.model_id[:12]}), not to this one ({manifest.model_id[:12]})"
            )
        if not allow_other_quantization:
            raise OtherBundle(
                f"the state belongs to another bundle of this model ({self.bundle_id[:12]}, this is "
                f"{manifest.bundle_id[:12]})"
            )


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _read_header(source: Path, start: bytes, read: Any) -> dict[str, Any]:
    if len(start) != 12 or start[:8] != _MAGIC:
        raise StateError(f"{source}: not a saved state")
    (length,) = struct.unpack("<I", start[8:])
    if length > _LARGEST_HEADER:
        raise StateError(f"{source}: damaged (its header claims {length} bytes)")
    try:
        header = json.loads(read(length))
    except (ValueError, RecursionError):
        raise StateError(f"{source}: damaged (its header is not readable)") from None
    if not isinstance(header, dict):
        raise StateError(f"{source}: damaged (its header is not readable)")
    return header


def _layout(source: Path, header: dict[str, Any], specs: Sequence[StateSpec]) -> Sequence[StateSpec]:
    """The layout of the file: the bundle's, or with the other form of wkv."""
    for candidate in (specs, other_form(specs)):
        if header.get("states") == [{"name": s.input, "dtype": s.dtype, "shape": list(s.shape)} for s in candidate]:
            return candidate
    raise StateError(f"{source}: its states are laid out differently from this bundle's")


def _read_payload(source: Path, header: dict[str, Any], specs: Sequence[StateSpec], read: Any, left: int) -> bytes:
    size = sum(spec.nbytes for spec in specs)
    if left != size:
        raise StateError(f"{source}: damaged ({left} bytes of values instead of {size})")
    payload: bytes = read(size)
    if hashlib.sha256(payload).hexdigest() != header.get("sha256"):
        raise StateError(f"{source}: damaged (its values do not match their sha256)")
    return payload


def _unpack(payload: bytes, specs: Sequence[StateSpec]) -> dict[str, np.ndarray]:
    values, offset = {}, 0
    for spec in specs:
        flat = np.frombuffer(
            payload, dtype=spec.dtype, count=spec.nbytes // np.dtype(spec.dtype).itemsize, offset=offset
        )
        values[spec.input] = flat.reshape(spec.shape).copy()
        offset += spec.nbytes
    return values
