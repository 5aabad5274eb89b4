"""Run a bundle, an exported RWKV model. Needs numpy, onnxruntime and tokenizers; nothing else.

from rrwkv_runtime import Model
model = Model.load("bundle")
for token in model.generate("User: hi\n\nAssistant:", max_tokens=64, temperature=0.8, top_p=0.7, seed=1):
    print(token.text, end="", flush=True)

onnxruntime sends reports of its use to Microsoft unless it is told not to before it is imported; this package tells it
so. Setting ORT_DISABLE_TELEMETRY=0 in the environment lets it.
"""

from __future__ import annotations

import os

from rrwkv_runtime.chat import Chat
from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.generate import Token
from rrwkv_runtime.model import Model
from rrwkv_runtime.sampling import Sampling
from rrwkv_runtime.state import State
from rrwkv_runtime.version import __version__

__all__ = ["Chat", "Model", "RRWKVError", "Sampling", "State", "Token", "__version__"]

# No module above imports onnxruntime: it is loaded with the first bundle, and reads this then.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
