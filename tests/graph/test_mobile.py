"""The graphs in fixed shapes: the same model, and nothing that an engine of a phone cannot hold."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from checkpoint_files import ADAPTIVE, ASSET, RRWKV, RWKV4, random_weights, write_rrwkv
from hypothesis import given
from hypothesis import strategies as st
from test_cli import rrwkv
from test_graph import IDS, RTOL, assert_states_agree, configs, pieces, recurrence, relative, with_large_keys
from workers import THREADS

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.bundle import GraphOptions, save_manifest, write_graph, write_manifest
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.export import export
from rrwkv_export.graph.fixed_shape import rwkv4
from rrwkv_runtime.bundle.fixed_shape import DerivedInput
from rrwkv_runtime.errors import DamagedBundle, InputError
from rrwkv_runtime.execution.fixed_shape_decoder import FixedShapeDecoder
from rrwkv_runtime.manifest import ChatFormat, Manifest
from rrwkv_runtime.model import Model
from rrwkv_runtime.state import State

OPERATORS = {"Add", "Clip", "Concat", "Div", "Exp", "Gather", "LayerNormalization", "MatMul", "Max", "Mul", "Relu"} | {
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sub",
    "Transpose",
}
MEAN = dataclasses.replace(RRWKV, medium=MediumConfig(interval=4, squeeze="mean", slots=2, key_size=8))


def variant(tiny):
    return Model.load(tiny.path, threads=1, variant="mobile")


def in_runs(model, ids, sizes, state=None):
    """Logits [T, V] and the state after `ids` given in so many runs."""
    decoder, logits, start = model.decoder(state), [], 0
    for size in sizes:
        logits.append(decoder.run(ids[start : start + size], len(ids[start : start + size])))
        start += size
    return np.concatenate(logits), decoder.state()


@pytest.fixture(scope="session")
def mobile_demo(tmp_path_factory):
    """The demo for phones, not verified."""
    checkpoint, folder = open_checkpoint(ASSET), tmp_path_factory.mktemp("mobile")
    options = GraphOptions("stable", "float32", "mobile")
    write_graph(folder, checkpoint.config, checkpoint.weights.array, options)
    told = {"model_id": "0" * 64, "tokenizer": None, "chat": ChatFormat(), "provenance": {}}
    write_manifest(folder, checkpoint.config, options, **told)
    return folder


@given(configs, st.integers(0, 10**6), pieces, st.data())
def test_any_model_in_any_pieces_is_the_recurrence(make_tiny, config, seed, sizes, data):
    tiny = make_tiny(config, seed, "stable", target="mobile")
    length = sum(sizes)
    ids = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=length, max_size=length))
    expected, state = recurrence(tiny, ids)
    logits, after = in_runs(variant(tiny), ids, sizes)
    assert relative(logits, expected) < RTOL
    assert_states_agree(after, state, RTOL)


def test_the_demo_gives_the_recorded_logits(mobile_demo, golden):
    model = Model.load(mobile_demo, threads=THREADS, variant="mobile")
    for sizes in ([300], [45, 200, 55]):
        logits, _ = in_runs(model, golden.ids, sizes)
        assert golden.error(logits) < 1e-5
        assert (logits.argmax(axis=1) == golden.argmax).all()


@pytest.mark.parametrize("config", [RWKV4, RRWKV, MEAN], ids=["rwkv4", "rrwkv", "mean"])
def test_states_go_from_one_kind_of_graph_to_the_other_and_back(make_tiny, config):
    tiny = make_tiny(config, 1, "stable", target="mobile")
    expected, end = recurrence(tiny, IDS)
    state, logits = None, []
    for model, start, stop in ((tiny.model, 0, 7), (variant(tiny), 7, 22), (tiny.model, 22, 30)):
        rows, state = model.forward(IDS[start:stop], state, num_logits=stop - start)
        logits.append(rows)
    assert relative(np.concatenate(logits), expected) < RTOL
    assert_states_agree(state, end, RTOL)


@pytest.mark.parametrize("config", [RWKV4, RRWKV], ids=["rwkv4", "rrwkv"])
def test_huge_keys_are_right_too(make_tiny, config):
    tiny = make_tiny(config, 0, "stable", weights=with_large_keys(config, 80), target="mobile")
    for sizes in ([30], [1] * 30):
        assert relative(in_runs(variant(tiny), IDS, sizes)[0], recurrence(tiny, IDS)[0]) < 1e-4


@pytest.mark.parametrize("name", ["mobile-decode", "mobile-segment"])
@pytest.mark.parametrize("config", [RWKV4, RRWKV, MEAN], ids=["rwkv4", "rrwkv", "mean"])
def test_the_graphs_hold_nothing_that_engines_refuse(make_tiny, config, name):
    tiny = make_tiny(config, 0, "stable", target="mobile")
    path = tiny.path / tiny.model.manifest.graphs[name].file
    graph = onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False), strict_mode=True).graph
    assert {node.op_type for node in graph.node} <= OPERATORS
    assert max(len(node.input) for node in graph.node if node.op_type == "Concat") == 2
    assert max(len(node.output) for node in graph.node) <= 3
    values = [*graph.value_info, *graph.input, *graph.output]
    assert {v.type.tensor_type.elem_type for v in values} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT32}
    assert all(d.dim_value > 0 for v in values for d in v.type.tensor_type.shape.dim)
    known = {v.name for v in values}
    assert all(output in known for node in graph.node for output in node.output)
    assert {t.data_type for t in graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT32}


def test_every_constant_is_a_float16(mobile_demo):
    for name in ("mobile-decode", "mobile-segment"):
        graph = onnx.load(mobile_demo / "variants" / f"{name}.onnx", load_external_data=False).graph
        arrays = [onnx.numpy_helper.to_array(t) for t in graph.initializer if not t.external_data]
        assert max(np.abs(a).max() for a in arrays if a.dtype == np.float32) <= -rwkv4.LOWEST_MAXIMUM


def test_the_graphs_share_the_weights_of_the_main_one(mobile_demo):
    places = []
    for file in ("model.onnx", "variants/mobile-decode.onnx", "variants/mobile-segment.onnx"):
        graph = onnx.load(mobile_demo / file, load_external_data=False).graph
        places.append({t.name: {e.key: e.value for e in t.external_data} for t in graph.initializer if t.external_data})
    shapes = open_checkpoint(ASSET).config.shapes()
    matrices = {name: places[0][name] for name, shape in shapes.items() if len(shape) == 2}
    assert len(matrices) == 90
    for found in places[1:]:
        assert {name: found.get(name) for name in matrices} == matrices


@pytest.mark.parametrize(
    ("one", "position", "value"),
    [
        (DerivedInput("visible", (1, 1, 3), [[[12, 8, 4]]], 0, -32.0, 0.0), 9, [-32, 0, 0]),
        (DerivedInput("ended", (1, 1, 1), 3, 4, 0.0, 1.0), 7, [1]),
        (DerivedInput("ended", (1, 1, 1), 3, 4, 0.0, 1.0), 8, [0]),
    ],
)
def test_a_derived_input_follows_from_the_position(one, position, value):
    found = one.at(position)
    assert found.shape == one.shape
    assert found.dtype == np.float32
    assert found.ravel().tolist() == value


def broken(tiny, name, **changes):
    fields = Manifest.load(tiny.path).to_json()
    fields["graphs"][name]["fixed_shape"]["parts"][0].update(changes)
    save_manifest(tiny.path, fields)


@pytest.mark.parametrize(
    "changes", [{"offset": 2**31}, {"shape": [1, 1, 2**20]}, {"state": "position"}, {"state": "x"}]
)
def test_a_part_outside_its_state_is_refused(make_tiny, changes):
    tiny = make_tiny(RRWKV, 0, "stable", target="mobile")
    with pytest.raises(DamagedBundle, match=r"'shift.0.0' of graph 'mobile-decode' is no part of a state"):
        broken(tiny, "mobile-decode", **changes)


def test_a_graph_that_is_not_as_the_manifest_says_is_refused(make_tiny):
    tiny = make_tiny(RRWKV, 0, "stable", target="mobile")
    broken(tiny, "mobile-segment", shape=[1, 1, 15])
    with pytest.raises(
        DamagedBundle, match=r"'mobile-segment' is not as the manifest says \(it differs in 'shift.0.0'"
    ):
        variant(tiny)


def test_a_variant_that_is_not_there_is_refused(make_tiny):
    with pytest.raises(InputError, match="no variant 'mobile'; make one with `rrwkv export --target mobile`"):
        variant(make_tiny(RRWKV))
    with pytest.raises(InputError, match="no variant 'watch'; it has mobile"):
        Model.load(make_tiny(RRWKV, 0, "stable", target="mobile").path, variant="watch")


def test_auto_takes_the_variant_that_is_asked_for(make_tiny):
    path = make_tiny(RRWKV, 0, "stable", target="mobile").path
    assert Model.load(path, "auto").takes_any_length
    assert not Model.load(path, "auto", variant="mobile").takes_any_length


def test_the_command_verifies_the_variants_and_replaces_them(small_checkpoint, tmp_path):
    for force in ([], ["--force"]):
        done = rrwkv("export", small_checkpoint, "-o", "out", "--target", "mobile", *force, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    checks = json.loads((tmp_path / "out" / "manifest.json").read_text())["parity"]["checks"]
    assert [c["name"] for c in checks if c["name"].startswith("mobile") and c["error"] < 1e-5] == [
        "mobile: whole segments",
        "mobile: token by token",
        "mobile: from within a segment",
        "mobile: states",
    ]


def test_an_adaptive_interval_is_refused_by_name(tmp_path):
    config = dataclasses.replace(RRWKV, medium=ADAPTIVE)
    write_rrwkv(tmp_path / "model", config, random_weights(config))
    done = rrwkv("export", "model", "-o", "out", "--target", "mobile", cwd=tmp_path)
    assert done.returncode == 1
    assert "this model's are of 3 to 7 tokens; export it without --target mobile" in done.stderr.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_the_plain_form_is_refused(small_checkpoint, tmp_path):
    done = rrwkv("export", small_checkpoint, "-o", "out", "--target", "mobile", "--wkv", "plain", cwd=tmp_path)
    assert done.returncode == 1
    assert "--target mobile takes the stable wkv" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_ort_files_give_the_same_logits(small_checkpoint, tmp_path):
    export(open_checkpoint(small_checkpoint), tmp_path / "out", target="mobile", tokens=20)
    folder, manifest = tmp_path / "out" / "variants", Manifest.load(tmp_path / "out")
    names = ["mobile-segment", "mobile-decode"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["required_operators_and_types.config", *(f"{name}.{kind}" for name in names for kind in ("onnx", "ort"))]
    )
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.enable_saved_runtime_optimizations", "1")
    sessions = {n: onnxruntime.InferenceSession(str(folder / f"{n}.ort"), options) for n in names}
    logits = FixedShapeDecoder(sessions, manifest, State.initial(manifest)).run(IDS, 30)
    expected = Model.load(tmp_path / "out", threads=1, variant="mobile").forward(IDS, num_logits=30)[0]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    operators = (folder / "required_operators_and_types.config").read_text()
    assert 'Slice{"inputs": {"0": ["float"], "1": ["int32_t"]}}' in operators
    assert "#" not in operators
