"""A look at a torch.save file before torch reads it: its zip and its pickle ask for no more than a state dict needs.

`torch.load` with weights_only runs nothing, but it allocates what it is asked for: a `bytearray` of any size, copies of
what is there already, records that inflate to a thousand times their size. So the pickle is followed here, opcode by
opcode, without making anything; and the zip must be as torch.save writes it, each record as it is, so that every reader
finds the same records in it.
"""

from __future__ import annotations

import io
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

LARGEST_PICKLE = 4 * 2**20  # bytes; that of a model of 14 thousand million parameters has some 200 thousand
_LARGEST_DIRECTORY = 16 * 2**20
_END, _LOCATOR, _END_64 = (struct.Struct(form) for form in ("<4s4H2LH", "<4sLQL", "<4sQ2H2L4Q"))
_MOST_NESTED = 32
_LEGACY_PICKLES = 5  # a magic number, the protocol, the machine, the object, the keys of its storages
# What is called with more than its bare name, and makes tensors of storages that are there.
_REBUILD = frozenset(
    f"torch._utils._rebuild_{name}"
    for name in (
        *("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "qtensor"),
        *("sparse_tensor", "sparse_csr_tensor", "meta_tensor_no_storage"),
    )
) | {"torch._tensor._rebuild_from_type_v2", "torch.serialization._get_layout", "torch.device", "torch.Size"}
_EMPTY_ONLY = frozenset({"collections.OrderedDict"})


class Refused(Exception):
    """What is wrong, in words. wanted: what the pickle asks to run, if it is that."""

    def __init__(self, reason: str, wanted: str | None = None) -> None:
        super().__init__(reason)
        self.wanted = wanted


def check_zip(path: Path) -> None:
    """Raises Refused, and whatever zipfile and pickletools raise for a file that is not whole."""
    with path.open("rb") as stream:
        _check_directory(stream, path.stat().st_size)
        with zipfile.ZipFile(stream) as archive:
            records = archive.infolist()
            if len({record.filename for record in records}) != len(records):
                raise Refused("has two records of one name")
            if any(record.filename.split("/")[-1] == "constants.pkl" for record in records):
                raise Refused("is a TorchScript program")
            for record in records:
                if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
                    raise Refused(f"has a compressed record ({record.filename}), as torch.save makes none")
            for record in records:
                if record.filename.split("/")[-1] == "data.pkl":
                    if record.file_size > LARGEST_PICKLE:
                        raise Refused(f"has a pickle of {record.file_size} bytes, and no state dict has")
                    check_pickle(io.BytesIO(archive.read(record)))


def check_legacy(path: Path) -> None:
    """The pickles at the beginning of a file from before PyTorch 1.6; as `check_zip`."""
    with path.open("rb") as stream:
        begin = io.BytesIO(stream.read(LARGEST_PICKLE))
    for _ in range(_LEGACY_PICKLES):
        check_pickle(begin)


def _check_directory(stream: BinaryIO, size: int) -> None:
    """That the directory is where each reader of zips finds it: at the very end, and but once."""
    stream.seek(max(0, size - _END.size - _LOCATOR.size - _END_64.size))
    tail = stream.read()
    end = tail[-_END.size :]
    if len(end) < _END.size or end[:4] != b"PK\5\6":
        raise ValueError("it has no directory at its end")
    *_, records, length, offset, comment = _END.unpack(end)
    place = size - _END.size
    locator = tail[-_END.size - _LOCATOR.size : -_END.size]
    if locator[:4] == b"PK\6\7":
        place -= _LOCATOR.size + _END_64.size
        if _LOCATOR.unpack(locator)[2] != place or tail[:4] != b"PK\6\6":
            raise Refused("has a directory that is not in its place")
        *_, records, length, offset = _END_64.unpack(tail[: _END_64.size])
    if comment or length > _LARGEST_DIRECTORY or offset + length != place:
        raise Refused(f"has a directory of {length} bytes for {records} records, not as torch.save writes it")


def check_pickle(stream: BinaryIO) -> None:
    """Follow one pickle, from where the stream is. Raises Refused, or ValueError for what is none."""
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(stream):
        machine.step(opcode, argument)


class _Made:
    """What an opcode puts on the stack. name: of a global. depth: of a tuple. empty: an empty tuple. about: the global
    that it is made of, for messages.
    """

    __slots__ = ("about", "depth", "empty", "name")

    def __init__(self, name: str | None = None, depth: int = 0, empty: bool = False, about: str | None = None) -> None:
        self.name, self.depth, self.empty, self.about = name, depth, empty, name or about


_MARK, _PLAIN, _EMPTY_TUPLE = _Made(), _Made(), _Made(depth=1, empty=True)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_REFUSED_OPCODES = frozenset(
    {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "STACK_GLOBAL"}
)


class _Machine:
    """The stack and the memo of a pickle, of what matters here: which globals are called, and with how much."""

    def __init__(self) -> None:
        self._stack: list[_Made] = []
        self._memo: dict[int, _Made] = {}

    def step(self, opcode: Any, argument: Any) -> None:
        name = opcode.name
        if name in _REFUSED_OPCODES:
            raise Refused(f"has a pickle that makes more than a state dict ({name})")
        if name == "GLOBAL":
            self._stack.append(_Made(".".join(argument.split(" ", 1))))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo.get(argument, _PLAIN))
        elif name == "EMPTY_TUPLE":
            self._stack.append(_EMPTY_TUPLE)
        elif name in ("TUPLE", *_TUPLES):
            self._tuple(self._pop_to_mark() if name == "TUPLE" else self._pop(_TUPLES[name]))
        elif name == "BINPERSID":  # a storage, or in old files a module's class
            self._stack.append(_Made(about=self._pop(1)[0].about))
        elif name in ("REDUCE", "NEWOBJ"):
            called, arguments = self._pop(2)
            _check_call(called, arguments)
            self._stack.append(_PLAIN)
        else:
            self._other(opcode)

    def _tuple(self, items: list[_Made]) -> None:
        depth = 1 + max((item.depth for item in items), default=0)
        if depth > _MOST_NESTED:  # to hash one that is nested deeply overflows the interpreter's own stack
            raise Refused(f"has tuples nested more than {_MOST_NESTED} deep")
        about = next((item.about for item in items if item.about), None)
        self._stack.append(_Made(depth=depth, about=about) if items else _EMPTY_TUPLE)

    def _other(self, opcode: Any) -> None:
        """By what pickletools says of how it changes the stack."""
        before, after = opcode.stack_before, opcode.stack_after
        if pickletools.markobject in before:
            self._pop_to_mark()
            before = before[: before.index(pickletools.markobject)]
        self._pop(len(before))
        self._stack += [_MARK if kind is pickletools.markobject else _PLAIN for kind in after]

    def _pop(self, count: int) -> list[_Made]:
        if count > len(self._stack):
            raise ValueError("a pickle that takes more than it has")
        taken = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return taken

    def _pop_to_mark(self) -> list[_Made]:
        taken: list[_Made] = []
        while (item := self._pop(1)[0]) is not _MARK:
            taken.append(item)
        return taken


def _check_call(called: _Made, arguments: _Made) -> None:
    if called.name in _REBUILD or (called.name in _EMPTY_ONLY and arguments.empty):
        return
    raise Refused("has a pickle that runs something", called.about or "what it made itself")
