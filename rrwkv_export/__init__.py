"""Export RRWKV and RWKV-4 checkpoints to one verified stateful ONNX graph."""

from __future__ import annotations

__version__ = "0.1.0"
