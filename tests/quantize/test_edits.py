"""What takes the products' places, held against what onnxruntime's own quantizers make of the whole graph in memory."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode, compute_scale_zp, get_qmin_qmax_for_qType

from rrwkv_export.quantize.recipe import TARGETS
from rrwkv_export.quantize.rewrite.edits import grid_of, rounded_by_output
from rrwkv_export.quantize.rewrite.merge_quantize_linear import round_before_splitting
from rrwkv_export.quantize.rewrite.optimum import give_back, prepared
from rrwkv_export.quantize.rewrite.rewrite import quant_type, tensors_data
from rrwkv_export.quantize.source import Source

RNG = np.random.default_rng(0)


@pytest.fixture
def source(small_bundle):
    return Source.open(small_bundle)


def by_name(model):
    nodes = {node.name: (node.op_type, node.domain, *node.input, *node.output) for node in model.graph.node}
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return nodes, arrays


def assert_same(found, expected):
    (nodes, arrays), (wanted, right) = by_name(found), by_name(expected)
    assert nodes == wanted
    assert arrays.keys() == right.keys()
    for name, value in right.items():
        assert (arrays[name].dtype, arrays[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(arrays[name], value, err_msg=name)


@pytest.mark.parametrize("target", TARGETS)
def test_static_products_are_those_of_onnxruntimes_quantizer(target, source):
    """To the last bit, names and all; one range is all above 0, and one holds nothing but 0."""
    types, ours = TARGETS[target], source.rewriter()
    wanted = [linear for linear in source.linears if linear.role != "emb"]
    nodes = [linear.node for linear in wanted]
    ranges = {ours.input_of(linear): tuple(np.sort(RNG.normal(size=2)).tolist()) for linear in wanted}
    ranges = {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in ranges.items()}
    first, second = list(ranges)[:2]
    ranges |= {first: (0.0, 3.0), second: (0.0, 0.0)}
    kinds = quant_type(types.weights), quant_type(types.inputs)
    options = {
        "ActivationSymmetric": types.symmetric_inputs,
        "WeightSymmetric": True,
        "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1},
    }
    whole, data = prepared(source.rewriter().whole(), nodes), tensors_data(ranges)
    reduced = types.reduce_range
    theirs = QDQQuantizer(whole, True, reduced, *kinds, data, nodes, [], ["MatMul"], options).quantize_model()
    give_back(theirs, nodes)
    round_before_splitting(theirs)
    ours.static(wanted, ranges, types)
    assert_same(ours.whole(), theirs)


@pytest.mark.parametrize("target", [name for name, types in TARGETS.items() if types.weights == "int8"])
def test_dynamic_products_are_those_of_onnxruntimes_quantizer(target, source):
    types, ours = TARGETS[target], source.rewriter()
    wanted = [linear for linear in source.linears if linear.role != "emb"]
    nodes = [linear.node for linear in wanted]
    kinds = quant_type(types.weights), quant_type("uint8")
    quantizer = ONNXQuantizer(
        *(prepared(source.rewriter().whole(), nodes), True, types.reduce_range, QuantizationMode.IntegerOps, False),
        *(*kinds, None, nodes, [], ["MatMul"], {"MatMulConstBOnly": True}),
    )
    quantizer.quantize_model()
    ours.dynamic(wanted, types)
    assert_same(ours.whole(), quantizer.model.model)


@pytest.mark.parametrize("target", TARGETS)
def test_a_range_has_the_grid_that_onnxruntime_gives_it(target):
    types = TARGETS[target]
    kind, symmetric = quant_type(types.inputs).tensor_type, types.symmetric_inputs
    ends = get_qmin_qmax_for_qType(kind, symmetric=symmetric)
    for low, high in [
        (-1.0, 2.0),
        (0, 1e-30),
        (-1e-45, 0),
        (0, 0),
        (-3e38, 3e38),
        *-np.sort(-RNG.normal(size=(99, 2))),
    ]:
        low, high = np.float32(min(low, 0)), np.float32(max(high, 0))
        zero, scale = compute_scale_zp(low, high, *ends, symmetric)
        found = grid_of(float(low), float(high), types)
        assert (found[0], found[1], found[1].dtype) == (np.float32(scale), zero, zero.dtype)


def test_weights_of_nothing_but_zeros_have_a_scale_that_can_be_divided_by():
    W = np.zeros((4, 3), np.float32)
    W[:, 1] = [1, -2, 0, 2]
    for types in TARGETS.values():
        levels, scale, zero = rounded_by_output(W, types)
        assert (scale[[0, 2]] == 1).all()
        np.testing.assert_allclose((levels.astype(np.float32) - zero) * scale, W, atol=0.02)
