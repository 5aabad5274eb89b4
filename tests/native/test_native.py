"""The kernels of rrwkv-native against onnxruntime's own: the same bits, whatever the model's sizes; and bad graphs."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from checkpoint_files import SMALL
from test_cli import rrwkv

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.bench import Options
from rrwkv_export.bundle import file_entries, save_manifest
from rrwkv_export.kernels.fuse import DOMAIN
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.texts import Text
from rrwkv_runtime.errors import DamagedBundle
from rrwkv_runtime.execution import native
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.model import Model

rrwkv_native = pytest.importorskip("rrwkv_native", reason="rrwkv-native is not installed")
needs_kernels = pytest.mark.skipif(rrwkv_native.library() is None, reason="the processor has none of the kernels")
on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not onnxruntime's bits on Arm")

ATTENTION = replace(SMALL, vocab_size=300)
WIDE = RWKV4Config(5000, 192, 2, 700, medium=MediumConfig(interval=5, slots=40, key_size=48, squeeze="mean"))
RWKV_4 = RWKV4Config(130, 72, 3, 200)
# What the kernels call weights that the graph calls otherwise.
NAMES = {
    "blocks.0.att.key.weight_quantized": "blocks.0.att.key.weight",
    "head.weight_scale": "head.scale",
    "blocks.0.att.value.weight.half": "blocks.0.att.value.half",
}
IDS = np.random.default_rng(3).integers(0, 130, 90)


@pytest.fixture(scope="module")
def quantized(make_tiny, tmp_path_factory):
    """A function: a random model of a config, quantized by a scheme, perhaps with another block; each once."""
    made: dict[object, Path] = {}

    def make(config, scheme, block=None, wkv="plain"):
        if (key := (config, scheme, block, wkv)) not in made:
            out = tmp_path_factory.mktemp("native") / scheme
            recipe = shipped_recipe(scheme)
            if block:
                default = replace(recipe.default, block=block, inputs="float", equalize=0)
                recipe = replace(recipe, default=default, roles={"emb": {"weights": 8}}, layers={})
            text = Text("random", "0" * 64, (np.random.default_rng(0).integers(0, config.vocab_size, 300),))
            quantize(make_tiny(config, wkv=wkv).path, out, recipe, Calibration((text,), None, 0))
            made[key] = out
        return made[key]

    return make


def decoded(path, **options):
    """Logits of a prompt, of tokens one by one over the ends of segments, and of runs of other lengths."""
    decoder = Model.load(path, **{"threads": 1, **options}).decoder()
    rows = [decoder.prefill(IDS[:13]).copy(), *(decoder.step(i).copy() for i in IDS[13:])]
    rows += [*decoder.run(IDS, 40), *decoder.run(IDS[:1]), *decoder.run(IDS[:37], 1, chunk=17)]
    return np.stack(rows), decoder.state().values


def assert_same(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    for name, value in one[1].items():
        np.testing.assert_array_equal(value, other[1][name], err_msg=name)


def calls(path, file="decode.onnx"):
    graph = onnx.load(str(path / file), load_external_data=False).graph
    return [node.op_type for node in graph.node if node.domain == DOMAIN]


@on_x86
@needs_kernels
@pytest.mark.parametrize("scheme", ["int8-static", "int8-dynamic"])
@pytest.mark.parametrize("wkv", ["plain", "stable"])
@pytest.mark.parametrize("config", [ATTENTION, WIDE, RWKV_4], ids=["attention", "wide", "rwkv-4"])
def test_weights_in_columns_give_onnxruntimes_bits(config, wkv, scheme, quantized):
    path = quantized(config, scheme, wkv=wkv)
    assert calls(path) == ["DecodeStep"]
    assert calls(path, "model.onnx") == ["Prefill"]
    assert_same(decoded(path, native=True), decoded(path, native=False))


@needs_kernels
@pytest.mark.parametrize(("scheme", "block"), [("int8-static", None), ("int4", 16), ("int4", 64), ("int8", 128)])
def test_the_matrix_unit_changes_no_bit(scheme, block, monkeypatch, quantized):
    path, register = quantized(WIDE, scheme, block), native.register

    def without_it(options, library, threads):
        options.add_session_config_entry("rrwkv.amx", "0")
        register(options, library, threads)

    with_it = decoded(path, native=True)
    monkeypatch.setattr(native, "register", without_it)
    assert_same(decoded(path, native=True), with_it)


@needs_kernels
@pytest.mark.parametrize("block", [16, 32, 64, 128])
@pytest.mark.parametrize("scheme", ["int8", "int4", "int8-weight"])
def test_weights_in_blocks_are_as_close_as_onnxruntimes_orders_of_summing(scheme, block, quantized):
    path = quantized(WIDE, scheme, block)
    assert calls(path) == ["DecodeStep"]
    ours, theirs = Model.load(path, threads=1, native=True), Model.load(path, threads=1, native=False)
    state, errors = theirs.forward(IDS[:13])[1], []
    for token in IDS[13:]:
        logits, decoder = ours.decoder(state).step(token), theirs.decoder(state)
        errors.append(np.abs(logits - decoder.step(token)).max() / np.abs(logits).max())
        state = decoder.take_state()
    assert np.median(errors) < 1e-5
    assert max(errors) < 0.02  # where an activation lies on the edge between two whole numbers


@needs_kernels
@pytest.mark.parametrize("block", [16, 32, 64, 128])
@pytest.mark.parametrize("scheme", ["int8", "int4", "int8-weight"])
def test_a_prompt_in_blocks_gives_the_same_however_it_is_cut(scheme, block, quantized):
    """And nearly what steps give, until an activation lies on the edge between two whole numbers."""
    path = quantized(WIDE, scheme, block)
    model, more = Model.load(path, threads=1, native=True), Model.load(path, threads=3, native=True)
    at_once = model.forward(IDS, num_logits=len(IDS))[0]
    np.testing.assert_array_equal(model.forward(IDS, num_logits=len(IDS), chunk=17)[0], at_once)
    np.testing.assert_array_equal(model.forward(IDS, num_logits=len(IDS), chunk=1)[0], at_once)
    np.testing.assert_array_equal(more.forward(IDS, num_logits=len(IDS))[0], at_once)
    decoder = model.decoder()
    steps = np.stack([decoder.step(token).copy() for token in IDS])
    errors = np.abs(at_once - steps).max(axis=1) / np.abs(at_once).max()
    assert errors[0] < 1e-5  # which token is the first on the edge is chance
    assert errors.max() < 0.05


@needs_kernels
@pytest.mark.parametrize("block", [16, 32, 64, 128])
@pytest.mark.parametrize("scheme", ["int8", "int4", "int8-weight"])
def test_a_prompt_in_blocks_is_as_close_as_onnxruntimes_orders_of_summing(scheme, block, quantized):
    path = quantized(WIDE, scheme, block)
    ours, theirs = Model.load(path, threads=1, native=True), Model.load(path, threads=1, native=False)
    state, errors = theirs.initial_state(), []
    for start in range(0, len(IDS), 2):
        logits, _ = ours.forward(IDS[start : start + 2], state)
        wanted, state = theirs.forward(IDS[start : start + 2], state)
        errors.append(np.abs(logits - wanted).max() / np.abs(wanted).max())
    assert np.median(errors) < 1e-5
    assert max(errors) < 0.02


@needs_kernels
@pytest.mark.parametrize("scheme", ["float16", "float32"])
@pytest.mark.parametrize("wkv", ["plain", "stable"])
@pytest.mark.parametrize("config", [ATTENTION, WIDE, RWKV_4], ids=["attention", "wide", "rwkv-4"])
def test_weights_as_floats_give_the_same_in_runs_in_steps_and_by_more_threads(config, wkv, scheme, quantized):
    path = quantized(config, scheme, wkv=wkv)
    assert (calls(path), calls(path, "model.onnx")) == (["DecodeStep"], ["Prefill"])
    ours = Model.load(path, threads=1, native=True)
    at_once = ours.forward(IDS, num_logits=len(IDS))[0]
    theirs = Model.load(path, threads=1, native=False).forward(IDS, num_logits=len(IDS))[0]
    assert np.abs(at_once - theirs).max() < 1e-5 * np.abs(theirs).max()
    np.testing.assert_array_equal(ours.forward(IDS, num_logits=len(IDS), chunk=17)[0], at_once)
    decoder = ours.decoder()
    np.testing.assert_array_equal([decoder.step(token).copy() for token in IDS], at_once)
    assert_same(decoded(path, native=True, threads=3), decoded(path, native=True))


@needs_kernels
@pytest.mark.parametrize("threads", [2, 7])
def test_the_number_of_threads_does_not_change_a_bit(threads, quantized):
    path = quantized(WIDE, "int8-static")
    assert_same(decoded(path, native=True, threads=threads), decoded(path, native=True))


@needs_kernels
def test_threads_that_never_come_are_not_waited_for(quantized):
    """A session with fewer threads than the kernels were told of."""
    path, options = quantized(WIDE, "int8-static"), ort.SessionOptions()
    options.intra_op_num_threads = 1
    native.register(options, native.Kernels(rrwkv_native.path()), 4)
    session = ort.InferenceSession(path / "model.onnx", options)
    manifest = Manifest.load(path)
    states = {spec.input: spec.initial() for spec in manifest.states}
    logits = session.run(["logits"], {"input_ids": IDS, "num_logits": np.array([1]), **states})[0]
    np.testing.assert_array_equal(logits, Model.load(path, threads=1).forward(IDS)[0])


@needs_kernels
def test_conversations_at_once_do_not_meet(quantized):
    """Of one model, each in a thread of its own: they take turns at the session's threads."""
    model = Model.load(quantized(WIDE, "int8-static"), threads=3, native=True)

    def talk(_):
        decoder = model.decoder()
        return np.stack([*decoder.run(IDS, 40), *(decoder.step(i).copy() for i in IDS[:20])])

    alone = talk(0)
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(talk, range(12)):
            np.testing.assert_array_equal(together, alone)


@needs_kernels
def test_threads_that_sleep_change_no_bit(quantized):
    path = quantized(WIDE, "int8-static")
    assert_same(decoded(path, native=True, threads=2, spin=False), decoded(path, native=True))


@pytest.mark.parametrize(
    ("file", "whole", "layer"),
    [("decode.onnx", "DecodeStep", "DecodeLayer"), ("model.onnx", "Prefill", "PrefillLayer")],
)
def test_layers_of_one_kind_share_a_function_and_others_have_their_own(file, whole, layer, quantized):
    shared = ir.load(quantized(WIDE, "int8-static") / file).functions
    assert {function.name for function in shared.values()} == {whole, layer}
    apart = ir.load(quantized(WIDE, "int4") / file).functions  # layer 0's ffn.key has eight bits by the recipe
    assert {function.name for function in apart.values()} == {whole, layer, f"{layer}2"}


def test_what_the_kernel_does_not_know_stays_as_it_is(make_tiny, tmp_path):
    path, recipe = (
        tmp_path / "head-none-of-theirs",
        replace(shipped_recipe("float16"), roles={"head": {"weights": 4, "inputs": "float", "compute": "float32"}}),
    )
    quantize(make_tiny(ATTENTION).path, path, recipe, Calibration((), None, 0))
    assert calls(path) == []
    assert set(calls(path, "model.onnx")) == {"GatedWKV"}


@pytest.mark.parametrize("file", ["decode.onnx", "model.onnx"])
@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ("int8-static", "blocks.0.att.key.weight_quantized"),
        ("int8-static", "blocks.1.ln2.weight"),
        ("int8-static", "head.weight_scale"),
        ("float16", "blocks.0.att.value.weight.half"),
    ],
)
def test_a_weight_of_another_shape_is_an_error(file, scheme, name, quantized, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(quantized(ATTENTION, scheme), bundle)
    model = onnx.load(str(bundle / file))
    weight = next(t for t in model.graph.initializer if t.name == name)
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight)[..., :-1], name))
    onnx.save(model, str(bundle / file))
    manifest = Manifest.load(bundle).to_json()
    files = file_entries([bundle / entry["name"] for entry in manifest["files"]], "")
    save_manifest(bundle, manifest | {"files": [vars(entry) for entry in files]})
    with pytest.raises(DamagedBundle, match=rf"'(main|step)': {NAMES.get(name, name)} must be "):
        Model.load(bundle, native=True)


@needs_kernels
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_weights_are_mapped_once(quantized):
    """However many sessions read them: what a process is said to hold of the file is no more than the file."""
    path = quantized(WIDE, "int8-static")
    model = Model.load(path, threads=1, native=True)
    model.decoder().run(IDS)
    model.decoder().step(0)
    data = (path / "model.onnx.data").resolve()
    found = re.findall(rf"{re.escape(str(data))}\n(?:.*\n)*?Rss: +(\d+) kB", Path("/proc/self/smaps").read_text())
    held = 1024 * sum(map(int, found))
    assert 0.5 < held / data.stat().st_size < 1.1


@pytest.mark.parametrize("change", [{"offset": 1 << 40}, {"offset": 3, "dtype": "float32"}, {"shape": [1 << 30] * 2}])
def test_weights_that_lie_elsewhere_are_refused(change, quantized, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(quantized(WIDE, "int8-static"), bundle)
    manifest = Manifest.load(bundle).to_json()
    manifest["graphs"]["main"]["weights"][0] |= change
    save_manifest(bundle, manifest)
    with pytest.raises(DamagedBundle, match="does not lie in the weights' file"):
        Model.load(bundle, native=True)


@needs_kernels
def test_bench_counts_the_nodes_that_run():
    """A call is one node where the kernels run, and its body's nodes everywhere else."""
    assert Options().fused
    assert not Options(native=False).fused
    assert not Options(provider="openvino").fused


@needs_kernels
def test_info_says_what_runs_on_them(quantized, tmp_path):
    shown = rrwkv("info", quantized(ATTENTION, "int8-static"), "--provider", "cpu", cwd=tmp_path)
    assert "DecodeStep 1" in shown.stdout
    assert f"{native.tables()[0]}, of rrwkv-native {native.version()}" in shown.stdout


ROOMS = ["exec", "kernels", "model", "weights", "ort", "wasm", "probe"]


def test_each_room_of_the_kernels_includes_only_what_is_below_it():
    """And only `kernels` has a processor's instructions: the rest is compiled for any."""
    source, rooms = Path(__file__).parents[2] / "runtimes/native/src", ROOMS
    for file in source.rglob("*.*"):
        room, text = file.relative_to(source).parts[0], file.read_text()
        included = re.findall(r'#include "(\w+)/', text)
        assert max(map(rooms.index, included), default=0) <= rooms.index(room), file
        assert room == "kernels" or not re.search("immintrin|_mm", text), file
