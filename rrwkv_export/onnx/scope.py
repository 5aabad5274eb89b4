"""A thin hand on onnx-ir: nodes, constants and lazily loaded weights, each under a readable name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

Array = np.ndarray[Any, np.dtype[Any]]
LoadArray = Callable[[str], Array]
"""Gives a canonical weight as float32 in its canonical shape ([out, in] for a linear layer)."""


@dataclass(frozen=True)
class Scope:
    """Adds nodes to one graph. `scope / "time_mix"` is the same graph, one name deeper; `scope.root` its outermost."""

    tape: ir.tape.Tape = field(default_factory=ir.tape.Tape)
    prefix: str = ""
    shared: dict[str, ir.Value] = field(default_factory=dict)

    def __truediv__(self, name: str) -> Scope:
        return replace(self, prefix=self._full(name))

    @property
    def root(self) -> Scope:
        return replace(self, prefix="")

    def _full(self, name: str) -> str:
        return f"{self.prefix}.{name}" if self.prefix else name

    def op(self, op_type: str, *inputs: ir.Value | None, name: str, **attributes: Any) -> ir.Value:
        """Add a node with one output; both bear the name."""
        full = self._full(name)
        return self.tape.op(op_type, inputs, attributes, name=full, output=ir.Value(name=full))

    def ops(
        self, op_type: str, *inputs: ir.Value | None, names: Sequence[str], **attributes: Any
    ) -> Sequence[ir.Value]:
        """Add a node with several outputs; it bears the name of its first."""
        outputs = [ir.Value(name=self._full(name)) for name in names]
        return self.tape.op_multi_out(op_type, inputs, attributes, outputs=outputs, name=outputs[0].name)

    def const(self, value: Any, dtype: type, name: str) -> ir.Value:
        """A small tensor kept in the graph file."""
        return self.tape.initializer(ir.tensor(np.array(value, dtype=dtype, order="C"), name=self._full(name)))

    def common(self, value: Any, dtype: type, name: str) -> ir.Value:
        """A constant that all layers share; made once under `const.<name>`."""
        if name not in self.shared:
            self.shared[name] = (self.root / "const").const(value, dtype, name)
        return self.shared[name]

    def lazy(self, load: Callable[[], Array], dtype: ir.DataType, shape: Sequence[int], name: str) -> ir.Value:
        """A large tensor that is made when the file is written, and not kept."""
        full = self._full(name)
        tensor = ir.LazyTensor(lambda: ir.tensor(load(), name=full), dtype, ir.Shape(shape), name=full)
        return self.tape.initializer(tensor)

    def clip(self, x: ir.Value, limit: float, name: str) -> ir.Value:
        """x held within ± limit."""
        low, high = (
            self.common(sign * limit, np.float32, f"{n}_{limit:g}") for sign, n in ((-1, "minus"), (1, "plus"))
        )
        return self.op("Clip", x, low, high, name=name)

    def slice(self, x: ir.Value, start: int, end: int, axis: int, name: str) -> ir.Value:
        """x[start:end] along an axis, places as int32."""
        places = (self.common([value], np.int32, f"int32_{value}") for value in (start, end, axis))
        return self.op("Slice", x, *places, name=name)

    @staticmethod
    def body(outside: Scope) -> Scope:
        """A scope for the nodes of a subgraph that runs inside a node of `outside`."""
        return replace(outside, tape=ir.tape.Tape())

    def input(self, name: str) -> ir.Value:
        """An input of a subgraph, float32."""
        return ir.Value(name=self._full(name), type=ir.TensorType(ir.DataType.FLOAT))

    def graph(self, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> ir.Graph:
        """The nodes so far as a subgraph."""
        return ir.Graph(inputs, outputs, nodes=self.tape.nodes, name=self.prefix)
