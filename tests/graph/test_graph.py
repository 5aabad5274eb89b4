"""Bundles' graphs against the float64 recurrence, the recorded logits, and ONNX's own rules."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
import torch
from checkpoint_files import ADAPTIVE, RRWKV, RWKV4, RWKV7, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.mediums import AdaptiveInterval
from rrwkv_export.architectures.reference import rwkv4 as reference
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.graph import CHUNKED_TOKENS, build, state_layout
from rrwkv_export.graph.prefill.rwkv4_chunked import SIZE
from rrwkv_runtime.errors import InputError, RRWKVError
from rrwkv_runtime.execution.loading import OPTIMIZATION_LEVELS
from rrwkv_runtime.model import Model

IDS = np.random.default_rng(5).integers(0, 40, 30).tolist()
LAYERS_20 = dataclasses.replace(RWKV4, num_layers=20)
FOLLOWING = dataclasses.replace(RRWKV, medium=ADAPTIVE)
EVERY_TOKEN = dataclasses.replace(RRWKV, medium=MediumConfig(interval=1, squeeze="mean", slots=3, key_size=8))
# A LayerNorm over three channels can multiply a float32 rounding; what is usual is 2e-7.
RTOL = 2e-5

mediums = st.builds(
    MediumConfig,
    interval=st.integers(1, 7),
    squeeze=st.sampled_from(["attention", "mean"]),
    reduction=st.integers(1, 20),
    slots=st.integers(1, 5),
    key_size=st.integers(1, 9),
)
intervals = st.builds(lambda a, b: AdaptiveInterval(a, a + b), st.integers(1, 5), st.integers(0, 7))
following = st.builds(lambda medium, interval: dataclasses.replace(medium, interval=interval), mediums, intervals)
configs = st.builds(
    RWKV4Config,
    vocab_size=st.integers(5, 40),
    hidden_size=st.integers(3, 24),
    num_layers=st.integers(1, 3),
    ffn_size=st.integers(1, 60),
    medium=st.none() | mediums,
)
pieces = st.lists(st.integers(1, 13), min_size=1, max_size=8)


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def recurrence(tiny, ids):
    """Logits [T, V] and the state of the one-token reference."""
    state = reference.State.initial(tiny.config)
    logits = torch.stack([reference.step(tiny.config, tiny.weights, token, state) for token in ids])
    return logits.numpy(), state


def in_pieces(model, ids, sizes):
    """Logits [T, V] and the state of runs over consecutive pieces."""
    decoder, logits = model.decoder(), []
    for start, size in zip(itertools.accumulate(sizes, initial=0), sizes):
        piece = ids[start : start + size]
        logits.append(decoder.step(piece[0])[None].copy() if size == 1 else decoder.run(piece, size))
    return np.concatenate(logits), decoder.state()


def assert_states_agree(found, expected, rtol):
    """Layer by layer; wkv as A / B, which is the same in every form."""
    for name, value in found.values.items():
        if value.ndim == 0:
            assert int(value) == int(getattr(expected, name)), name
            continue
        wanted = getattr(expected, name).numpy()
        if name == "wkv":
            value, wanted = value[:, 0] / value[:, 1], wanted[:, 0] / wanted[:, 1]
        for layer, (ours, theirs) in enumerate(zip(value, wanted, strict=True)):
            np.testing.assert_allclose(
                ours, theirs, rtol=0, atol=rtol * np.abs(theirs).max(), err_msg=f"{name} {layer}"
            )


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@given(configs, st.none() | following, st.sampled_from(["plain", "stable"]), st.integers(0, 10**6), pieces, st.data())
def test_any_model_in_any_pieces_is_the_recurrence(make_tiny, target, config, other, wkv, seed, sizes, data):
    config = dataclasses.replace(config, medium=other) if other else config
    tiny = make_tiny(config, seed, wkv, target=target)
    length = sum(sizes)
    ids = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=length, max_size=length))
    expected, state = recurrence(tiny, ids)
    logits, after = in_pieces(tiny.model, ids, sizes)
    assert relative(logits, expected) < RTOL
    assert_states_agree(after, state, RTOL)


@pytest.mark.parametrize("chunk", [300, 39, 1])
def test_the_demo_gives_the_recorded_logits(demo_model, golden, chunk):
    logits, _ = demo_model.forward(golden.ids, num_logits=300, chunk=chunk)
    assert golden.error(logits) < 1e-5
    assert (logits.argmax(axis=1) == golden.argmax).all()


def test_the_demo_gives_the_recorded_logits_in_uneven_pieces(demo_model, golden):
    sizes = [5, 3, 8, 1, 1, 12, 4, 7] * 7 + [13]
    logits, state = in_pieces(demo_model, golden.ids, sizes)
    assert state.position == len(logits) == 300
    assert golden.error(logits) < 1e-5


def test_the_demo_gives_the_recorded_logits_of_a_long_text(demo_model, long_golden):
    logits, _ = demo_model.forward(long_golden.ids, num_logits=700)
    assert long_golden.error(logits) < 1e-5
    assert (logits.argmax(axis=1) == long_golden.argmax).all()


@pytest.mark.parametrize("wkv", ["plain", "stable"])
@pytest.mark.parametrize("config", [RWKV4, RRWKV], ids=["rwkv4", "rrwkv"])
def test_float16_weights_cost_no_more_than_their_rounding(make_tiny, config, wkv):
    tiny = make_tiny(config, 2, wkv, "float16")
    error = relative(in_pieces(tiny.model, IDS, [7, 1, 22])[0], recurrence(tiny, IDS)[0])
    assert 1e-5 < error < 4e-3


def test_float16_weights_that_were_float16_cost_nothing(make_tiny):
    weights = {name: value.half().float() for name, value in random_weights(RWKV4).items()}
    tiny = make_tiny(RWKV4, 0, "plain", "float16", weights=weights)
    assert relative(in_pieces(tiny.model, IDS, [7, 1, 22])[0], recurrence(tiny, IDS)[0]) < RTOL


def with_large_keys(config, factor):
    weights = random_weights(config)
    return weights | {name: value * factor for name, value in weights.items() if name.endswith("att.key.weight")}


def largest_key(config, weights):
    seen = []
    reference.forward(config, weights, IDS, observe=lambda _, value: seen.append(float(value.abs().max())))
    return max(seen)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize("config", [RWKV4, RRWKV], ids=["rwkv4", "rrwkv"])
def test_only_the_stable_form_is_right_for_huge_keys(make_tiny, config, target):
    weights = with_large_keys(config, 80)
    assert 100 < largest_key(config, weights) < 600
    errors = {}
    for wkv in ("plain", "stable"):
        tiny = make_tiny(config, 0, wkv, weights=weights, target=target)
        errors[wkv] = [relative(in_pieces(tiny.model, IDS, s)[0], recurrence(tiny, IDS)[0]) for s in ([30], [1] * 30)]
    assert max(errors["stable"]) < 1e-4
    assert min(errors["plain"]) > 1e-2


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_the_stable_form_is_right_for_a_huge_bonus(make_tiny, target):
    weights = random_weights(RWKV4)
    weights["blocks.0.att.time_first"] += 120  # exp(120) is no float32
    tiny = make_tiny(RWKV4, 0, "stable", weights=weights, target=target)
    assert relative(in_pieces(tiny.model, IDS, [7, 1, 22])[0], recurrence(tiny, IDS)[0]) < RTOL


def raw_inputs(tiny, num_logits):
    inputs = {"input_ids": np.array(IDS[:5]), "num_logits": np.array([num_logits])}
    return inputs | tiny.model.initial_state().values


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("num_logits", [-1, 0, 6])
def test_the_graph_itself_refuses_a_wrong_num_logits(make_tiny, num_logits, level):
    tiny, options = make_tiny(RRWKV), onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(tiny.path / "model.onnx", options, providers=["CPUExecutionProvider"])
    assert session.run(["logits"], raw_inputs(tiny, 5))[0].shape == (5, 40)
    with pytest.raises(Exception, match="split"):
        session.run(["logits"], raw_inputs(tiny, num_logits))


@pytest.mark.parametrize("num_logits", [-1, 0, 6])
def test_the_model_refuses_a_wrong_num_logits(make_tiny, num_logits):
    with pytest.raises(InputError, match=f"num_logits must be from 1 to the 5 tokens given, not {num_logits}"):
        make_tiny(RRWKV).model.forward(IDS[:5], num_logits=num_logits)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("wkv", ["plain", "stable"])
@pytest.mark.parametrize("config", [RWKV4, RRWKV, FOLLOWING], ids=["rwkv4", "rrwkv", "adaptive"])
def test_the_graph_is_valid_onnx(make_tiny, config, wkv, dtype):
    path = make_tiny(config, 0, wkv, dtype).path / "model.onnx"
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path, load_external_data=False)
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 18}
    assert [value.name for value in model.graph.input][2:] == [state.name for state in state_layout(config, wkv)]
    assert [value.name for value in model.graph.output][1:] == [state.output for state in state_layout(config, wkv)]


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize("wkv", ["plain", "stable"])
def test_every_optimization_level_gives_the_same_logits(make_tiny, target, wkv):
    tiny = make_tiny(RRWKV, 4, wkv, target=target)
    expected, _ = recurrence(tiny, IDS)
    for level in OPTIMIZATION_LEVELS:
        model = Model.load(tiny.path, threads=1, optimization=level)
        for sizes in ([30], [1] * 30, [4, 26]):
            assert relative(in_pieces(model, IDS, sizes)[0], expected) < RTOL, (level, sizes)


@pytest.mark.parametrize(
    ("node", "weight"),
    {
        "blocks.1.time_mix.key": "blocks.1.att.key.weight",
        "blocks.0.time_mix.output": "blocks.0.att.output.weight",
        "blocks.1.channel_mix.value": "blocks.1.ffn.value.weight",
        "blocks.0.medium.query": "blocks.0.medium.query.weight",
        "head.head": "head.weight",
    }.items(),
)
def test_a_projection_is_a_node_of_its_name(make_tiny, node, weight):
    nodes = {n.name: n for n in onnx.load(make_tiny(RRWKV).path / "model.onnx").graph.node}
    assert nodes[node].op_type == "MatMul"
    assert nodes[node].input[1] == weight


def test_names_are_unique_and_none_is_numbered_by_a_tool(make_tiny):
    graph = onnx.load(make_tiny(RRWKV, 0, "stable").path / "model.onnx").graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert not [name for name in names if not name or name.startswith(("node_", "val_"))]


def test_the_large_weights_lie_in_the_data_file_on_page_boundaries(demo_bundle):
    graph = onnx.load(demo_bundle / "model.onnx", load_external_data=False).graph
    tensors = [t for t in graph.initializer if t.external_data]
    places = {t.name: {e.key: e.value for e in t.external_data} for t in tensors}
    assert {"emb.weight", "head.weight", "blocks.7.att.output.weight", "blocks.0.ffn.key.weight"} <= places.keys()
    assert {place["location"] for place in places.values()} == {"model.onnx.data"}
    aligned = [int(place["offset"]) % (4096 if int(place["length"]) > 2**16 else 4) for place in places.values()]
    assert not any(aligned)
    assert (demo_bundle / "model.onnx").stat().st_size < 2**18


@pytest.mark.parametrize(("file", "nodes"), [("model.onnx", 671), ("decode.onnx", 418), ("segment_end.onnx", 40)])
def test_the_demo_graphs_do_not_grow(file, nodes, demo_bundle):
    """Decoding time is nodes times a microsecond: lower these numbers with every node saved."""
    assert len(onnx.load(demo_bundle / file, load_external_data=False).graph.node) <= nodes


@pytest.mark.parametrize("wkv", ["plain", "stable"])
@pytest.mark.parametrize(
    "config", [RWKV4, RRWKV, EVERY_TOKEN, FOLLOWING], ids=["rwkv4", "rrwkv", "every token a segment", "adaptive"]
)
def test_steps_give_what_longer_runs_give_to_the_last_bit(make_tiny, config, wkv):
    model = make_tiny(config, 3, wkv).model
    ids = np.random.default_rng(0).integers(0, config.vocab_size, 60)
    expected, state = model.forward(ids, num_logits=60)
    logits, after = in_pieces(model, ids, [1] * 60)
    np.testing.assert_array_equal(logits, expected)
    for name, value in state.values.items():
        np.testing.assert_array_equal(after.values[name], value)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize(("squeeze", "interval"), [("attention", 1), ("attention", 4), ("mean", 8)])
def test_a_constant_information_gives_the_logits_of_a_fixed_interval_to_the_bit(make_tiny, target, squeeze, interval):
    medium = dataclasses.replace(ADAPTIVE, interval=AdaptiveInterval(interval, interval), squeeze=squeeze)
    config = dataclasses.replace(RRWKV, medium=medium)
    fixed = dataclasses.replace(config, medium=dataclasses.replace(medium, interval=interval))
    weights = random_weights(config, 3)
    models = [make_tiny(c, weights={n: weights[n] for n in c.shapes()}, target=target).model for c in (config, fixed)]
    for sizes in ([30], [1] * 30, [7, 1, 1, 21]):
        (found, after), (expected, state) = (in_pieces(model, IDS, sizes) for model in models)
        np.testing.assert_array_equal(found, expected)
        for name, value in state.values.items():  # of the sums each token is a part, which is a power of two
            share = 1 / interval if name in ("medium_sum", "medium_weight") else 1
            np.testing.assert_array_equal(after.values[name], value * share, err_msg=name)


def test_segments_end_where_the_reference_ends_them_in_any_dtype(make_tiny):
    """What tokens told is the same whole number, whatever the rest is rounded to."""
    for dtype in ("float32", "float16"):
        tiny = make_tiny(FOLLOWING, 5, dtype=dtype)
        _, state = reference.forward(FOLLOWING, tiny.weights, IDS)
        for sizes in ([30], [1] * 30):
            after = in_pieces(tiny.model, IDS, sizes)[1].values
            assert (after["medium_information"], after["medium_token"]) == (state.medium_information, IDS[-1])


@pytest.mark.parametrize("config", [RRWKV, FOLLOWING], ids=["fixed", "adaptive"])
def test_what_a_step_only_reads_is_carried_on_by_every_kind_of_run(make_tiny, config):
    """A given state is not changed by it, and steps before and after longer runs see the mediums that there are."""
    model = make_tiny(config, 3).model
    ids = np.random.default_rng(1).integers(0, RRWKV.vocab_size, 40)
    _, given = model.forward(ids[:11])
    kept = given.copy()
    expected, _ = model.forward(ids[11:], given, num_logits=29)
    decoder = model.decoder(given)
    found = [decoder.step(i)[None].copy() for i in ids[11:15]]
    found += [decoder.run(ids[15:24], 9), *(decoder.step(i)[None].copy() for i in ids[24:])]
    np.testing.assert_array_equal(np.concatenate(found), expected)
    for name, value in kept.values.items():
        np.testing.assert_array_equal(given.values[name], value)


def test_a_model_without_mediums_has_no_graph_that_makes_them(make_tiny):
    assert {path.name for path in make_tiny(RWKV4).path.glob("*.onnx")} == {"model.onnx", "decode.onnx"}
    assert (make_tiny(RRWKV).path / "segment_end.onnx").is_file()


def test_the_end_of_a_segment_reads_no_matrix_that_others_do_not_hold(make_tiny):
    """And takes whole states only."""
    path = make_tiny(RRWKV, 0, "stable").path
    main, made = (onnx.load(path / name, load_external_data=False).graph for name in ("model.onnx", "segment_end.onnx"))
    states = [value.name for value in made.input]
    assert states == ["medium_sum", "medium_weight", "medium_bank", "medium_key"]
    assert [value.name for value in made.output] == [f"{state}_out" for state in states]
    weights = {t.name: t for t in main.initializer}
    large = [t for t in made.initializer if t.name.endswith(".weight")]
    assert len(large) == 3 * RRWKV.num_layers
    assert all(t == weights[t.name] for t in large)


def test_building_reads_matrices_only_when_the_model_is_saved():
    asked = []
    weights = random_weights(RRWKV)
    build(RRWKV, lambda name: asked.append(name) or weights[name].numpy(), "plain")
    assert asked
    assert {weights[name].ndim for name in asked} == {1}


@settings(max_examples=10)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 60))
def test_the_bank_holds_the_newest_mediums_last(make_tiny, interval, slots, length):
    config = dataclasses.replace(RRWKV, medium=MediumConfig(interval, slots=slots, key_size=3))
    model = make_tiny(config).model
    bank = model.forward([7] * length)[1].values["medium_bank"][0]
    filled = min(length // interval, slots)
    assert not bank[: slots - filled].any()
    assert bank[slots - filled :].any(axis=1).all()


@pytest.mark.parametrize("wkv", ["plain", "stable"])
@pytest.mark.parametrize("config", [RWKV4, RRWKV, RWKV7, FOLLOWING], ids=["rwkv4", "rrwkv", "rwkv7", "adaptive"])
def test_the_cuda_graphs_have_no_control_flow_and_the_step_no_dynamic_shape(make_tiny, config, wkv):
    path = make_tiny(config, 0, wkv, target="cuda").path
    main, step = (onnx.load(path / name).graph for name in ("model.onnx", "decode.onnx"))
    used = [{node.op_type for node in graph.node} for graph in (main, step)]
    assert not (used[0] | used[1]) & {"Scan", "Loop", "If"}
    assert not used[1] & {"Shape", "Range", "ConstantOfShape", "NonZero", "Unique"}
    assert {value.name for value in step.input} == {"input_ids", *(s.name for s in state_layout(config, wkv))}
    shared = {e.value for t in step.initializer for e in t.external_data if e.key == "location"}
    assert shared <= {"model.onnx.data"}


@pytest.mark.parametrize("config", [RWKV4, RRWKV, LAYERS_20, RWKV7], ids=["rwkv4", "rrwkv", "20 layers", "rwkv7"])
def test_the_cuda_step_takes_nothing_apart_unevenly(make_tiny, config):
    """Or in more than 32 pieces: CUDA's kernels then copy their places from the host, every time."""
    graph = onnx.shape_inference.infer_shapes(
        onnx.load(make_tiny(config, 0, "stable", target="cuda").path / "decode.onnx")
    ).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
    shapes |= {t.name: tuple(t.dims) for t in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Split", "Concat"):
            pieces = node.output if node.op_type == "Split" else node.input
            assert len(pieces) <= 32, node.name
            assert len({shapes[name] for name in pieces}) == 1, node.name


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy: rows before the first token
@pytest.mark.parametrize("file", ["model.onnx", "decode.onnx"])
def test_in_float16_a_large_key_of_channel_mix_is_no_infinity(make_tiny, file):
    """By ONNX's own evaluator: onnxruntime multiplies in float32 on a CPU."""
    weights = random_weights(RWKV4)
    for i in range(RWKV4.num_layers):
        weights[f"blocks.{i}.ffn.key.weight"] *= 400
        weights[f"blocks.{i}.ffn.value.weight"] /= 1000
    tiny = make_tiny(RWKV4, 0, "stable", "float16", weights=weights, target="cuda")
    inputs = {"input_ids": np.array(IDS[:1])} | tiny.model.initial_state().values
    inputs |= {"num_logits": np.array([1])} if file == "model.onnx" else {}
    logits = onnx.reference.ReferenceEvaluator(str(tiny.path / file)).run(["logits"], inputs)[0]
    assert relative(logits, recurrence(tiny, IDS[:1])[0]) < 1e-2


def test_the_blocked_graph_refuses_more_blocks_than_it_is_made_for(make_tiny):
    model = make_tiny(RWKV4, target="cuda").model
    ids = [1] * (CHUNKED_TOKENS + SIZE)
    assert model.forward(ids)[1].position == len(ids)
    with pytest.raises(RRWKVError, match="onnxruntime failed"):
        model.forward(ids, chunk=len(ids))


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_in_the_stable_form_rounding_does_not_add_up(make_tiny, target):
    tiny = make_tiny(RRWKV, 3, "stable", target=target)
    ids = IDS * 20
    _, expected = recurrence(tiny, ids)
    assert_states_agree(tiny.model.forward(ids)[1], expected, 1e-5)
