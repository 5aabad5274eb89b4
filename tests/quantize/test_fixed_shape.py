"""The graphs in fixed shapes, rounded as the main one over its weights; and in integers: every value rounded, one grid
for a state coming and going, close to the float.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from checkpoint_files import SMALL
from test_bundle import facts_of, graph_files, unused
from workers import THREADS

from rrwkv_export.architectures.linears import linears
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.commands.quantize import SCHEMES
from rrwkv_export.errors import RecipeError
from rrwkv_export.export import export
from rrwkv_export.quantize.fixed_shape.ranges import load_fixed_shape, observe_fixed_shape
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import TEXT, shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_runtime.manifest import Manifest, verify_files
from rrwkv_runtime.model import Model

ON_CPU = [scheme for scheme in SCHEMES if scheme != "qnn"]
GRAPHS = ("mobile-segment", "mobile-decode")
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


@pytest.fixture(scope="module")
def rounded(floats, calibration):
    """A function: the small model for phones quantized by a scheme, once."""
    made = {}

    def make(scheme):
        if scheme not in made:
            made[scheme] = floats.with_name(scheme)
            quantize(floats, made[scheme], shipped_recipe(scheme), calibration)
        return made[scheme]

    return make


def relative(logits, expected):
    """The largest error of each token over the largest logit."""
    return np.abs(logits - expected).max(axis=1) / np.abs(expected).max()


@pytest.mark.parametrize("scheme", ON_CPU)
def test_they_give_what_the_main_graph_gives(scheme, rounded):
    """In segments and in steps: nearly, as floats summed in another order now and then round to the next level."""
    out = rounded(scheme)
    verify_files(out, Manifest.load(out))
    main, static = (Model.load(out, threads=1, variant=variant, native=False) for variant in (None, "mobile"))
    ids = IDS[: len(IDS) // SMALL.medium.interval * SMALL.medium.interval]
    for chunk in (SMALL.medium.interval, 1):
        expected, end = main.forward(ids, num_logits=len(ids), chunk=chunk)
        logits, state = static.forward(ids, num_logits=len(ids), chunk=chunk)
        errors = relative(logits, expected)
        assert errors[:4].max() < 1e-5
        assert errors.max() < (1e-5 if scheme.startswith("float") else 0.02)
        for name, value in end.values.items():
            np.testing.assert_allclose(state.values[name], value, atol=0.05, err_msg=name)


@pytest.mark.parametrize("scheme", ON_CPU)
def test_states_go_from_the_main_graph_to_them_and_back(scheme, rounded):
    out = rounded(scheme)
    main, static = (Model.load(out, threads=1, variant=variant, native=False) for variant in (None, "mobile"))
    expected, _ = main.forward(IDS, num_logits=len(IDS), chunk=4)
    state, logits = None, []
    for model, start, stop in ((main, 0, 28), (static, 28, 60), (main, 60, 90)):
        rows, state = model.forward(IDS[start:stop], state, num_logits=stop - start, chunk=4)
        logits.append(rows)
    errors = relative(np.concatenate(logits), expected)
    assert errors[:32].max() < 1e-5
    assert errors.max() < 0.02


@pytest.mark.parametrize("scheme", [scheme for scheme in ON_CPU if scheme != "float32"])
def test_the_weights_are_the_main_graphs_and_stored_once(scheme, rounded):
    out = rounded(scheme)
    assert sorted(path.name for path in (out / "variants").iterdir()) == sorted(f"{name}.onnx" for name in GRAPHS)
    assert not (out / "variants.onnx.data").exists()
    graphs = Manifest.load(out).graphs
    main = {t.name: t for t in onnx.load(str(out / "model.onnx"), load_external_data=False).graph.initializer}
    weights = [name for name in main if name.endswith((".q", ".half", ".weight_quantized"))]
    assert len(weights) >= len(linears(SMALL)) - 1
    for name in GRAPHS:
        assert (graphs[name].data, graphs[name].dtype) == (("model.onnx.data",), scheme)
        found = {t.name: t for t in graph_of(out, name).initializer}
        assert all(found[weight] == main[weight] for weight in weights)
        assert any(t.external_data for t in found.values())


@pytest.mark.parametrize("scheme", ON_CPU)
def test_every_product_has_a_static_shape(scheme, rounded):
    """Also of operators that ONNX itself does not know."""
    for name in GRAPHS:
        model = onnx.load(str(rounded(scheme) / "variants" / f"{name}.onnx"), load_external_data=False)
        graph = onnx.shape_inference.infer_shapes(model).graph
        shapes = {
            v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.output)
        }
        products = [n for n in graph.node if n.op_type in ("MatMul", "MatMulInteger", "MatMulNBits")]
        assert len(products) >= len(linears(SMALL)) - 1
        assert all(len(shapes[n.output[0]]) == 3 and min(shapes[n.output[0]]) > 0 for n in products)


def test_static_values_are_rounded_with_one_scale_each(rounded):
    """After the mixes are split: engines that take pairs know no scale for every part."""
    for name in GRAPHS:
        graph = graph_of(rounded("int8-static"), name)
        scales = {t.name: t.dims for t in graph.initializer}
        grids = [list(scales[node.input[1]]) for node in graph.node if node.op_type == "QuantizeLinear"]
        assert len(grids) >= 7 * SMALL.num_layers
        assert all(dims in ([], [1]) for dims in grids)


def test_qualcomms_target_is_refused_without_graphs_in_fixed_shapes(small_bundle, calibration, tmp_path):
    """At once, with how to get them; whatever the recipe is called."""
    for recipe in (shipped_recipe("qnn"), replace(shipped_recipe("int8-static"), target="qnn")):
        with pytest.raises(RecipeError, match=r"no graphs in fixed shapes.* with --target mobile"):
            quantize(small_bundle, tmp_path / "out", recipe, calibration)
    assert not (tmp_path / "out").exists()


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
    graph, parts = graph_of(integers, name), Manifest.load(integers).graphs[name].fixed_shape.parts
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
    assert Manifest.load(integers).graphs["mobile-decode"].data == ("variants.onnx.data",)


def test_ranges_hold_zero_and_the_step_and_the_segment_have_the_same(floats, calibration):
    manifest = Manifest.load(floats)
    ranges = observe_fixed_shape(load_fixed_shape(floats, manifest), manifest, calibration.passages, tokens=64)
    assert all(low <= 0 <= high for low, high in ranges.values())
    assert ranges["visible"] == (-32, 0)
    assert ranges["ended"] == (0, 1)
    assert ranges["wkv.1.maximum"] == ranges["wkv.1.maximum_out"]
    assert ranges["wkv.1.maximum"][0] > -100  # what stands for an empty state was not taken for a value
    assert ranges["blocks.0.time_mix.wkv.kept.exponent"] == (-16, 0)


def test_a_text_too_short_is_said(floats):
    manifest = Manifest.load(floats)
    with pytest.raises(RecipeError, match="too short for the graphs in fixed shapes; give 12 tokens"):
        observe_fixed_shape(load_fixed_shape(floats, manifest), manifest, [IDS[:9]])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_graphs_say_what_they_are_and_read_all_that_they_hold(scheme, rounded, integers):
    out = integers if scheme == "qnn" else rounded(scheme)
    for name, path in graph_files(out):
        assert unused(onnx.load(str(path), load_external_data=False)) == set(), name
        facts = facts_of(path)
        assert (facts["scheme"], facts["graph"], facts["target"]) == (scheme, name, "mobile")
        assert facts["weights"] == ("uint16-uint8" if scheme == "qnn" and "mobile" in name else scheme)
        assert facts["model_id"] == Manifest.load(out).model_id
