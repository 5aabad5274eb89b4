"""RWKV-5, 6 and 7 in fixed shapes: the recurrence in any pieces, and nothing that an engine of a phone cannot hold."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from checkpoint_files import RWKV6, RWKV7, RWKV52, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from test_graph import RTOL, mediums, pieces, relative
from test_mobile import OPERATORS, in_runs, variant

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.reference import rwkv5, rwkv6, rwkv7
from rrwkv_export.architectures.reference.matrices import State
from rrwkv_export.architectures.rwkv7 import RWKV7Config
from rrwkv_export.bundle import GraphOptions, write_graph, write_manifest
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_runtime.manifest import ChatFormat
from rrwkv_runtime.model import Model

_BESIDE = Path(__file__).parents[3] / "shared" / "checkpoints" / "rwkv7-chat"
CHAT = Path(os.environ.get("RWKV7_CHAT", _BESIDE)) / "rwkv7-chat-13m.pth"
REFERENCES = {"rwkv5": rwkv5, "rwkv6": rwkv6, "rwkv7": rwkv7}
ATTENTION = dataclasses.replace(RWKV7, medium=MediumConfig(interval=19, slots=2, key_size=8))
MEAN = dataclasses.replace(RWKV7, medium=MediumConfig(interval=4, squeeze="mean", slots=2, key_size=8))
IDS = np.random.default_rng(5).integers(0, RWKV7.vocab_size, 80).tolist()
CASES = {
    "5.0": dataclasses.replace(RWKV52, version="5.0"),
    "5.2 with mediums": dataclasses.replace(RWKV52, medium=ATTENTION.medium),
    "6": RWKV6,
    "6 with mediums": dataclasses.replace(RWKV6, medium=MEAN.medium),
    "7": RWKV7,
    "7 with mediums, attention": ATTENTION,
    "7 with mediums, mean": MEAN,
}
# All that these add: heads are a change of shape, and κ has a length.
MORE = {"ReduceMean", "Reshape", "Sqrt", "Tanh"}

configs = st.builds(
    lambda heads, head_size, **fields: RWKV7Config(hidden_size=heads * head_size, head_size=head_size, **fields),
    heads=st.integers(1, 3),
    head_size=st.integers(3, 9),
    vocab_size=st.integers(5, 40),
    num_layers=st.integers(1, 3),
    ffn_size=st.integers(1, 60),
    decay_rank=st.integers(1, 5),
    rate_rank=st.integers(1, 5),
    value_rank=st.integers(1, 5),
    gate_rank=st.integers(1, 5),
    medium=st.none() | mediums.map(lambda medium: dataclasses.replace(medium, interval=5 * medium.interval)),
)


@pytest.fixture(scope="module", params=CASES)
def tiny(request, make_tiny):
    return make_tiny(CASES[request.param], 1, target="mobile")


def recurrence(tiny, ids):
    """Logits [T, V] and the state of the one-token reference."""
    reference, state = REFERENCES[tiny.config.architecture], State.initial(tiny.config)
    logits = torch.stack([reference.step(tiny.config, tiny.weights, token, state) for token in ids])
    return logits.numpy(), state


def assert_is_the_recurrence(tiny, ids, sizes, rtol=RTOL):
    logits, after = in_runs(variant(tiny), ids, sizes)
    expected, state = recurrence(tiny, ids)
    assert relative(logits, expected) < rtol
    assert relative(after.values["matrix"], state.matrix.numpy()) < rtol
    assert relative(after.values["shift"], state.shift.numpy()) < rtol


@settings(max_examples=3)
@given(configs, st.integers(0, 10**6), pieces, st.data())
def test_any_model_in_any_pieces_is_the_recurrence(make_tiny, config, seed, sizes, data):
    tiny = make_tiny(config, seed, target="mobile")
    sizes = [5 * size for size in sizes]
    length = sum(sizes)
    ids = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=length, max_size=length))
    assert_is_the_recurrence(tiny, ids, sizes)


def forgetting(config, w0, a0, seed=0):
    """Weights that decay by σ(w0) everywhere, and learn by σ(a0)."""
    weights = random_weights(config, seed)
    for i in range(config.num_layers):
        weights[f"blocks.{i}.att.w0"] = torch.full((config.hidden_size,), float(w0))
        weights[f"blocks.{i}.att.a0"] = torch.full((config.hidden_size,), float(a0))
    return weights


@pytest.mark.parametrize(("w0", "a0"), [(30, -30), (-30, 30)], ids=["forgets at once", "rewrites and never forgets"])
def test_extreme_rates_are_right_where_a_token_repeats(make_tiny, w0, a0):
    tiny = make_tiny(RWKV7, 1, target="mobile", weights=forgetting(RWKV7, w0, a0))
    assert_is_the_recurrence(tiny, [3] * 64, [64])


@pytest.mark.parametrize("decay", [-12.0, 12.0], ids=["never forgets", "forgets at once"])
def test_extreme_decays_of_a_token_are_right(make_tiny, decay):
    weights = random_weights(RWKV6, 1)
    for i in range(RWKV6.num_layers):  # half of the channels as they are
        weights[f"blocks.{i}.att.time_decay"][::2] = decay
    assert_is_the_recurrence(make_tiny(RWKV6, 1, target="mobile", weights=weights), IDS, [64, 16])


def test_a_head_without_keys_is_no_division_by_zero(make_tiny):
    weights = forgetting(RWKV7, 0, 0)
    for i in range(RWKV7.num_layers):
        weights[f"blocks.{i}.att.key.weight"][: RWKV7.head_size] = 0
    assert_is_the_recurrence(make_tiny(RWKV7, 2, target="mobile", weights=weights), IDS, [32, 1, 47])


def test_states_go_from_one_kind_of_graph_to_the_other_and_back(tiny):
    expected, end = recurrence(tiny, IDS)
    state, logits = None, []
    for model, start, stop in ((tiny.model, 0, 7), (variant(tiny), 7, 62), (tiny.model, 62, 80)):
        rows, state = model.forward(IDS[start:stop], state, num_logits=stop - start)
        logits.append(rows)
    assert relative(np.concatenate(logits), expected) < RTOL
    assert relative(state.values["matrix"], end.matrix.numpy()) < RTOL


def test_generation_gives_the_tokens_of_the_graphs_for_a_cpu(tiny):
    found = []
    for model in (tiny.model, variant(tiny)):
        decoder = model.decoder()
        logits, tokens = decoder.prefill(IDS[:50]), []
        for _ in range(30):
            tokens.append(int(logits.argmax()))
            logits = decoder.step(tokens[-1])
        found.append(tokens)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["mobile-decode", "mobile-segment"])
def test_the_graphs_hold_nothing_that_engines_refuse(tiny, name):
    path = tiny.path / tiny.model.manifest.graphs[name].file
    graph = onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False), strict_mode=True).graph
    assert {node.op_type for node in graph.node} <= OPERATORS | MORE
    assert all(len(node.input) == 2 for node in graph.node if node.op_type == "Concat")
    assert max(len(node.output) for node in graph.node) <= 3
    constants = {t.name for t in graph.initializer}
    values = [v for v in (*graph.value_info, *graph.input, *graph.output) if v.name not in constants]
    assert {v.type.tensor_type.elem_type for v in values} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT32}
    assert max(len(v.type.tensor_type.shape.dim) for v in values) <= 4
    assert all(d.dim_value > 0 for v in values for d in v.type.tensor_type.shape.dim)
    assert {o for node in graph.node for o in node.output} <= {v.name for v in values}
    # Whole numbers of 64 bits are there as shapes and axes alone, which an engine reads when it loads the graph.
    long = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.INT64}
    assert {n.op_type for n in graph.node if long & set(n.input)} <= {"Reshape", "ReduceMean"}


def test_every_constant_is_a_float16(tiny):
    for name in ("mobile-decode", "mobile-segment"):
        graph = onnx.load(tiny.path / "variants" / f"{name}.onnx", load_external_data=False).graph
        kept = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and not t.external_data]
        for tensor, exact in ((t.name, onnx.numpy_helper.to_array(t)) for t in kept):
            rounded = exact.astype(np.float16)
            assert np.isfinite(rounded).all(), tensor
            assert ((rounded == 0) <= (abs(exact) < 5e-8)).all(), tensor


@pytest.mark.skipif(not CHAT.exists(), reason="the trained RWKV-7 checkpoint is not here")
def test_the_trained_model_gives_the_recorded_logits(tmp_path, rwkv7_golden):
    checkpoint, options = open_checkpoint(CHAT), GraphOptions("plain", "float32", "mobile")
    write_graph(tmp_path, checkpoint.config, checkpoint.weights.array, options)
    told = {"model_id": "0" * 64, "tokenizer": None, "chat": ChatFormat(), "provenance": {}}
    write_manifest(tmp_path, checkpoint.config, options, **told)
    model = Model.load(tmp_path, threads=1, variant="mobile")
    for sizes in ([300], [45, 200, 55]):
        assert rwkv7_golden.error(in_runs(model, rwkv7_golden.ids, sizes)[0]) < 1e-5
