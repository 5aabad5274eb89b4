"""Blocks of few bits: what they hold, and what gptq gains over rounding to nearest."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from onnxruntime.quantization.quant_utils import quantize_data

from rrwkv_export.errors import RecipeError
from rrwkv_export.quantize.parallel import side_by_side
from rrwkv_export.quantize.round.block_scales import exact_scale, refitted, short_scale
from rrwkv_export.quantize.round.compensate import Compensated, root
from rrwkv_export.quantize.round.rounding import GRIDS, gptq, gptq_by_output, nearest

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


@pytest.mark.parametrize(("bits", "block"), [(4, 16), (4, 32), (8, 64)])
@pytest.mark.parametrize("again", [nearest, lambda *given: gptq(given[0], H, *given[1:])], ids=["nearest", "gptq"])
def test_what_is_rounded_already_is_rounded_to_what_it_is(bits, block, again):
    """Also where a graph holds it times a number that is no power of two; and by nothing else's scales."""
    found = nearest(W, bits, block)
    short = np.repeat(short_scale(found.scale), block, axis=1)[:, :INPUTS].T
    values = (found.q[:, :INPUTS].T.astype(np.float32) - np.float32(1 << (bits - 1))) * short
    assert np.array_equal(again(values, bits, block).dequantized(), values)
    scaled = values * np.float32(1 / np.sqrt(3))
    np.testing.assert_allclose(again(scaled, bits, block).dequantized(), scaled, rtol=2**-20)
    assert not exact_scale(W[:block], bits).any()


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


def related(inputs, outputs=24):
    """Moments of inputs that tell much of each other, and weights."""
    rng = np.random.default_rng(inputs)
    x = rng.standard_normal((2 * inputs, inputs // 4)) @ rng.standard_normal((inputs // 4, inputs))
    x += rng.standard_normal(x.shape)
    return (x.T @ x / len(x)).astype(np.float32), rng.standard_normal((inputs, outputs)).astype(np.float32)


@pytest.mark.parametrize("inputs", [1, 100, 256, 700])
def test_root_of_moments(inputs):
    H, _ = related(max(inputs, 8))
    H = H[:inputs, :inputs]
    R = root(H, 0.01)
    np.testing.assert_array_equal(R, np.triu(R))
    np.testing.assert_allclose(R @ R.T, H + 0.01 * np.eye(inputs), atol=1e-5 * H.max())


def test_errors_of_all_inputs_before_are_made_up_for():
    H, W = related(700)
    R = root(H, 0.01)
    rounding = Compensated.start(W, R)
    for part in rounding.blocks(32):
        part.round(lambda _, w: np.rint(w / np.float32(0.3)), np.float32(0.3))
    np.testing.assert_allclose(rounding.Y, R.T @ rounding.E, atol=1e-4 * np.abs(rounding.Y).max())


def test_refitted_scales_find_most_of_what_there_is_to_gain():
    H, W = related(320)
    R, start = root(H, 0.01), nearest(W, 4, 32)
    E = W - start.dequantized()
    levels, scales = start.q.astype(np.float32).T - 8, np.ascontiguousarray(start.scale.T)
    found = refitted(Compensated(W, R, E, R.T @ E), H, levels, scales, 32)
    for column in range(W.shape[1]):
        D = np.zeros((320, 10), np.float32)
        D[np.arange(320), np.arange(320) // 32] = levels[:, column]
        best = np.linalg.lstsq(R.T @ D, R.T @ W[:, column], rcond=None)[0]
        before, now, least = (
            np.square(R.T @ (W[:, column] - D @ s)).sum() for s in (scales[:, column], found[:, column], best)
        )
        assert now <= before
        assert before - now > 0.5 * (before - least)


def test_moments_of_one_text_that_never_varies():
    x = np.exp(np.random.default_rng(0).standard_normal(600) * 4).astype(np.float32)
    W = np.random.default_rng(1).standard_normal((600, 8)).astype(np.float32)
    for constant in (np.outer(x, x), np.outer(x, x) * np.float32(1e-20)):
        assert np.isfinite(gptq(W, constant, 4, 32).scale).all()


def test_moments_beyond_float32_are_refused():
    with pytest.raises(RecipeError, match="nearest"):
        gptq(W, np.full_like(H, np.inf), 4, 32)


def test_pieces_side_by_side_keep_their_order():
    asked = []
    found = side_by_side(lambda x: x * x, (asked.append(i) or i for i in range(50)), 4)
    assert next(found) == 0
    assert len(asked) <= 5  # no more than are at work
    assert list(found) == [i * i for i in range(1, 50)]
