"""Export RRWKV and RWKV-4 checkpoints to one verified stateful ONNX graph."""

from __future__ import annotations

import rrwkv_runtime  # noqa: F401  before any import of onnxruntime, which it tells to send no telemetry

__version__ = "0.1.0"
