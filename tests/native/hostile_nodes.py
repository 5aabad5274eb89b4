"""Hostile nodes for the kernels of rrwkv-native: nodes of real bundles, changed as whoever makes a bundle may.

    python tests/hostile_nodes.py LIBRARY FIRST COUNT GRAPH…

tries COUNT of them, the first of number FIRST; each is that number's always. They run in children of this process, for
a node that is not refused may end one. It ends with 1 if one did. Where the processor lacks what the kernels are made
of, a child that ends for want of it counts as one that was let through.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

_SECONDS = 60
_TOKENS = 7
_TYPES = (np.float32, np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_)
_ATTRIBUTES = {
    "layers": (-(2**63), -1, 0, 1, 3, 10000, 10001, 2**31, 2**63 - 1, 2.5, "2"),
    "interval": (-(2**63), -1, 0, 1, 2, 2**31, 2**62, 2**63 - 1, 0.5),
    "epsilon": (0.0, -1.0, float("nan"), float("inf"), 1e38, 1, "small"),
    "group_norm_epsilon": (0.0, -1.0, float("nan"), float("inf"), 1e38, 1, "small"),
}


@dataclass
class Node:
    """names: what it calls its inputs. inputs: which values they are, "" for none. given: values of a run."""

    operator: str
    names: list[str]
    inputs: list[str]
    constants: dict[str, np.ndarray]
    given: dict[str, np.ndarray]
    attributes: dict[str, Any]
    outputs: int

    def model(self) -> bytes:
        outputs = [f"out{i}" for i in range(self.outputs)]
        node = helper.make_node(self.operator, self.inputs, outputs, "hostile", domain="rrwkv", **self.attributes)
        node.attribute.append(helper.make_attribute("inputs", ",".join(self.names)))
        taken = [helper.make_tensor_value_info(name, _type(value), None) for name, value in self.given.items()]
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output]
        constants = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("rrwkv", 1)]
        graph = helper.make_graph([node], "hostile", taken, made, constants)
        model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
        return model

    def value(self, name: str) -> str | None:
        """The value that the node calls so."""
        return dict(zip(self.names, self.inputs)).get(name)


def _type(value: np.ndarray) -> int:
    return helper.np_dtype_to_tensor_dtype(value.dtype)


def node_of(path: Path) -> Node:
    """The first node for the kernels of a graph, with values of a run that it takes."""
    model = onnx.load(str(path))
    node = next(node for node in model.graph.node if node.domain == "rrwkv")
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    names = attributes.pop("inputs").decode().split(",")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name in node.input}
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    called = dict(zip(node.input, names))
    rng = np.random.default_rng(0)
    norm = next(value for key, value in constants.items() if called[key] in ("ln_out.weight", "bonus"))
    tokens, channels = 1 if node.op_type.startswith("DecodeStep") else _TOKENS, norm.size
    given: dict[str, np.ndarray] = {}
    for name in node.input:
        if not name or name in constants:
            continue
        call = called[name]
        if call in ("position", "num_logits"):
            given[name] = np.full(shapes.get(name, []), 5 if call == "position" else 2, np.int64)
        elif call == "x":
            given[name] = rng.normal(size=(tokens, channels)).astype(np.float32)
        elif node.op_type == "GatedWKV":
            shape = {"sums": (1, 2, channels), "exponent": (1, 1, channels)}.get(call, (tokens, 1, channels))
            given[name] = rng.uniform(0.1, 1, shape).astype(np.float32)
        else:
            given[name] = rng.uniform(0.1, 1, shapes[name]).astype(np.float32)
    return Node(node.op_type, names, list(node.input), constants, given, attributes, len(node.output))


# --- changes ---------------------------------------------------------------------------------------------------------


def _size(rng: random.Random, size: int) -> int:
    return rng.choice([0, 1, size - 1, size + 1, size + 16, 2 * size, size // 2, size + 64, 1000]) % 4096


def resized(value: np.ndarray, axis: int, size: int) -> np.ndarray:
    shape = (*value.shape[:axis], max(size, 0), *value.shape[axis + 1 :])
    return np.resize(value, shape) if value.size else np.zeros(shape, value.dtype)


def _some(rng: random.Random, values: dict[str, np.ndarray]) -> str | None:
    return rng.choice(list(values)) if values else None


def _one_size(rng: random.Random, node: Node) -> None:
    """One axis of one value."""
    values = rng.choice([node.constants, node.constants, node.given])
    if (name := _some(rng, values)) and values[name].ndim:
        axis = rng.randrange(values[name].ndim)
        values[name] = resized(values[name], axis, _size(rng, values[name].shape[axis]))


def _sizes_of_a_layer(rng: random.Random, node: Node) -> None:
    """Everything that has a certain size, in one layer: it agrees with itself, and not with the others."""
    layers = {name.split(".")[1] for name in node.names if name.startswith("blocks.")}
    prefix = f"blocks.{rng.choice(sorted(layers))}." if layers else ""
    if rng.random() < 0.7:
        prefix += rng.choice(["medium.", "medium.query", "medium.down", "ffn.", "att."])
    called = dict(zip(node.inputs, node.names))
    mine = {k: v for k, v in node.constants.items() if called.get(k, "").startswith(prefix)}
    if not (sizes := sorted({size for value in mine.values() for size in value.shape if size > 1})):
        return
    old = rng.choice(sizes)
    new = _size(rng, old)
    for name, value in mine.items():
        for axis, size in enumerate(value.shape):
            if size == old:
                value = resized(value, axis, new)
        node.constants[name] = value


def _rank(rng: random.Random, node: Node) -> None:
    values = rng.choice([node.constants, node.given])
    if name := _some(rng, values):
        shapes = [(-1,), (1, *values[name].shape), values[name].shape[::-1], (*values[name].shape, 1)]
        values[name] = np.ascontiguousarray(values[name]).reshape(rng.choice(shapes))
        if rng.random() < 0.2 and values[name].size:
            values[name] = values[name].reshape(-1)[:1].reshape(())


def _dtype(rng: random.Random, node: Node) -> None:
    values = rng.choice([node.constants, node.given])
    if name := _some(rng, values):
        with np.errstate(all="ignore"):
            values[name] = values[name].astype(rng.choice(_TYPES))


def _bytes(rng: random.Random, node: Node) -> None:
    """Other values of the same size: any bits, and numbers that are none."""
    values = rng.choice([node.constants, node.given])
    if name := _some(rng, values):
        old = values[name]
        if old.dtype == np.float32 and rng.random() < 0.6:
            values[name] = np.full_like(old, rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, 0, -1, 1e-44]))
        else:
            values[name] = np.frombuffer(rng.randbytes(old.nbytes), old.dtype).reshape(old.shape).copy()


def _names(rng: random.Random, node: Node) -> None:
    names, i, j = node.names, rng.randrange(len(node.names)), rng.randrange(len(node.names))
    kind = rng.randrange(8)
    others = ["", "x", "shift", "wkv", "position", "medium_bank", "medium_key.0", "blocks.0.ffn.key.weight4", "decays"]
    others += ["matrix", "shortest", "blocks.0.att.v0", "blocks.1.att.w1.weight8", "blocks.1.att.r_k"]
    others += ["blocks.0.att.u", "blocks.1.att.w0", "blocks.1.att.time_maa_w2", "blocks.0.ffn.receptance.weight8"]
    if kind == 0:
        names[i] = rng.choice([*others, names[j], "é" * rng.randrange(300), "blocks.99.ln1.weight"])
    elif kind == 1:
        del names[i]
    elif kind == 2:
        names[i], names[j] = names[j], names[i]
    elif kind == 3:
        rng.shuffle(names)
    elif kind == 4:
        names.extend(rng.choices([*others, *names], k=rng.choice([1, 2, 50])))
    elif kind == 5:
        names[:] = [name.replace("blocks.1", "blocks.0") for name in names]
    elif kind == 6:
        names[i] = rng.choice([".weight4", ".weight8", ".float8", ".half", ".single", ".weight"]).join(
            names[i].rsplit(".", 1)[:1]
        )
    else:
        names.insert(i, rng.choice(others))


def _inputs(rng: random.Random, node: Node) -> None:
    inputs, i, j = node.inputs, rng.randrange(len(node.inputs)), rng.randrange(len(node.inputs))
    kind = rng.randrange(6)
    if kind == 0:
        inputs[i] = ""
    elif kind == 1 and len(inputs) > 1:
        del inputs[i]
    elif kind == 2:
        inputs[i], inputs[j] = inputs[j], inputs[i]
    elif kind == 3:
        inputs[i] = inputs[j]
    elif kind == 4:
        inputs.append(inputs[j])
    else:
        del inputs[rng.randrange(len(inputs)) :]


def _constancy(rng: random.Random, node: Node) -> None:
    """A constant comes with a run, or a run's value is a constant."""
    source, target = rng.choice([(node.constants, node.given), (node.given, node.constants)])
    if name := _some(rng, source):
        target[name] = source.pop(name)


def _attributes(rng: random.Random, node: Node) -> None:
    if name := rng.choice([*node.attributes, None]):
        node.attributes[name] = rng.choice(_ATTRIBUTES[name])
        if rng.random() < 0.1:
            del node.attributes[name]


def _numbers(rng: random.Random, node: Node) -> None:
    for name in ("position", "num_logits"):
        if (value := node.value(name)) in node.given and rng.random() < 0.7:
            extreme = rng.choice([-(2**63), -1, 0, 1, 2, 6, 7, 8, 50, 2**31, 2**32 + 1, 2**62, 2**63 - 1])
            node.given[value] = np.full(node.given[value].shape, extreme, np.int64)


def _tokens(rng: random.Random, node: Node) -> None:
    count = rng.choice([0, 1, 2, 15, 33, 100])
    for name in ("x", "k", "v", "r") if rng.random() < 0.8 else rng.choices(["x", "k", "v", "r"], k=1):
        if (value := node.value(name)) in node.given and node.given[value].ndim:
            node.given[value] = resized(node.given[value], 0, count)


def _slots(rng: random.Random, node: Node) -> None:
    count = rng.choice([0, 1, 2, 3, 40])
    for name, value in node.given.items():
        if name.startswith(("medium_bank", "medium_key")) and value.ndim > 1 and rng.random() < 0.9:
            node.given[name] = resized(value, value.ndim - 2, count)


def _outputs(rng: random.Random, node: Node) -> None:
    node.outputs = rng.choice([1, 2, node.outputs - 1, node.outputs + 1, 9])


Change = Callable[[random.Random, Node], None]
_CHANGES: dict[Change, int] = {
    _one_size: 4,
    _sizes_of_a_layer: 4,
    _rank: 2,
    _dtype: 2,
    _bytes: 2,
    _names: 3,
    _inputs: 2,
    _constancy: 1,
    _attributes: 2,
    _numbers: 2,
    _tokens: 2,
    _slots: 2,
    _outputs: 1,
}


def hostile(node: Node, number: int) -> Node:
    """The same node with one to three changes."""
    rng, node = random.Random(number), deepcopy(node)
    for change in rng.choices(list(_CHANGES), list(_CHANGES.values()), k=rng.choice([1, 1, 2, 3])):
        change(rng, node)
        if not (node.names and node.inputs):
            break
    return node


# --- trying them -----------------------------------------------------------------------------------------------------


def outcome(node: Node, library: str, threads: int = 1, path: Path | None = None) -> str:
    """ "ran", or what onnxruntime said; it ends the process, or not. path: of the node's model, if it is in a file."""
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, threads
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # every value in memory of its own
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("rrwkv.threads", str(threads))
    options.register_custom_ops_library(library)
    model = str(path) if path else node.model()
    try:
        session = ort.InferenceSession(model, options)
        session.run(None, {value.name: node.given[value.name] for value in session.get_inputs()})
    except Exception as error:  # onnxruntime's own share no base
        return "refused: " + " ".join(str(error).split())
    return "ran"


def _child(numbers: Sequence[int], nodes: Sequence[Node], library: str, tell: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in numbers:
        signal.alarm(_SECONDS)
        said = outcome(hostile(nodes[number % len(nodes)], number), library, 1 + number % 3)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        os.write(tell, f"{number}\t{peak}\t{said[:400]}\n".encode())


def tried(numbers: Sequence[int], nodes: Sequence[Node], library: str) -> Iterator[tuple[int, int, str]]:
    """Of each number: it, the most memory so far in MB, and the outcome, which for a child that ended begins "died"."""
    left = list(numbers)
    while left:
        read, write = os.pipe()
        with tempfile.TemporaryFile() as errors:
            if (child := os.fork()) == 0:
                os.dup2(errors.fileno(), 2)
                try:
                    _child(left[:200], nodes, library, write)
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
            os.close(write)
            with os.fdopen(read, encoding="utf-8", errors="replace") as lines:
                told = [line.rstrip("\n").split("\t", 2) for line in lines]
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            errors.seek(0)
            printed = errors.read().decode(errors="replace")
        for number, peak, said in told:
            yield int(number), int(peak), said
        if len(told) < len(left[:200]):
            yield left[len(told)], 0, f"died ({status}): {_summary(printed)}"
            left = left[len(told) + 1 :]
        else:
            left = left[200:]
        if complaints := [line for line in printed.splitlines() if "runtime error" in line]:
            yield -1, 0, f"complained: {complaints[0]}"


def _summary(printed: str) -> str:
    """What a sanitizer says in short, and where in the kernels it was."""
    lines = printed.splitlines()
    summary = [line for line in lines if line.startswith(("SUMMARY", "terminate", "  what"))] or lines[-1:]
    where = [line.split(" in ")[-1] for line in lines if "/src/" in line and line.lstrip().startswith("#")]
    return " ".join([*summary, *where[:3]])


def main() -> int:
    library, first, count, *graphs = sys.argv[1:]
    nodes = [node_of(Path(graph)) for graph in graphs]
    for node in nodes:
        assert deepcopy(node).model()
    numbers = range(int(first), int(first) + int(count))
    kinds: Counter[str] = Counter()
    most = 0
    for number, peak, said in tried(numbers, nodes, library):
        most, kind = max(most, peak), said.split(":")[0].split(" (")[0]
        missing = said.startswith(f"died ({-signal.SIGILL})")
        kinds["let through" if missing else kind] += 1
        if kind in ("died", "complained") and not missing:
            print(number, graphs[number % len(graphs)], said, flush=True)
        elif os.environ.get("SHOW"):
            print(number, said)
    print(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()), f"; at most {most} MB")
    return int(kinds["died"] + kinds["complained"] > 0)


if __name__ == "__main__":
    sys.exit(main())
