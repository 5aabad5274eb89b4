"""Where onnxruntime put each node of a graph, as it says when a session is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RECORD = "session.record_ep_graph_assignment_info"  # the session option without which nothing is known afterwards
# Where a language model's work is.
_PRODUCTS = ("MatMul", "Gemm", "QLinearMatMul", "DynamicQuantizeMatMul", "FusedMatMul", "QGemm")


@dataclass(frozen=True)
class Node:
    """A node, by onnxruntime's name of the provider that it was given to."""

    name: str
    operator: str
    provider: str

    @property
    def is_product(self) -> bool:
        """Whether it multiplies matrices, quantized ones included."""
        return self.operator.startswith(_PRODUCTS)


Placement = dict[str, dict[str, int]]
"""onnxruntime's name of a provider -> operator -> how many nodes, the most frequent first."""


def assigned(session: Any) -> list[Node]:
    """Nodes of a session made with RECORD, those in the bodies of loops and branches that stay on the CPU included.

    They are counted as they were assigned: before a provider compiles many into one, and before onnxruntime fuses.
    """
    return [
        Node(node.name, node.op_type, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def count(nodes: Iterable[Node]) -> Placement:
    """How many nodes of which operator went where."""
    counts = Counter((node.provider, node.operator) for node in nodes)
    found: Placement = {}
    for (provider, operator), number in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        found.setdefault(provider, {})[operator] = number
    return found


def operators(nodes: Iterable[Node]) -> str:
    """The nodes' operators in a few words: "Scan 8, Add 6"."""
    counts = Counter(node.operator for node in nodes)
    return ", ".join(
        f"{name} {number}" for name, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def shares(graphs: Mapping[str, Sequence[Node]], ort_name: str) -> str | None:
    """What is not on the provider, graph by graph, in one line; None if all is."""
    said = []
    for name, nodes in graphs.items():
        if elsewhere := [node for node in nodes if node.provider != ort_name]:
            said.append(f"{len(elsewhere)} of {len(nodes)} nodes of {name} on the CPU ({operators(elsewhere)})")
    return "; ".join(said) or None
