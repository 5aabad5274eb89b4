"""Nodes of a graph as a function's body, and a call in their place."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

Attributes = Mapping[str, str | float | int]
_FLOAT = ir.TensorType(ir.DataType.FLOAT)


class Part:
    """The nodes that make some outputs, as far as they make values of a set; inputs: what these read from elsewhere."""

    def __init__(self, domain: str, graph: ir.Graph, outputs: list[ir.Value], within: set[ir.Value]) -> None:
        self.domain, self.graph, self.outputs, self.nodes = domain, graph, outputs, set[ir.Node]()
        read: dict[ir.Value, None] = {}
        waiting = list(reversed(outputs))
        while waiting:
            value = waiting.pop()
            node = value.producer()
            if value not in within or node is None:
                read[value] = None
            elif node not in self.nodes:
                self.nodes.add(node)
                waiting += [given for given in reversed([*node.inputs, *_captured(graph, node)]) if given is not None]
        self.inputs = list(read)

    def function(self, name: str, prefix: str = "", attributes: Attributes | None = None) -> ir.Function:
        """The nodes as a function's body, with nothing in their names of the prefix."""
        body = ir.convenience.extract(self.graph, self.inputs, self.outputs)
        for place, value in enumerate(body.inputs):
            value.name, value.type, value.shape = f"given.{place}", None, None
        _strip(body, prefix)
        for value in (value for node in body for value in node.outputs):
            value.type, value.shape = None, None
        given = ir.convenience.convert_attributes(attributes or {})
        declared = [ir.Attr(attribute.name, attribute.type, None) for attribute in given]
        return ir.Function(self.domain, name, graph=body, attributes=declared)

    def call(self, function: ir.Function, name: str, attributes: Attributes | None = None) -> None:
        """Put a call of the function in the place of the nodes."""
        # The type is said, for bodies with operators that ONNX itself does not know infer none.
        given = [ir.Value(name=value.name, type=_FLOAT, shape=value.shape) for value in self.outputs]
        self.graph.append(ir.node(function.name, self.inputs, attributes, domain=self.domain, outputs=given, name=name))
        for old, new in zip(self.outputs, given):
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        self.graph.remove(self.nodes, safe=True)


def shared(function: ir.Function, functions: dict[bytes, ir.Function]) -> ir.Function:
    """The one with this body that there is; else this one, which then bears a number behind its name if others do."""
    known = functions.setdefault(ir.to_proto(function).SerializeToString(), function)
    if known is function and len(functions) > 1:
        function.name += str(len(functions))
    return known


def _captured(graph: ir.Graph, node: ir.Node) -> list[ir.Value]:
    """What the body of a loop reads from the graph around it."""
    read = [value for body in _bodies(node) for inner in body for value in inner.inputs]
    return [value for value in read if value is not None and value.graph is graph]


def _bodies(node: ir.Node) -> list[ir.Graph]:
    return [attribute.as_graph() for attribute in node.attributes.values() if attribute.type == ir.AttributeType.GRAPH]


def _strip(graph: ir.Graph, prefix: str) -> None:
    """Take the prefix from all names in a graph, and in the bodies of its loops."""
    for node in graph:
        for inner in _bodies(node):
            inner.name = str(inner.name).removeprefix(prefix)
            for value in inner.inputs:
                value.name = str(value.name).removeprefix(prefix)
            _strip(inner, prefix)
        node.name = str(node.name).removeprefix(prefix)
        for value in node.outputs:
            value.name = str(value.name).removeprefix(prefix)
