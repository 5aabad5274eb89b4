"""Where each node ran: onnxruntime's own profile of one run on the CPU, or what it assigned to another provider or to
kernels that are not its own.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rrwkv_export.kernels.rooms import OPERATORS
from rrwkv_runtime.errors import DamagedBundle
from rrwkv_runtime.execution.placement import Node, Placement, count
from rrwkv_runtime.manifest import resolve_inside
from rrwkv_runtime.model import Model
from rrwkv_runtime.providers import import_onnxruntime

TOKENS = 64


def placement(model: Model) -> Placement:
    """Nodes of the bundle's main graph.

    On the CPU, those that ran in a run of some tokens, after onnxruntime's own optimizations; a loop's body counts
    once. On another provider, all nodes as they were assigned: it compiles many into one, and a profile shows but that.
    So too where a kernel of rrwkv-native computes a call.
    """
    assigned = model.nodes[str(model.manifest.graph_that_runs("any"))]
    if model.provider != "cpu" or any(node.operator in OPERATORS for node in assigned):
        return count(assigned)
    with tempfile.TemporaryDirectory(prefix="rrwkv-profile-") as folder:
        events = json.loads(_profile(model, Path(folder)).read_text(encoding="utf-8"))
    ran = {
        (event["name"], event["args"]["op_name"], event["args"]["provider"], event["args"].get("node_index"))
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    return count(Node(name, operator, provider) for name, operator, provider, _ in ran)


def _profile(model: Model, folder: Path) -> Path:
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    graph = resolve_inside(model.path, model.manifest.main.file)
    ids = np.zeros(min(TOKENS, model.manifest.main.chunk), np.int64)
    feeds: dict[str, Any] = {spec.input: spec.initial() for spec in model.manifest.states}
    try:
        session = model.engine.session(str(graph), options)
        session.run(["logits"], {"input_ids": ids, "num_logits": np.array([1]), **feeds})
        return Path(session.end_profiling())
    except Exception as error:  # onnxruntime's own exception types share no base
        raise DamagedBundle(f"{model.path}: onnxruntime cannot profile it: {str(error).splitlines()[0]}") from None
