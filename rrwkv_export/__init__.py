"""Export RWKV checkpoints to verified bundles of stateful ONNX graphs, and quantize them."""

from __future__ import annotations

import rrwkv_runtime  # noqa: F401  before any import of onnxruntime, which it tells to send no telemetry

__version__ = "0.1.0"
