"""RWKV-7's graphs in fixed shapes in integers throughout: what Qualcomm's HTP needs of them, and what that costs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from checkpoint_files import RWKV7

from rrwkv_export.quantize.fixed_shape.graphs import insert_all_pairs
from rrwkv_export.quantize.fixed_shape.ranges import load_fixed_shape, observe_fixed_shape
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_runtime.execution.fixed_shape_decoder import FixedShapeDecoder
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.state import State

IDS = np.random.default_rng(2).integers(0, RWKV7.vocab_size, 512)


@pytest.fixture(scope="module")
def tiny(make_tiny):
    return make_tiny(RWKV7, 4, target="mobile")


@pytest.fixture(scope="module")
def ranges(tiny):
    manifest = Manifest.load(tiny.path)
    return observe_fixed_shape(load_fixed_shape(tiny.path, manifest), manifest, [IDS])


@pytest.fixture(scope="module")
def integers(tiny, ranges):
    models = load_fixed_shape(tiny.path, Manifest.load(tiny.path))
    return {name: insert_all_pairs(model, ranges, shipped_recipe("qnn").types) for name, model in models.items()}


def test_the_heads_values_are_multiplied_by_signed_ones(integers):
    for name, model in integers.items():
        types = {t.name: t.data_type for t in model.graph.initializer}
        zero_points = {n.output[0]: n.input[2] for n in model.graph.node if n.op_type == "DequantizeLinear"}
        products = [n for n in model.graph.node if n.op_type == "MatMul" and "recurrence" in n.name]
        of_heads = [n for n in products if "ln_W" not in n.name]
        assert len(of_heads) >= 4 * RWKV7.num_layers, name
        for node in of_heads:
            assert [types[zero_points[x]] for x in node.input] == [onnx.TensorProto.UINT16, onnx.TensorProto.INT16]


def test_what_a_mask_cuts_off_needs_no_range(tiny, ranges):
    before = "blocks.0.time_mix.recurrence"
    for name in ("A_l", "C_q", "C_l"):
        assert ranges[f"{before}.{name}.any"] == ranges[f"{before}.{name}"]
    corners = [ranges[f"{before}.corners_{size}"] for size in (1, 2, 4)]
    assert ranges[f"{before}.A_q.any"] == (min(low for low, _ in corners), max(high for _, high in corners))


def test_integers_give_nearly_the_logits_of_floats(tiny, integers):
    manifest = Manifest.load(tiny.path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = {name: onnxruntime.InferenceSession(m.SerializeToString(), options) for name, m in integers.items()}
    expected = tiny.model.forward(IDS[:200], num_logits=200)[0]
    for sizes in ([200], [7, 150, 1, 42]):
        decoder, logits, start = FixedShapeDecoder(sessions, manifest, State.initial(manifest)), [], 0
        for size in sizes:
            logits.append(decoder.run(IDS[start : start + size], size))
            start += size
        error = np.concatenate(logits) - expected
        assert np.sqrt((error**2).mean()) < 0.04 * expected.std()
