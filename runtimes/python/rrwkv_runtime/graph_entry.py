"""What a manifest says of one graph: its files, what it runs over, and which states it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rrwkv_runtime.errors import DamagedBundle
from rrwkv_runtime.static_shape import StateLike, StaticShape


@dataclass(frozen=True)
class GraphEntry:
    """One ONNX graph: its file, the external weight files it reads, and how it was built.

    "main" runs any number of tokens; "step", where there is one, runs one token faster. over: how it runs over its
    tokens (loop, doubling, step, decode, static). reads: states that a graph only reads, through one input `name.i` for
    each of the first axis, and does not give back. not_every: of the tokens from position 0 on, every so-manieth is not
    the graph's but main's (0: none is). variant: None for the graphs that run by default, else what they are loaded by.
    static: of a graph in static shapes. External files are named from the bundle's folder, wherever in it the graph is.
    """

    file: str
    data: tuple[str, ...]
    chunk: int
    wkv: str
    dtype: str
    opset: int
    over: str = "loop"
    reads: tuple[str, ...] = ()
    not_every: int = 0
    variant: str | None = None
    static: StaticShape | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> GraphEntry:
        static = fields.get("static")
        lists = {name: tuple(fields.get(name, ())) for name in ("data", "reads")}
        return cls(**{**fields, **lists, "static": StaticShape.from_json(static) if static else None})

    def check(self, name: str, states: Mapping[str, StateLike]) -> None:
        """Raises DamagedBundle if what it says of these states cannot be."""
        if unknown := sorted(set(self.reads) - states.keys()):
            raise DamagedBundle(f"manifest.json: {unknown[0]!r} of graph {name!r} is no state")
        if self.static:
            self.static.check(name, states)

    def takes(self, position: int) -> bool:
        """Whether the graph may run the token at this position."""
        return self.not_every == 0 or (position + 1) % self.not_every != 0
