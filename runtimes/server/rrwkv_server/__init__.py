"""An OpenAI-compatible server of one bundle, over rrwkv_runtime.

from rrwkv_server import Settings, create_app
app = create_app(Model.load("bundle"), Settings("my-model"))     # any ASGI server runs it; `rrwkv serve` is one
"""

from __future__ import annotations

from rrwkv_server.app import create_app
from rrwkv_server.settings import Limits, Settings
from rrwkv_server.version import __version__

__all__ = ["Limits", "Settings", "__version__", "create_app"]
