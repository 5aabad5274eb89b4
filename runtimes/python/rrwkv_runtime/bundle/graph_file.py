"""A look at a graph file before onnxruntime reads it: which other files it asks for, and how much would come of it.

A bundle's hashes are right whoever made it, so they say nothing of what a graph does. Here its protobuf is walked
without the onnx package, some milliseconds for a model: every tensor's external data must be in a file that the
manifest lists for the graph (onnxruntime would read others too, unhashed, and has a location that means an address in
memory); tensors are never sparse, which little data make large; and functions that call one another do not grow beyond
any model. What the nodes compute when they run is not bounded here.

Field numbers: onnx.proto of https://github.com/onnx/onnx.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from rrwkv_runtime.errors import DamagedBundle

LARGEST_GRAPH = 16 * 2**20  # bytes without the weights, which are in files of their own; real ones have one MB at most
_GROWN = 4 * 2**20  # bytes with functions in place of their calls; quantized bundles have some twice their own
_MOST_NESTED = 32
_LARGEST_KEY = 0x3FF  # ONNX has no field of a number over 26
_LOCATION, _NUMBERS = (
    b"\x0a\x08location\x12",
    (b"\x0a\x06offset\x12", b"\x0a\x06length\x12"),
)  # before the value's length
_LENGTH, _FIXED = 2, {1: 8, 5: 4}  # wire types: the one with a length, and bytes of those of one size


@dataclass(frozen=True)
class _Kind:
    """What is of interest in a message: fields by the key before them, to be walked, or given to a method by name.

    sign: found wherever one of them is, however its key is written, so that most messages need no walk.
    """

    fields: dict[int, _Kind | str] = field(default_factory=dict)
    sign: re.Pattern[bytes] | None = None


def _key(number: int) -> int:
    return number << 3 | _LENGTH


_TENSOR = _Kind({_key(13): "_external"})
# An attribute's fields begin with one of *2RZ or with two bytes, as its type does, which is the one with \xa0.
_ATTRIBUTE = _Kind(sign=re.compile(rb"[*2RZ\x80-\x9f\xa1-\xff]|\xa0(?!\x01)"))
_NODE = _Kind({_key(5): _ATTRIBUTE}, sign=re.compile(rb"[*\x80-\xff]"))
_GRAPH = _Kind({_key(1): _NODE, _key(5): _TENSOR, _key(15): "_sparse"})
_ATTRIBUTE.fields.update({_key(5): _TENSOR, _key(10): _TENSOR, _key(6): _GRAPH, _key(11): _GRAPH})
_ATTRIBUTE.fields.update({_key(22): "_sparse", _key(23): "_sparse"})
_FUNCTION = _Kind({_key(1): "_called", _key(7): _NODE, _key(11): _ATTRIBUTE})
_MODEL = _Kind({_key(7): "_graph", _key(20): "_training", _key(25): "_function"})


def check_graph(data: bytes, name: str, files: Collection[str]) -> None:
    """Raises DamagedBundle naming the graph. data: the whole file. files: those that it may keep its tensors in."""
    try:
        if len(data) > LARGEST_GRAPH:
            raise _Refused("is larger than the graph of any model")
        _Walk(data, files).check()
    except _Refused as error:
        raise DamagedBundle(f"{name}: {error}; export the bundle again") from None
    except IndexError:
        raise DamagedBundle(f"{name}: no ONNX graph (it ends within a field); export the bundle again") from None


class _Refused(Exception):
    """What is wrong, in words."""


class _Walk:
    def __init__(self, data: bytes, files: Collection[str]) -> None:
        names = [name.encode() for name in files]
        self._data, self._locations = data, {_LOCATION + bytes([len(name)]) + name for name in names if len(name) < 128}
        self._graphs: list[tuple[int, int]] = []
        self._functions: dict[bytes, list[tuple[int, int]]] = {}  # by name: from where to where
        self._name = b""

    def check(self) -> None:
        self._message(0, len(self._data), _MODEL, 0)
        self._check_calls()

    def _message(self, at: int, end: int, kind: _Kind, depth: int) -> None:
        """Every field of a message that ends there."""
        data, fields = self._data, kind.fields
        if depth > _MOST_NESTED:
            raise _Refused(f"its parts are nested more than {_MOST_NESTED} deep")
        while at < end:
            key, at = (data[at], at + 1) if data[at] < 0x80 else self._varint(at)
            wire = key & 7
            if wire == _LENGTH:
                size, at = (data[at], at + 1) if data[at] < 0x80 else self._varint(at)
                after = at + size
                if after <= end and (what := fields.get(key)) is not None:
                    if isinstance(what, str):
                        getattr(self, what)(at, after)
                    elif what.sign is None or what.sign.search(data, at, after):
                        self._message(at, after, what, depth + 1)
                at = after
            elif wire == 0:
                at = at + 1 if data[at] < 0x80 else self._varint(at)[1]
            elif wire in _FIXED:
                at += _FIXED[wire]
            if at > end or key > _LARGEST_KEY or wire not in (0, 1, 2, 5):
                raise _Refused("no ONNX graph (a field is not one of its own)")

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while shift < 70:
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, at
        raise _Refused("no ONNX graph (a number is too long)")

    def _called(self, at: int, end: int) -> None:
        self._name = self._data[at:end]

    def _graph(self, at: int, end: int) -> None:
        self._graphs.append((at, end))
        self._message(at, end, _GRAPH, 1)

    def _function(self, at: int, end: int) -> None:
        self._name = b""
        self._message(at, end, _FUNCTION, 1)
        if not 0 < len(self._name) < 128:
            raise _Refused("has a function without a name, or with a long one")
        self._functions.setdefault(self._name, []).append((at, end))

    def _external(self, at: int, end: int) -> None:
        """An entry of a tensor's external data: a key and a value, written as every encoder of protobuf does."""
        entry = self._data[at:end]
        if entry in self._locations or (entry[:9] in _NUMBERS and entry[9:10] == bytes([len(entry) - 10])):
            return
        place = entry.removeprefix(_LOCATION)[1:]
        raise _Refused(f"has weights in {place[:80]!r}, which the manifest does not list as data of this graph")

    def _sparse(self, at: int, end: int) -> None:
        raise _Refused("has sparse tensors, which no bundle has")

    def _training(self, at: int, end: int) -> None:
        raise _Refused("is a graph for training")

    def _check_calls(self) -> None:
        """onnxruntime puts functions in the place of their calls, within one another too: so many bytes come of it.

        A call is taken to be wherever the name stands as a string does, so there are never more.
        """
        known: dict[bytes, int] = {}

        def grown(at: int, end: int, above: tuple[bytes, ...]) -> int:
            size = end - at
            for name in self._functions:
                # A string's length may be written at greater length, and ends with a zero then.
                found = sum(self._data.count(before + name, at, end) for before in (bytes([len(name)]), b"\0"))
                if calls := found - (above[-1:] == (name,)):  # its own name is not a call
                    if name in above or len(above) > _MOST_NESTED:
                        raise _Refused("its functions call themselves, or are nested too deep")
                    if name not in known:
                        known[name] = max(grown(*place, (*above, name)) for place in self._functions[name])
                    size += calls * known[name]
            return size

        if self._functions and (size := sum(grown(*place, ()) for place in self._graphs)) > _GROWN:
            raise _Refused(f"comes to {size} bytes with its functions in place of their calls, and no model does")
