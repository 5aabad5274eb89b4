"""Run an exported RRWKV or RWKV-4 bundle. Needs numpy, onnxruntime and tokenizers; nothing else."""

from __future__ import annotations

__version__ = "0.1.0"
