"""What a manifest says of one graph: its files, how many tokens it takes, and which states it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rrwkv_runtime.bundle.fixed_shape import FixedShape
from rrwkv_runtime.bundle.shared_weights import Weight
from rrwkv_runtime.bundle.state_spec import StateSpec
from rrwkv_runtime.errors import DamagedBundle

Runs = Literal["any", "one", "none", "fixed"]


@dataclass(frozen=True)
class GraphEntry:
    """One ONNX graph. A runtime finds it by `runs` and `variant`; the name that it stands under is for people.

    file, data   the graph, and the external weight files it reads, all named from the bundle's folder
    runs         how many tokens a run takes: "any" number, "one", "none" (it completes the states after some of those
                 that "one" took), or "fixed": as many as `fixed_shape` says
    chunk        most tokens worth giving to one run
    dtype        of the stored weight matrices
    over         how it was built to run over its tokens (loop, chunked, decode_cpu …); nothing that a runtime needs
    reads        states that it only reads: through one input `name.i` for each of the first axis; whole where it takes
                 no tokens
    updates      of one that takes no tokens: the states that it takes and gives, whole
    after_every  of the same: it is run after a token by which a whole number comes to a multiple of this, or past it
    counts       of the same: the state that this number is; "" for the position
    variant      None for the graphs that run by default, else what they are loaded by
    fixed_shape  of a graph in fixed shapes
    weights      constants in the first of `data` that other graphs have too
    """

    file: str
    data: tuple[str, ...]
    runs: Runs
    chunk: int
    dtype: str
    opset: int
    over: str = ""
    reads: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()
    after_every: int = 0
    counts: str = ""
    variant: str | None = None
    fixed_shape: FixedShape | None = None
    weights: tuple[Weight, ...] = ()

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> GraphEntry:
        lists = {name: tuple(fields.get(name, ())) for name in ("data", "reads", "updates")}
        weights = tuple(map(Weight.from_json, fields.get("weights", ())))
        shape = FixedShape.from_json(fields["fixed_shape"]) if fields.get("fixed_shape") else None
        return cls(**{**fields, **lists, "fixed_shape": shape, "weights": weights})

    def check(self, name: str, states: Mapping[str, StateSpec]) -> None:
        """Raises DamagedBundle if what it says of these states cannot be."""
        if unknown := sorted({*self.reads, *self.updates} - states.keys()):
            raise DamagedBundle(f"manifest.json: {unknown[0]!r} of graph {name!r} is no state")
        if self.runs == "none" and not (self.updates and self.after_every):
            raise DamagedBundle(f"manifest.json: graph {name!r} does not say which states it updates, and when")
        if self.runs != "none" and (self.updates or self.after_every or self.counts):
            raise DamagedBundle(f"manifest.json: graph {name!r} takes tokens, and yet says when it updates states")
        if (self.runs == "fixed") != (self.fixed_shape is not None):
            raise DamagedBundle(f"manifest.json: graph {name!r} runs {self.runs!r}, which is not what fixed_shape says")
        if self.counts and (self.counts not in states or not states[self.counts].is_whole_number):
            raise DamagedBundle(f"manifest.json: {self.counts!r}, which graph {name!r} counts, is no int64 of shape []")
        if self.reads and self.runs not in ("one", "none"):
            raise DamagedBundle(f"manifest.json: graph {name!r} only reads states, but does not run one token")
        if self.weights and not self.data:
            raise DamagedBundle(f"manifest.json: graph {name!r} has weights, but no file of them")
        if not self.file.endswith(".onnx"):  # by the name onnxruntime tells its own formats, which are not checked here
            raise DamagedBundle(f"manifest.json: {self.file!r} of graph {name!r} is no .onnx file")
        if self.fixed_shape:
            self.fixed_shape.check(name, states)

    def follows(self, before: int, after: int) -> bool:
        """Whether the graph is to run after a token that moved what it counts so."""
        return self.after_every > 0 and before // self.after_every < after // self.after_every

    def has_input(self, state: str) -> bool:
        """Whether it takes the state of this name."""
        return not self.updates or state in self.updates or state in self.reads

    def takes_apart(self, state: str) -> bool:
        """Whether it takes it through one input for each of the first axis."""
        return self.runs == "one" and state in self.reads

    def has_output(self, state: str) -> bool:
        """Whether it gives the state's new value."""
        return self.has_input(state) and state not in self.reads
