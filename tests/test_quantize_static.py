"""The static graphs in integers: every value rounded, one grid for a state coming and going, close to the float."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import SMALL, THREADS
from test_cli import rrwkv

from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import RecipeError
from rrwkv_export.export import export
from rrwkv_export.quantize.quantizer import Calibration, quantize
from rrwkv_export.quantize.shipped import TEXT, shipped_recipe
from rrwkv_export.quantize.static_ranges import load_static, observe_static
from rrwkv_runtime.manifest import Manifest, verify_files
from rrwkv_runtime.session import Model

GRAPHS = ("mobile-segment", "mobile-step")
IDS = np.random.default_rng(3).integers(0, SMALL.vocab_size, 90)


@pytest.fixture(scope="module")
def floats(small_checkpoint):
    """The small model, exported for phones."""
    out = small_checkpoint.with_name("mobile")
    export(open_checkpoint(small_checkpoint), out, target="mobile", ort=False, tokens=20)
    return out


@pytest.fixture(scope="module")
def calibration(floats):
    return Calibration.read([TEXT], floats, samples=4)


@pytest.fixture(scope="module")
def integers(floats, calibration):
    """The same for QNN."""
    out = floats.with_name("qnn")
    quantize(floats, out, shipped_recipe("qnn"), calibration)
    return out


@pytest.mark.parametrize(("scheme", "left_out"), [("float16", True), ("qnn", False)])
def test_static_graphs_that_are_left_out_are_told_of(scheme, left_out, floats, tmp_path):
    done = rrwkv("quantize", floats, "-o", "out", "--scheme", scheme, "--samples", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("graphs in static shapes are left out" in done.stdout) == left_out
    assert (tmp_path / "out/variants").exists() != left_out


def graph_of(bundle, name):
    return onnx.load(bundle / "variants" / f"{name}.onnx", load_external_data=False).graph


def divergence(reference, logits):
    p, q = (
        x - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)) - x.max(1, keepdims=True)
        for x in (reference, logits)
    )
    return float((np.exp(p) * (p - q)).sum(1).mean())


def test_the_logits_are_close_in_segments_and_in_steps(floats, integers):
    verify_files(integers, Manifest.load(integers))
    expected, end = Model.load(floats, threads=THREADS).forward(IDS, num_logits=len(IDS))
    model = Model.load(integers, threads=THREADS, variant="mobile")
    for chunk in (None, 1):
        logits, state = model.forward(IDS, num_logits=len(IDS), chunk=chunk)
        assert 0 < divergence(expected, logits) < 2e-4
        np.testing.assert_allclose(
            state.values["shift"], end.values["shift"], atol=0.05
        )  # 8-bit weights; values reach 2


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_is_computed_in_float(integers, name):
    graph = graph_of(integers, name)
    made = {output: node for node in graph.node for output in node.output}
    readers = {}
    for node in graph.node:
        for value in node.input:
            readers.setdefault(value, []).append(node.op_type)
    places = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.INT32} | {"input_ids"}
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            assert all(made[v].op_type == "DequantizeLinear" for v in node.input if v not in places), node.name
            assert all(readers[v] == ["QuantizeLinear"] for v in node.output), node.name


@pytest.mark.parametrize("name", GRAPHS)
def test_a_state_is_carried_on_without_another_rounding(integers, name):
    """A second trip through the graph's own grid changes nothing: its way in and out have one scale and zero point."""
    graph, parts = graph_of(integers, name), Manifest.load(integers).graphs[name].static.parts
    values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer if not t.external_data}
    grids = {node.input[0]: node.input[1:] for node in graph.node if node.op_type == "QuantizeLinear"}
    ends = {node.output[0]: node.input[1:] for node in graph.node if node.op_type == "DequantizeLinear"}
    for part in parts:
        into, out = (grids[part.input], ends[part.output])
        assert [values[n] for n in into] == [values[n] for n in out], part.input


def test_the_graphs_share_their_weights(integers):
    places = []
    for name in GRAPHS:
        tensors = [t for t in graph_of(integers, name).initializer if t.external_data]
        places.append({t.name: {e.key: e.value for e in t.external_data} for t in tensors})
    shared = places[0].keys() & places[1].keys()
    assert {"head.weight_quantized", "emb.weight_quantized"} <= shared
    assert all(places[0][name] == places[1][name] for name in shared)
    assert Manifest.load(integers).graphs["mobile-step"].data == ("variants.onnx.data",)


def test_ranges_hold_zero_and_the_step_and_the_segment_have_the_same(floats, calibration):
    manifest = Manifest.load(floats)
    ranges = observe_static(load_static(floats, manifest), manifest, calibration.passages, tokens=64)
    assert all(low <= 0 <= high for low, high in ranges.values())
    assert ranges["visible"] == (-32, 0)
    assert ranges["ended"] == (0, 1)
    assert ranges["wkv.1.maximum"] == ranges["wkv.1.maximum_out"]
    assert ranges["wkv.1.maximum"][0] > -100  # what stands for an empty state was not taken for a value
    assert ranges["blocks.0.time_mix.wkv.kept.exponent"] == (-16, 0)


def test_a_text_too_short_is_said(floats):
    manifest = Manifest.load(floats)
    with pytest.raises(RecipeError, match="too short for the static graphs; give 12 tokens"):
        observe_static(load_static(floats, manifest), manifest, [IDS[:9]])


def test_other_targets_go_without_them(floats, calibration, tmp_path):
    made = quantize(floats, tmp_path / "out", shipped_recipe("int8-weight"), calibration)
    assert set(made.graphs) == {"main", "step", "update"}
    assert not (tmp_path / "out" / "variants").exists()
