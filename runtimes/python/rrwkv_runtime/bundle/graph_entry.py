"""What a manifest says of one graph: its files, what it runs over, and which states it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rrwkv_runtime.bundle.fixed_shape import StateLike, StaticShape
from rrwkv_runtime.bundle.shared_weights import Weight
from rrwkv_runtime.errors import DamagedBundle


@dataclass(frozen=True)
class GraphEntry:
    """One ONNX graph: its file, the external weight files it reads, and how it was built.

    "main" runs any number of tokens; "step", where there is one, runs one token faster; "update", where there is one,
    runs none, but completes the states after some of step's.

    over: how it runs over its tokens (loop, blocked, step, decode, medium, static; once also doubling). reads: states
    that a graph only reads, through one input `name.i` for each of the first axis, and does not give back. updates:
    the only states that a graph takes and gives, whole; then it takes no tokens. after_every: it is run after a step
    to a position that is a multiple of so many tokens. not_every: of the tokens from position 0 on, every so-manieth
    is not step's but main's (0: none is); so it was before there was an "update". variant: None for the graphs that
    run by default, else what they are loaded by. static: of a graph in static shapes. External files are named from
    the bundle's folder, wherever in it the graph is. weights: of a main graph that a kernel computes, constants that
    other graphs have too.
    """

    file: str
    data: tuple[str, ...]
    chunk: int
    wkv: str
    dtype: str
    opset: int
    over: str = "loop"
    reads: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()
    after_every: int = 0
    not_every: int = 0
    variant: str | None = None
    static: StaticShape | None = None
    weights: tuple[Weight, ...] = ()

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> GraphEntry:
        static = fields.get("static")
        lists = {name: tuple(fields.get(name, ())) for name in ("data", "reads", "updates")}
        weights = tuple(map(Weight.from_json, fields.get("weights", ())))
        shape = StaticShape.from_json(static) if static else None
        return cls(**{**fields, **lists, "static": shape, "weights": weights})

    def check(self, name: str, states: Mapping[str, StateLike]) -> None:
        """Raises DamagedBundle if what it says of these states cannot be."""
        if unknown := sorted({*self.reads, *self.updates} - states.keys()):
            raise DamagedBundle(f"manifest.json: {unknown[0]!r} of graph {name!r} is no state")
        if name == "update" and not (self.updates and self.after_every):
            raise DamagedBundle("manifest.json: graph 'update' does not say which states it updates, and when")
        if self.weights and not self.data:
            raise DamagedBundle(f"manifest.json: graph {name!r} has weights, but no file of them")
        if not self.file.endswith(".onnx"):  # by the name onnxruntime tells its own formats, which are not checked here
            raise DamagedBundle(f"manifest.json: {self.file!r} of graph {name!r} is no .onnx file")
        if self.static:
            self.static.check(name, states)

    def takes(self, position: int) -> bool:
        """Whether the graph may run the token at this position."""
        return self.not_every == 0 or (position + 1) % self.not_every != 0

    def follows(self, position: int) -> bool:
        """Whether the graph is to run after a step to this position."""
        return self.after_every > 0 and position % self.after_every == 0

    def has_input(self, state: str) -> bool:
        """Whether it takes the state of this name."""
        return not self.updates or state in self.updates

    def has_output(self, state: str) -> bool:
        """Whether it gives the state's new value."""
        return self.has_input(state) and state not in self.reads
