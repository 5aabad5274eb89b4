"""Blocks of few bits: what they hold, and what gptq gains over rounding to nearest."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from onnxruntime.quantization.quant_utils import quantize_data

from rrwkv_export.quantize.rounding import GRIDS, gptq, gptq_by_output, nearest

RNG = np.random.default_rng(0)
INPUTS, OUTPUTS = 72, 24
W = RNG.standard_normal((INPUTS, OUTPUTS)).astype(np.float32)
X = (RNG.standard_normal((400, 12)) @ RNG.standard_normal((12, INPUTS)) + 0.2 * RNG.standard_normal((400, INPUTS))) / 4
H = X.T @ X / len(X)


def loss(blocks):
    """tr(Eᵀ H E)"""
    error = blocks.dequantized() - W
    return float((error * (H @ error)).sum())


@pytest.mark.parametrize(("bits", "block"), [(4, 16), (4, 32), (4, 64), (8, 32)])
def test_every_weight_is_at_its_nearest_level(bits, block):
    blocks = nearest(W, bits, block)
    count, half = -(-INPUTS // block), 1 << (bits - 1)
    assert blocks.q.dtype == np.uint8
    assert blocks.q.shape == (OUTPUTS, count * block)
    assert blocks.scale.dtype == np.float32
    assert blocks.scale.shape == (OUTPUTS, count)
    assert (blocks.q[:, INPUTS:] == half).all()
    assert blocks.nbytes == OUTPUTS * count * (block * bits // 8 + 4)
    scale = np.repeat(np.abs(blocks.scale), block, axis=1)[:, :INPUTS].T
    inside = (blocks.q > 0) & (blocks.q < 2 * half - 1)
    error = np.abs(blocks.dequantized() - W) / scale
    assert error[inside[:, :INPUTS].T].max() <= 0.5 + 1e-5


def test_searched_scales_beat_the_one_that_holds_the_largest_value():
    part = W[:32]
    full = np.abs(part).max(axis=0) / 7
    plain = np.clip(np.rint(part / full), -8, 7) * full
    found = nearest(part, 4, 32).dequantized()
    assert np.square(found - part).sum() < 0.9 * np.square(plain - part).sum()


@pytest.mark.parametrize("block", [16, 32, 64])
def test_gptq_beats_nearest_on_the_outputs(block):
    assert loss(gptq(W, H, 4, block)) < 0.6 * loss(nearest(W, 4, block))
    assert loss(gptq(W, H, 4, block)) < loss(gptq(W, H, 4, block, refit=False))


def test_gptq_with_unrelated_inputs_is_nearest():
    blocks = gptq(W, np.eye(INPUTS), 4, 32)
    assert (blocks.q == nearest(W, 4, 32).q).mean() > 0.99


def test_zeros_and_inputs_that_never_vary_are_rounded_too():
    zeros = np.zeros((40, 8), np.float32)
    for blocks in (nearest(zeros, 4, 32), gptq(zeros, np.zeros((40, 40)), 4, 32)):
        assert np.isfinite(blocks.scale).all()
        assert (blocks.scale != 0).all()
        assert (blocks.dequantized() == 0).all()


def test_eight_bits_are_within_half_a_step():
    assert np.abs(nearest(W, 8, 32).dequantized() - W).max() < 0.02


@pytest.mark.parametrize(("type_", "reduced"), GRIDS)
def test_onnxruntimes_quantizer_finds_the_levels_of_gptq(type_, reduced):
    """One column after the other, as it quantizes by channel; a column of zeros among them."""
    weights = W.copy()
    weights[:, 3] = 0
    found = gptq_by_output(weights, H, GRIDS[type_, reduced])
    onnx_type = TensorProto.INT8 if type_ == "int8" else TensorProto.UINT8
    plain, theirs = (by_quantizer(matrix, onnx_type, reduced) for matrix in (weights, found))
    largest = np.abs(weights).argmax(axis=0)
    inner = np.ones_like(found, bool)
    inner[largest, np.arange(OUTPUTS)] = type_ == "int8"  # 127.5 steps from 0 in uint8, which is no level
    np.testing.assert_allclose(theirs[inner], found[inner], rtol=1e-5, atol=1e-7)
    errors = [float(((matrix - weights) * (H @ (matrix - weights))).sum()) for matrix in (plain, theirs)]
    assert errors[1] < 0.8 * errors[0]


def by_quantizer(matrix, onnx_type, reduced):
    columns = []
    for column in matrix.T:
        zero_point, scale, q = quantize_data(column, onnx_type, True, reduced)
        columns.append((q.astype(np.float32) - np.float32(zero_point)) * scale)
    return np.stack(columns, axis=1)
