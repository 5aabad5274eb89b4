"""What one token costs before it is timed: bytes of weights and states to move, and nodes to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from rrwkv_runtime.bundle.graph_file import check_graph
from rrwkv_runtime.bundle.state_spec import StateSpec
from rrwkv_runtime.errors import DamagedBundle
from rrwkv_runtime.manifest import Manifest, resolve_inside

_ROWS = {"Gather", "GatherBlockQuantized"}  # they read of their weights what their second input asks for


@dataclass(frozen=True)
class TokenCost:
    """read: bytes of weights that a one-token run reads, as they are stored. state: bytes of states that it reads, and
    of those that it writes. nodes: of its graph, loops' bodies too.
    """

    read: int
    state: int
    nodes: int

    @property
    def moved(self) -> int:
        """Bytes that go between memory and processor for a token."""
        return self.read + self.state


def token_cost(bundle: Path, manifest: Manifest, fused: bool = False) -> TokenCost:
    """Of the bundle's graph for one token, or of its main graph if that runs one token too.

    Every weight that a node uses counts once and in full, but of the embedding, one row. fused: a function's call is
    one node, and not those of its body. Raises DamagedBundle.
    """
    decode = manifest.graph_that_runs("one")
    entry = manifest.graphs[decode] if decode else manifest.main
    path = resolve_inside(bundle, entry.file)
    check_graph(path.read_bytes(), f"{bundle}: {entry.file}", entry.data)
    try:
        model = ir.load(path)
        nodes = list(ir.traversal.RecursiveGraphIterator(model.graph))
        used = {id(v): v for node in nodes for v in node.inputs if v is not None and v.is_initializer()}
        count = len(nodes) if fused else sum(_nodes(node, model.functions) for node in nodes)
        return TokenCost(round(sum(map(_read, used.values()))), _state(model.graph, manifest.states), count)
    except Exception as error:  # onnx-ir's and protobuf's share no base
        raise DamagedBundle(f"{bundle}: {entry.file} is no readable graph ({type(error).__name__})") from None


def _state(graph: ir.Graph, states: Sequence[StateSpec]) -> int:
    """Bytes of those states that are the graph's inputs, whole or one for each of the first axis, and outputs."""
    given = {value.name for value in graph.inputs}
    made = {value.name for value in graph.outputs}
    read = sum(spec.nbytes for spec in states if given & {spec.input, f"{spec.input}.0"})
    return read + sum(spec.nbytes for spec in states if spec.output in made)


def _nodes(node: ir.Node, functions: Mapping[ir.OperatorIdentifier, ir.Function]) -> int:
    """1, or as many as a call's body comes to."""
    body = functions.get(node.op_identifier())
    return 1 if body is None else sum(_nodes(inner, functions) for inner in body)


def _read(weight: ir.Value) -> float:
    tensor = weight.const_value
    if tensor is None:
        return 0
    for node, index in weight.uses():
        if node.op_type not in _ROWS or index == 1:
            return tensor.nbytes
    axis = node.attributes.get_int("axis", 0) if node.op_type == "Gather" else 0
    return tensor.nbytes / max(1, tensor.shape.numpy()[axis])
