"""Nodes of a graph as a function's body, and a call in their place; and back, every value under the name it had."""

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


def inline(model: ir.Model) -> None:
    """Put the bodies of functions in the place of their calls: of those that `Part` made, and not of functions whose
    nodes ask for an attribute of the call.
    """
    kept = {name for name, function in model.functions.items() if _asks(function)}
    while calls := [node for node in model.graph if node.op_identifier() in model.functions.keys() - kept]:
        for call in calls:
            _inline(model, call)
    for name in model.functions.keys() - kept:
        del model.functions[name]


def _inline(model: ir.Model, call: ir.Node) -> None:
    body = model.functions[call.op_identifier()].clone()
    given = [str(value.name) for value in call.outputs]
    _prefix(body.graph, given[0].removesuffix(str(body.outputs[0].name)))  # what `_strip` took away
    for inner, outer in zip(body.inputs, call.inputs):
        if outer is not None:
            ir.convenience.replace_all_uses_with(inner, outer)
    nodes, outputs = list(body), list(body.outputs)
    body.outputs.clear()
    body.graph.remove(nodes)
    model.graph.insert_before(call, nodes)
    for old, new, name in zip(call.outputs, outputs, given):
        new.type, new.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        old.name, new.name = None, name
    model.graph.remove(call, safe=True)


def _prefix(graph: ir.Graph, prefix: str) -> None:
    for node in graph:
        for inner in _bodies(node):
            for value in inner.inputs:
                value.name = f"{prefix}{value.name}"
            _prefix(inner, prefix)
        node.name = f"{prefix}{node.name}"
        for value in node.outputs:
            value.name = f"{prefix}{value.name}"


def _asks(function: ir.Function) -> bool:
    return any(attribute.is_ref() for node in function.all_nodes() for attribute in node.attributes.values())


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
