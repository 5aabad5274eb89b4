"""RWKV-7's graphs for CUDA against the float64 recurrence: blocks of tokens in any pieces, and single steps."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from checkpoint_files import RWKV4, RWKV7, random_weights, write_rrwkv
from hypothesis import given, settings
from hypothesis import strategies as st
from test_graph import IDS, RTOL, assert_states_agree, in_pieces, mediums, relative
from test_graph_generations import CHAT

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.reference import rwkv7 as reference
from rrwkv_export.architectures.rwkv7 import RWKV7Config
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.export import export
from rrwkv_export.graph import CHUNKED_TOKENS
from rrwkv_export.graph.prefill.rwkv7_chunked import SIZE
from rrwkv_runtime.errors import RRWKVError

WITH_MEDIUMS = dataclasses.replace(RWKV7, medium=MediumConfig(interval=5, slots=3, key_size=8))
LONG = np.random.default_rng(7).integers(0, RWKV7.vocab_size, 700).tolist()
ranks = st.integers(1, 9)
configs = st.builds(
    lambda heads, N, **rest: RWKV7Config(hidden_size=heads * N, head_size=N, **rest),
    heads=st.integers(1, 3),
    N=st.integers(4, 9),
    vocab_size=st.integers(5, 40),
    num_layers=st.integers(1, 3),
    ffn_size=st.integers(1, 60),
    decay_rank=ranks,
    rate_rank=ranks,
    value_rank=ranks,
    gate_rank=ranks,
    medium=st.none() | mediums,
)
lengths = st.integers(1, 5) | st.integers(SIZE - 1, SIZE + 1) | st.integers(1, 3 * SIZE)
pieces = st.lists(lengths, min_size=1, max_size=5)


def right(tiny, ids):
    """Logits [T, V] and the state after them."""
    logits, state = reference.forward(tiny.config, tiny.weights, ids)
    return logits.numpy(), state


def with_rates(config, seed=0, **offsets):
    """Random weights with so much added to w0 and a0: how fast all decays are, and how much is rewritten."""
    return {
        name: value + offsets.get(name.rpartition(".")[2], 0) for name, value in random_weights(config, seed).items()
    }


@settings(max_examples=25)
@given(configs, st.integers(0, 10**6), pieces, st.data())
def test_any_model_in_any_pieces_is_the_recurrence(make_tiny, config, seed, sizes, data):
    weights = with_rates(config, seed, w0=data.draw(st.sampled_from([-9, 0, 9])), a0=data.draw(st.sampled_from([0, 9])))
    tiny = make_tiny(config, seed, weights=weights, target="cuda")
    ids = np.random.default_rng(seed).integers(0, config.vocab_size, sum(sizes)).tolist()
    expected, state = right(tiny, ids)
    logits, after = in_pieces(tiny.model, ids, sizes)
    assert relative(logits, expected) < RTOL
    assert_states_agree(after, state, RTOL)


@pytest.mark.parametrize("config", [RWKV7, WITH_MEDIUMS], ids=["rwkv7", "with mediums"])
@pytest.mark.parametrize("sizes", [[700], [1] * 700, [SIZE, SIZE + 1, 7, 5 * SIZE - 1, 469]], ids=len)
def test_a_long_text_is_the_recurrence_and_the_loop(make_tiny, config, sizes):
    cuda, cpu = (make_tiny(config, 3, target=target) for target in ("cuda", "cpu"))
    expected, state = right(cuda, LONG)
    logits, after = in_pieces(cuda.model, LONG, sizes)
    assert relative(logits, expected) < 1e-5
    assert relative(logits, cpu.model.forward(LONG, num_logits=len(LONG))[0]) < 1e-5
    assert_states_agree(after, state, 1e-5)


@pytest.mark.parametrize("w0", [-12, 0, 9], ids=["slow", "any", "fast"])
def test_a_text_that_repeats_itself_is_right(make_tiny, w0):
    """All κ are one then, and in the inverse within a block large numbers would cancel."""
    tiny = make_tiny(RWKV7, weights=with_rates(RWKV7, w0=w0, a0=12), target="cuda")
    expected, state = right(tiny, [3] * 300)
    logits, after = in_pieces(tiny.model, [3] * 300, [300])
    assert relative(logits, expected) < 1e-5
    assert_states_agree(after, state, 1e-5)


@pytest.mark.parametrize("scale", [0, 1e-9], ids=["none", "tiny"])
def test_a_head_without_keys_is_right(make_tiny, scale):
    """κ of nothing is nothing, and of next to nothing of length 1."""
    weights = random_weights(RWKV7)
    weights["blocks.1.att.key.weight"][: RWKV7.head_size] *= scale
    tiny = make_tiny(RWKV7, weights=weights, target="cuda")
    expected, state = right(tiny, IDS)
    for sizes in ([30], [1] * 30):
        logits, after = in_pieces(tiny.model, IDS, sizes)
        assert relative(logits, expected) < 1e-5
        assert_states_agree(after, state, 1e-5)


@pytest.mark.skipif(not CHAT.exists(), reason="the trained RWKV-7 checkpoint is not here")
def test_golden_logits_of_a_trained_model(make_tiny, rwkv7_golden):
    checkpoint = open_checkpoint(CHAT)
    weights = {name: torch.from_numpy(checkpoint.weights.array(name)) for name in checkpoint.config.shapes()}
    model, ids = make_tiny(checkpoint.config, weights=weights, target="cuda").model, rwkv7_golden.ids
    for sizes in ([300], [1] * 300, [5, 31, 1, 64, 199]):
        logits, _ = in_pieces(model, ids, sizes)
        assert rwkv7_golden.error(logits) < 1e-5
        assert (logits.argmax(axis=1) == rwkv7_golden.argmax).all()


def test_an_export_is_verified(tmp_path):
    write_rrwkv(tmp_path / "in", WITH_MEDIUMS, random_weights(WITH_MEDIUMS))
    manifest, parity = export(open_checkpoint(tmp_path / "in"), tmp_path / "out", target="cuda", tokens=24)
    assert parity.passed
    assert {name: entry.over for name, entry in manifest.graphs.items()} == {"main": "chunked", "decode": "decode_gpu"}


def test_float16_weights_cost_no_more_than_their_rounding(make_tiny):
    tiny = make_tiny(RWKV7, 2, dtype="float16", target="cuda")
    error = relative(in_pieces(tiny.model, IDS, [7, 1, 22])[0], right(tiny, IDS)[0])
    assert 1e-5 < error < 4e-3


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy: rows before the first token
@pytest.mark.parametrize("file", ["model.onnx", "decode.onnx"])
def test_products_in_float16_are_near_and_a_large_key_is_no_infinity(make_tiny, file):
    """By ONNX's own evaluator: onnxruntime multiplies in float32 on a CPU."""
    weights = random_weights(RWKV7)
    for i in range(RWKV7.num_layers):
        weights[f"blocks.{i}.ffn.key.weight"] *= 400
        weights[f"blocks.{i}.ffn.value.weight"] /= 1000
    tiny = make_tiny(RWKV7, weights=weights, dtype="float16", target="cuda")
    inputs = {"input_ids": np.array(IDS[:1])} | tiny.model.initial_state().values
    inputs |= {"num_logits": np.array([1])} if file == "model.onnx" else {}
    logits = onnx.reference.ReferenceEvaluator(str(tiny.path / file)).run(["logits"], inputs)[0]
    assert relative(logits, right(tiny, IDS[:1])[0]) < 1e-2


def test_no_more_blocks_than_the_graph_is_made_for(make_tiny):
    model = make_tiny(RWKV7, target="cuda").model
    ids = [1] * (CHUNKED_TOKENS + 1)
    assert model.forward(ids)[1].position == len(ids)
    with pytest.raises(RRWKVError, match="onnxruntime failed"):
        model.forward(ids, chunk=len(ids))


def kernels(path):
    """Nodes that compute: on no constants alone, and not only another shape."""
    graph, found = onnx.load(path, load_external_data=False).graph, 0
    constant = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if constant.issuperset(node.input):
            constant |= set(node.output)
        elif node.op_type not in ("Reshape", "Squeeze", "Unsqueeze", "Shape"):
            found += 1
    return found


@pytest.mark.parametrize(
    ("config", "dtype", "prefill", "step"),
    [
        (RWKV4, "float32", 51, 24),
        (RWKV4, "float16", 60, 29),
        (RWKV7, "float32", 139, 46),
        (RWKV7, "float16", 149, 51),
    ],
)
def test_a_layer_does_not_grow(make_tiny, config, dtype, prefill, step):
    """Starting a kernel takes a GPU longer than running it: lower these numbers with every node saved."""
    few, many = (make_tiny(dataclasses.replace(config, num_layers=n), dtype=dtype, target="cuda").path for n in (2, 3))
    of_a_layer = [kernels(many / file) - kernels(few / file) for file in ("model.onnx", "decode.onnx")]
    assert of_a_layer == [prefill, step]


@pytest.mark.parametrize("file", ["model.onnx", "decode.onnx"])
def test_in_float16_only_linears_and_the_key_of_channel_mix_are(make_tiny, file):
    """The decay, the low-rank sums and S are float32 whatever the weights are."""
    path = make_tiny(RWKV7, dtype="float16", target="cuda").path / file
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    halves = {v.name for v in graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    stored = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    assert stored == {name for name, shape in RWKV7.shapes().items() if name.endswith(".weight") and len(shape) == 2}
    computed = {node.op_type for node in graph.node if halves.intersection(node.output)} - {"Cast", "Gather"}
    assert computed <= {"MatMul", "Relu", "Mul", "Reshape", "Concat", "Split"}
    squares = [node for node in graph.node if node.op_type in ("Mul", "Relu") and halves.intersection(node.output)]
    assert all(".channel_mix." in node.name for node in squares)
