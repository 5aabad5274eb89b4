"""What a file is, told by its first bytes and never by its name; what is no PyTorch checkpoint is named truly."""

from __future__ import annotations

import codecs
import re
import zipfile
from pathlib import Path
from typing import Literal

from rrwkv_export.checkpoint.containers.entries import AGAIN, STATE_DICT, first_bytes
from rrwkv_export.errors import CheckpointError

Container = Literal["safetensors", "torch"]

# Remedies, of what was looked for: a checkpoint, or an adapter.
_ORIGINAL = "give the PyTorch or safetensors {wanted} that it was made from"
_UNPACK = "unpack it, and give the {wanted} in it"
_MEANT = "give the {wanted} that was meant"
_LINKED = "download the file itself, from the link that says download or resolve"
# Offset, the bytes there, what such a file is, what to do.
_SIGNS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"GGUF", "a GGUF file, of llama.cpp", _ORIGINAL),
    (0, b"fmgg", "a ggml file, of rwkv.cpp", _ORIGINAL),
    (0, b"lmgg", "a ggml file", _ORIGINAL),
    (0, b"tjgg", "a ggml file", _ORIGINAL),
    (4, b"ORTM", "a model in onnxruntime's own format", _ORIGINAL),
    (4, b"TFL3", "a TensorFlow Lite model", _ORIGINAL),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, of Keras or TensorFlow", _ORIGINAL),
    (0, b"\x93NUMPY", "one NumPy array", _ORIGINAL),
    (0, b"\x1f\x8b", "compressed by gzip", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (0, b"\xfd7zXZ\x00", "compressed by xz", _UNPACK),
    (0, b"BZh", "compressed by bzip2", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"SQLite format 3\x00", "an SQLite database", _MEANT),
    (0, b"%PDF-", "a PDF document", _MEANT),
    (0, b"\x89PNG\r\n", "a picture", _MEANT),
    (0, b"\xff\xd8\xff", "a picture", _MEANT),
    (0, bytes(64), "zeros where it begins: its download was cut short", AGAIN),
)
# A protobuf that begins with ir_version and goes on with a producer, a domain, an opset or a graph.
_ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x3a\x42]", re.DOTALL)
_ONNX_WEIGHTS = re.compile(r"\.onnx[._]data(?:[._]\d+)?$", re.IGNORECASE)
_LONGEST_HEADER = 100_000_000  # of the safetensors format itself


def container(path: Path, wanted: str = "checkpoint") -> Container:
    """Which of the two containers a file is. Raises CheckpointError for any other, saying what it is, and what to do
    for the checkpoint, or the adapter, that was wanted.
    """
    head = first_bytes(path)
    if len(head) < 9:
        raise CheckpointError(f"{path}: only {len(head)} bytes long, so cut short; {AGAIN}")
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path, wanted)
        return "torch"
    if head.startswith(b"\x80") and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "torch"
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
        return "safetensors"
    # The weights of a graph have no sign of their own, and may begin with zeros.
    named = f"the weights of an ONNX graph; {_ORIGINAL}" if _ONNX_WEIGHTS.search(path.name) else _named(head)
    raise CheckpointError(f"{path}: {named.format(wanted=wanted)}")


def _named(head: bytes) -> str:
    """What it is, and the remedy, which says {wanted}."""
    for offset, sign, what, remedy in _SIGNS:
        if head[offset : offset + len(sign)] == sign:
            return f"{what}; {remedy}"
    if _ONNX.match(head):
        return f"an ONNX graph; {_ORIGINAL}"
    if (text := _text(head)) is None:
        return f"neither safetensors nor torch.save wrote it; {_MEANT}"
    if re.match(r"<(!doctype|html|head|\?xml)", text, re.IGNORECASE):
        return f"a web page and not the weights; {_LINKED}"
    if text.startswith(("{", "[")):
        return "a JSON file and not the weights; give the weights, or the folder that holds both"
    if re.match(r"(Entry|Repository) not found|Invalid (username|credentials)|Access to model", text):
        said = repr(text.splitlines()[0][:60]).replace("{", "{{").replace("}", "}}")
        return f"a server's refusal and not the weights ({said}); {_LINKED}"
    return f"text and not the weights; {_MEANT}"


def _text(head: bytes) -> str | None:
    """Of a file that is text where it begins; a character may be cut at the end."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return None
    return None if re.search(r"[\x00-\x08\x0e-\x1f]", text) else text.lstrip()


def _check_zip(path: Path, wanted: str) -> None:
    """A zip that torch.save did not write. Raises CheckpointError; what is damaged is left to the reader."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a zip cut short, or a hostile one
        return
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(f"{path}: a TorchScript program, not a dict of tensors; {STATE_DICT}")
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError(f"{path}: NumPy arrays (.npz); {_ORIGINAL.format(wanted=wanted)}")
    raise CheckpointError(f"{path}: a zip archive of other files; {_UNPACK.format(wanted=wanted)}")
