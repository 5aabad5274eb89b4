"""Measurements. Nothing here is part of a test; each module prints a table and says what machine it ran on."""

import rrwkv_runtime  # noqa: F401  before any import of onnxruntime, which it tells to send no telemetry
