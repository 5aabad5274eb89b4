"""One stateful ONNX graph: any number of tokens, from any position, across any number of medium boundaries."""

from __future__ import annotations

from rrwkv_export.graph.build import OPSET, build
from rrwkv_export.graph.names import Over, StateLayout, WeightsDtype, WKVForm, state_layout
from rrwkv_export.graph.prefill.rwkv4_chunked import TOKENS as CHUNKED_TOKENS

__all__ = ["CHUNKED_TOKENS", "OPSET", "Over", "StateLayout", "WKVForm", "WeightsDtype", "build", "state_layout"]
