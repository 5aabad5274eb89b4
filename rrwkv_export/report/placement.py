"""Where each node ran: onnxruntime's own profile of one run."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from rrwkv_runtime.errors import DamagedBundle
from rrwkv_runtime.manifest import resolve_inside
from rrwkv_runtime.providers import import_onnxruntime, resolve
from rrwkv_runtime.session import Model

TOKENS = 64
Placement = dict[str, dict[str, int]]
"""provider -> operator -> how many nodes, the most frequent first; after onnxruntime's own graph optimizations."""


def placement(model: Model, provider: str = "cpu") -> Placement:
    """Nodes of the bundle's main graph that ran in a run of some tokens. A loop's body counts once."""
    with tempfile.TemporaryDirectory(prefix="rrwkv-profile-") as folder:
        events = json.loads(_profile(model, provider, Path(folder)).read_text(encoding="utf-8"))
    nodes = {
        (event["args"]["provider"], event["args"]["op_name"], event["name"], event["args"].get("node_index"))
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    counts = Counter((provider, operator) for provider, operator, *_ in nodes)
    found: Placement = {}
    for (where, operator), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        found.setdefault(where, {})[operator] = count
    return found


def _profile(model: Model, provider: str, folder: Path) -> Path:
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    graph = resolve_inside(model.path, model.manifest.graphs["main"].file)
    ids = np.zeros(min(TOKENS, model.manifest.graphs["main"].chunk), np.int64)
    feeds: dict[str, Any] = {spec.input: spec.initial() for spec in model.manifest.states}
    try:
        session = import_onnxruntime().InferenceSession(str(graph), options, providers=resolve(provider))
        session.run(["logits"], {"input_ids": ids, "num_logits": np.array([1]), **feeds})
        return Path(session.end_profiling())
    except Exception as error:  # onnxruntime's own exception types share no base
        raise DamagedBundle(f"{model.path}: onnxruntime cannot profile it: {str(error).splitlines()[0]}") from None
