"""A graph run over a text piece by piece, its state carried on; any of its values can be asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from rrwkv_runtime.bundle.state_spec import StateSpec

Array = np.ndarray[Any, np.dtype[Any]]
_LARGE = 4096  # bytes of a weight that is handed to onnxruntime beside the graph


def carried(
    session: Any, states: Sequence[StateSpec], wanted: Sequence[str], pieces: Iterable[Array]
) -> Iterator[tuple[Array, list[Array]]]:
    """Each piece int64 [T] with the wanted values, of which logits are for all of its tokens."""
    state = {spec.input: spec.initial() for spec in states}
    outputs = [*wanted, *(spec.output for spec in states)]
    for ids in pieces:
        values = session.run(outputs, {"input_ids": ids, "num_logits": np.array([len(ids)], np.int64), **state})
        state = {spec.input: value for spec, value in zip(states, values[len(wanted) :])}
        del values[len(wanted) :]
        yield ids, values
        values = []  # so that they are not held while the next are computed


def chunks(ids: Array, size: int = 256) -> Iterator[Array]:
    """ids [T] in pieces of so many."""
    return (ids[start : start + size] for start in range(0, len(ids), size))


@contextmanager
def exposed(
    model: onnx.ModelProto,
    outputs: Collection[str],
    folder: Path | None = None,
    threads: int | None = None,
    lean: bool = False,
    arrays: Mapping[str, Array] | None = None,
) -> Iterator[Any]:
    """An onnxruntime session that computes these values, and nothing that only others need.

    The graph goes in without its large weights, which might not fit into a protobuf's 2 GB: those in memory as arrays
    (kept for as long as the session; arrays: those that are beside it, by name), those in files by their folder, where
    onnxruntime maps them. threads: None lets onnxruntime choose. lean: keep no second copy of the weights, laid out for
    products, which pays for runs of few tokens only.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors come back as exceptions
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the work between runs needs the cores
    if lean:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    if threads is not None:
        options.intra_op_num_threads = threads
    nodes, used = _needed(model.graph.node, outputs)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in weights if _is_large(tensor)}
    held |= {name: value for name, value in (arrays or {}).items() if name in used}
    options.add_external_initializers(list(held), [ort.OrtValue.ortvalue_from_numpy(v) for v in held.values()])
    known = {value.name: value for value in model.graph.output}
    graph = helper.make_graph(
        nodes,
        model.graph.name,
        model.graph.input,
        [known.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [without_data(tensor) if tensor.name in held else tensor for tensor in weights],
    )
    light = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    yield ort.InferenceSession(light.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _needed(nodes: Sequence[NodeProto], outputs: Collection[str]) -> tuple[list[NodeProto], set[str]]:
    """The nodes that the outputs need, in order, and the names of all values that these read.

    In whatever order they come: onnxruntime's quantizer puts the nodes that it adds at the end.
    """
    makers = {output: index for index, node in enumerate(nodes) for output in node.output}
    before = {i: [makers[name] for name in sorted(_read_by(node)) if name in makers] for i, node in enumerate(nodes)}
    ordered = [nodes[i] for i in TopologicalSorter(before).static_order()]
    kept, read = [], set(outputs)
    for node in reversed(ordered):
        if not read.isdisjoint(node.output):
            kept.append(node)
            read |= _read_by(node)
    return kept[::-1], read


def _read_by(node: NodeProto) -> set[str]:
    """Also by a loop's body, from outside of it."""
    bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return set(node.input).union(*(_read_by(inner) for body in bodies for inner in body.node))


def _is_large(tensor: TensorProto) -> bool:
    return bool(tensor.data_location != TensorProto.EXTERNAL and tensor.ByteSize() >= _LARGE)


def without_data(tensor: TensorProto) -> TensorProto:
    """The name, type and shape of an initializer whose data are handed over by themselves."""
    bare = TensorProto(
        name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=TensorProto.EXTERNAL
    )
    bare.external_data.add(key="location", value="in memory")
    return bare
