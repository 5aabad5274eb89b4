"""Bad nodes for the kernels of rrwkv-native: each refused in one line before a kernel sees it, on any x86-64."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import hostile_nodes
import numpy as np
import onnx
import pytest
from hostile_nodes import Node, node_of, outcome

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.architectures.rwkv5 import RWKV5Config
from rrwkv_export.architectures.rwkv6 import RWKV6Config
from rrwkv_export.architectures.rwkv7 import RWKV7Config
from rrwkv_export.bundle import file_entries, save_manifest
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.texts import Text
from rrwkv_runtime.errors import DamagedBundle
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.model import Model

rrwkv_native = pytest.importorskip("rrwkv_native", reason="rrwkv-native is not installed")

V, C, F, R, K = 40, 24, 50, 16, 2
MEDIUMS = RWKV4Config(V, C, 2, F, medium=MediumConfig(interval=3, slots=K, key_size=R))
WITHOUT = RWKV4Config(V, C, 2, F)
RANKS = {"decay_rank": 5, "rate_rank": 7, "value_rank": 3, "gate_rank": 20}
RWKV7 = RWKV7Config(V, C, 2, F, head_size=8, **RANKS)
RWKV6 = RWKV6Config(V, C, 2, F, head_size=8, mix_rank=5, decay_rank=7)
# By the scheme: a model, its form of wkv, and what differs from the scheme's own recipe.
BUNDLES = {
    "int8-static": (MEDIUMS, "plain", {}),
    "int8-dynamic": (WITHOUT, "stable", {}),
    "int4": (MEDIUMS, "stable", {"block": 16}),
    "float16": (replace(MEDIUMS, medium=replace(MEDIUMS.medium, squeeze="mean")), "plain", {}),
    "head none of theirs": (WITHOUT, "stable", {}),
    "rwkv7 int8": (replace(RWKV7, medium=MEDIUMS.medium), "plain", {}),
    "rwkv7 low-rank float32": (RWKV7, "plain", {}),
    "rwkv6 int8": (replace(RWKV6, medium=MEDIUMS.medium), "plain", {}),
    "rwkv5 int4": (RWKV5Config(V, C, 2, F, head_size=8), "plain", {}),
}


@pytest.fixture(scope="module")
def bundles(make_tiny, tmp_path_factory) -> dict[str, Path]:
    """Read only."""
    text, made = Text("random", "0" * 64, (np.random.default_rng(0).integers(0, V, 300),)), {}
    for name, (config, wkv, default) in BUNDLES.items():
        of = {"head none of theirs": "float16", "rwkv7 low-rank float32": "int4"}
        scheme = of.get(name, name.rpartition(" ")[2])
        recipe = shipped_recipe(scheme, config.architecture)
        recipe = replace(recipe, default=replace(recipe.default, **default))
        if name == "head none of theirs":
            recipe = replace(recipe, roles={"head": {"weights": 4, "inputs": "float", "compute": "float32"}})
        elif name == "rwkv7 low-rank float32":
            recipe = recipe.with_role("low_rank.*", weights=32)
        made[name] = tmp_path_factory.mktemp("hostile") / name
        quantize(make_tiny(config, wkv=wkv).path, made[name], recipe, Calibration((text,), None, 0))
    return made


@pytest.fixture(scope="module")
def apart() -> Iterator[Callable[[Node], str]]:
    """A function: what becomes of a node, in a process that it may end."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda node: pool.submit(outcome, node, str(rrwkv_native.path())).result(timeout=120)


def resized(name: str, axis: int, size: int) -> Callable[[Node], None]:
    """A change of what the node calls so."""

    def change(node: Node) -> None:
        value = node.value(name)
        values = node.constants if value in node.constants else node.given
        values[value] = hostile_nodes.resized(values[value], axis, size)

    return change


def typed(name: str, dtype: type) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        value = node.value(name)
        values = node.constants if value in node.constants else node.given
        values[value] = values[value].astype(dtype)

    return change


def given(name: str, number: int) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        value = node.value(name)
        node.given[value] = np.full(node.given[value].shape, number, np.int64)

    return change


def attribute(name: str, value: float) -> Callable[[Node], None]:
    return lambda node: node.attributes.update({name: value})


def names(change: Callable[[list[str]], object]) -> Callable[[Node], None]:
    return lambda node: change(node.names) and None


def both(*changes: Callable[[Node], None]) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        for one in changes:
            one(node)

    return change


def absent(name: str) -> Callable[[Node], None]:
    """An input that is called so and is none."""

    def change(node: Node) -> None:
        node.inputs[node.names.index(name)] = ""

    return change


KEYS = ("blocks.1.medium.query.weight", "blocks.1.medium.key.weight")
MAIN, STEP = "model.onnx", "decode.onnx"
OF_WEIGHTS = [
    ("int8-static", MAIN, both(*(resized(name, 1, 24) for name in KEYS)), f"{KEYS[0]} must be int8 [24, 16], not int8"),
    ("int8-static", STEP, resized(KEYS[0], 1, 4096), f"{KEYS[0]} must be int8 [24, 16], not int8 [24, 4096]"),
    ("int8-static", MAIN, resized(KEYS[1], 1, 15), f"{KEYS[1]} must be int8 [24, 16], not int8 [24, 15]"),
    ("int8-static", MAIN, resized("blocks.1.ffn.key.scale", 0, 49), "blocks.1.ffn.key.scale must be float32 [50]"),
    ("int8-static", MAIN, resized("blocks.1.ffn.value.weight", 0, 49), "ffn.value.weight must be int8 [50, 24]"),
    ("int8-static", STEP, resized("head.weight", 1, 0), "head.weight must be int8 [24, *], not int8 [24, 0]"),
    ("int8-static", STEP, resized("decays", 0, 1), "decays must be float32 [2, 24], not float32 [1"),
    ("int8-static", MAIN, resized("blocks.0.time_mix.recalled", 0, 2), "recalled must be float32 [3, 24]"),
    ("int8-static", MAIN, typed("blocks.0.att.key.input_zero_point", np.int8), "zero_point must be uint8 [], not int8"),
    ("int8-static", MAIN, typed("ln_out.bias", np.float64), "ln_out.bias must be float32 [24], not float64 [24]"),
    ("int8-dynamic", STEP, resized("blocks.0.att.output.weight", 0, 25), "output.weight must be int8 [24, 24]"),
    ("int4", MAIN, resized("blocks.1.medium.query.weight4", 0, 40), "must be uint8 [16, *, *], not uint8 [40, 2, 8]"),
    ("int4", MAIN, resized("blocks.1.att.key.weight4", 1, 1), "must be uint8 [24, 2, 8], not uint8 [24, 1, 8]"),
    (
        "int4",
        STEP,
        resized("blocks.1.att.key.weight4", 2, 7),
        "blocks of 16 to 1024, a power of two, not 14",
    ),
    (
        "int4",
        STEP,
        resized("blocks.0.ffn.value.scale", 0, 95),
        "ffn.value.scale must be float32 [96], not",
    ),
    ("float16", MAIN, resized("blocks.1.medium.up.half", 1, 8), "medium.up.half must be float16"),
    ("float16", STEP, typed("blocks.1.att.key.half", np.float32), "key.half must be float16 [24, 24], not float32"),
    ("head none of theirs", MAIN, resized("decay", 0, 23), "decay must be float32 [24], not float32 [23"),
    ("rwkv7 int8", STEP, resized("blocks.0.att.r_k", 0, 4), "blocks.0.att.r_k must have 24 values, not 32"),
    (
        "rwkv7 int8",
        MAIN,
        resized("blocks.0.att.r_k", 1, 0),
        "blocks.0.att.r_k must be float32 [*, *], not float32 [3, 0",
    ),
    (
        "rwkv7 int8",
        MAIN,
        resized("blocks.1.att.r_k", 0, 2),
        "blocks.1.att.r_k must be float32 [3, 8], not float32 [2, 8",
    ),
    (
        "rwkv7 int8",
        STEP,
        resized("blocks.1.att.ln_x.bias", 1, 7),
        "ln_x.bias must be float32 [3, 8], not float32 [3, 7]",
    ),
    (
        "rwkv7 int8",
        MAIN,
        resized("blocks.1.att.w2.weight8", 1, 2),
        "att.w2.weight8 must be uint8 [24, 1, 32], not uint8",
    ),
    ("rwkv7 int8", MAIN, resized("blocks.1.att.v0", 0, 23), "blocks.1.att.v0 must be float32 [24], not float32 [23"),
    (
        "rwkv7 int8",
        STEP,
        resized("blocks.0.time_mix.now", 0, 5),
        "time_mix.now must be float32 [6, 24], not float32 [5",
    ),
    ("rwkv7 int8", STEP, resized("shortest", 0, 2), "shortest must be float32 [], not float32 [2]"),
    (
        "rwkv7 low-rank float32",
        STEP,
        resized("blocks.0.att.g2.single", 0, 19),
        "g2.single must be float32 [20, 24], not",
    ),
    ("rwkv7 low-rank float32", MAIN, resized("blocks.1.att.v1.single", 1, 0), "v1.single must be float32 [24, *], not"),
    ("rwkv6 int8", STEP, resized("blocks.0.att.u", 1, 9), "blocks.0.att.u must have 24 values, not 27"),
    ("rwkv6 int8", MAIN, resized("blocks.1.att.u", 0, 2), "blocks.1.att.u must be float32 [3, 8], not float32 [2, 8"),
    ("rwkv6 int8", MAIN, resized("blocks.1.att.w0", 0, 25), "blocks.1.att.w0 must be float32 [24], not float32 [25"),
    (
        "rwkv6 int8",
        STEP,
        resized("blocks.1.att.time_maa_w2", 0, 4),
        "time_maa_w2 must be float32 [5, *, 24], not float32 [4, 5, 24]",
    ),
    (
        "rwkv6 int8",
        MAIN,
        resized("blocks.0.att.time_maa_w2", 1, 6),
        "time_maa_w1.weight8 must be uint8 [30, *, *], not uint8 [25",
    ),
    (
        "rwkv6 int8",
        MAIN,
        resized("blocks.0.time_mix.now", 0, 6),
        "time_mix.now must be float32 [7, 24], not float32 [6",
    ),
    (
        "rwkv6 int8",
        STEP,
        resized("blocks.1.channel_mix.now", 0, 1),
        "channel_mix.now must be float32 [2, 24], not float32 [1",
    ),
    ("rwkv5 int4", STEP, resized("blocks.1.att.w", 1, 7), "blocks.1.att.w must be float32 [3, 8], not float32 [3, 7"),
    (
        "rwkv5 int4",
        MAIN,
        resized("blocks.1.time_mix.before", 0, 3),
        "time_mix.before must be float32 [4, 24], not float32 [3",
    ),
    (
        "rwkv5 int4",
        MAIN,
        resized("blocks.1.att.gate.weight4", 0, 23),
        "att.gate.weight4 must be uint8 [24, *, *], not uint8 [23",
    ),
]
OF_NODES = [
    ("int8-static", MAIN, names(lambda n: n.append("x")), "attribute inputs names"),
    ("int8-static", STEP, names(lambda n: n.pop()), "attribute inputs names"),
    ("int4", STEP, names(lambda n: n.__setitem__(n.index("x"), "wkv")), "attribute inputs names wkv twice"),
    ("int4", MAIN, absent("x"), "absent"),
    ("float16", MAIN, absent("ln_out.bias"), "absent"),
    ("head none of theirs", MAIN, names(lambda n: n.__setitem__(n.index("v"), "")), "input v is missing"),
    ("int8-dynamic", STEP, attribute("layers", 3), "input blocks.2.ln1.weight is missing"),
    ("int8-dynamic", MAIN, attribute("layers", -1), "layers must be from 1 to 10000, not -1"),
    ("int4", MAIN, attribute("interval", -(2**63)), "interval must be from 0 to 1073741824, not -9223372036854775808"),
    ("int4", MAIN, attribute("epsilon", float("nan")), "epsilon must be a number from 0 on, not nan"),
    (
        "rwkv7 int8",
        STEP,
        attribute("group_norm_epsilon", -1.0),
        "group_norm_epsilon must be a number from 0 on, not -1",
    ),
    ("rwkv7 int8", MAIN, absent("matrix"), "absent"),
    ("rwkv7 int8", STEP, lambda node: setattr(node, "operator", "DecodeStep"), "input blocks.0.bonus is missing"),
    ("int8-static", STEP, lambda node: setattr(node, "operator", "DecodeStepRWKV7"), "blocks.0.att.r_k is missing"),
    ("rwkv6 int8", STEP, lambda node: setattr(node, "operator", "DecodeStepRWKV5"), "input blocks.0.att.w is missing"),
    ("rwkv5 int4", MAIN, lambda node: setattr(node, "operator", "PrefillRWKV6"), "input blocks.0.att.w0 is missing"),
    ("int8-static", MAIN, lambda node: setattr(node, "outputs", 5), "it must have 7 outputs, not 5"),
]
OF_RUNS = [
    ("int8-static", MAIN, given("num_logits", 8), "num_logits must be from 1 to 7, not 8"),
    ("int8-static", MAIN, given("position", -1), "position must be from 0 to 9223372036854775807, not -1"),
    ("int8-static", MAIN, resized("x", 0, 0), "num_logits must be from 1 to 0, not 2"),
    ("int8-static", STEP, resized("x", 1, 25), "x must be float32 [24], not float32 [1, 25]"),
    ("int8-static", MAIN, resized("medium_key", 1, 3), "medium_key must be float32 [2, 2, 16], not float32 [2, 3, 16]"),
    ("int8-static", STEP, resized("medium_bank.1", 0, 1), "medium_bank.1 must be float32 [2, 24], not float32 [1, 24]"),
    ("int4", STEP, resized("wkv", 1, 2), "wkv must be float32 [2, 3, 24], not float32 [2, 2, 24]"),
    ("int8-dynamic", MAIN, typed("shift", np.float16), "shift must be float32 [2, 2, 24], not float16 [2, 2, 24]"),
    ("rwkv7 int8", STEP, resized("matrix", 2, 9), "matrix must be float32 [2, 3, 8, 8], not float32 [2, 3, 9, 8]"),
    ("rwkv7 int8", MAIN, resized("matrix", 0, 3), "matrix must be float32 [2, 3, 8, 8], not float32 [3, 3, 8, 8]"),
    ("rwkv7 low-rank float32", MAIN, typed("matrix", np.float16), "matrix must be float32 [2, 3, 8, 8], not float16"),
    ("rwkv6 int8", STEP, resized("matrix", 3, 9), "matrix must be float32 [2, 3, 8, 8], not float32 [2, 3, 8, 9]"),
    ("rwkv5 int4", MAIN, resized("shift", 1, 1), "shift must be float32 [2, 2, 24], not float32 [2, 1, 24]"),
    ("head none of theirs", MAIN, resized("v", 0, 6), "v must be float32 [7, 24], not float32 [6, 1, 24]"),
]


@pytest.mark.parametrize(("bundle", "file", "change", "said"), [*OF_WEIGHTS, *OF_NODES, *OF_RUNS])
def test_what_does_not_fit_is_refused_in_one_line(bundle, file, change, said, bundles, apart):
    node = deepcopy(node_of(bundles[bundle] / file))
    change(node)
    message = apart(node)
    assert message.startswith("refused: ")
    assert said in message
    assert any(said in message for said in (f"{node.operator} 'hostile'", "Name:'hostile'", "Node (hostile)"))


def test_weights_that_lie_between_two_are_refused(bundles, tmp_path):
    """In a file, on a byte that no float begins on."""
    node = node_of(bundles["float16"] / STEP)
    model = onnx.load_from_string(node.model())
    tensor = next(t for t in model.graph.initializer if t.name == node.value("blocks.1.ln2.bias"))
    (tmp_path / "data").write_bytes(b"\0" + tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, "data", offset=1, length=len(tensor.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert "lie" in outcome(node, str(rrwkv_native.path()), path=tmp_path / "model.onnx")


def test_a_bundle_that_does_not_fit_is_damaged(bundles, tmp_path, monkeypatch):
    bundle = Path(shutil.copytree(bundles["int4"], tmp_path / "bundle"))
    for file in (MAIN, STEP):
        model = onnx.load(str(bundle / file), load_external_data=False)
        call = next(node for node in model.graph.node if node.domain == "rrwkv")
        next(attribute for attribute in call.attribute if attribute.name == "inputs").s += b",x"
        (bundle / file).write_bytes(model.SerializeToString())
    manifest = Manifest.load(bundle).to_json()
    files = file_entries([bundle / entry["name"] for entry in manifest["files"]], "")
    save_manifest(bundle, manifest | {"files": [vars(entry) for entry in files]})
    monkeypatch.setattr(rrwkv_native, "library", rrwkv_native.path)
    with pytest.raises(DamagedBundle, match=r"attribute inputs names \d+ inputs of \d+$"):
        Model.load(bundle, native=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="tries them in forked processes")
def test_no_hostile_node_ends_the_process(bundles):
    """Changed at random, but always alike; many more of them: `make native-sanitized`."""
    graphs = [path / file for path in bundles.values() for file in (MAIN, STEP)]
    graphs.remove(bundles["head none of theirs"] / STEP)
    command = [sys.executable, hostile_nodes.__file__, rrwkv_native.path(), 0, os.environ.get("HOSTILE", 200), *graphs]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refused" in done.stdout
