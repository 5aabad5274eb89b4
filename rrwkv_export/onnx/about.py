"""What a graph's file says of itself, for viewers such as Netron: the producer, a sentence, and facts by name.

Nothing in it depends on when or where the file was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from rrwkv_export import __version__
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_runtime.bundle.graph_entry import GraphEntry

PRODUCER = "rrwkv-export"
Facts = Mapping[str, str]
_WHAT = {
    "any": "any number of tokens and the states before them to logits and the states after them",
    "one": "one token and the states before it to logits and the states after it",
    "none": "the states where a segment ends to the mediums made of it",
}
# What differs between a bundle's graphs.
_OF_A_GRAPH = frozenset({"graph", "weights"})


def describe(path: Path, name: str, entry: GraphEntry, config: ModelConfig, facts: Facts) -> None:
    """Write it into a graph's file, in place of what was there. facts: those of the bundle."""
    model = onnx.load(str(path), load_external_data=False)
    shape = entry.fixed_shape
    what = f"exactly {shape.tokens} tokens and states to logits and states" if shape else _WHAT[entry.runs]
    family = config.architecture.upper()
    model.producer_name, model.producer_version = PRODUCER, __version__
    model.doc_string = f"{family}, {config.parameters():,} parameters: {what}. manifest.json says more."
    own = {"graph": name, "weights": entry.dtype}
    size = {"architecture": config.architecture, "parameters": str(config.parameters())}
    del model.metadata_props[:]
    for key, value in sorted({**size, **facts, **own}.items()):
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString(deterministic=True))


def bundle_facts(path: Path) -> dict[str, str]:
    """The facts of its bundle that a graph's file holds; none of a file from before there were any."""
    model = onnx.load(str(path), load_external_data=False)
    return {prop.key: prop.value for prop in model.metadata_props if prop.key not in _OF_A_GRAPH}
