"""Quantizing a bundle: what is observed, what every scheme gives, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from checkpoint_files import SMALL
from click.testing import CliRunner
from test_cli import rrwkv
from workers import THREADS

from rrwkv_export.architectures.linears import folds, linears
from rrwkv_export.commands import cli
from rrwkv_export.commands.quantize import SCHEMES
from rrwkv_export.divergence import measure
from rrwkv_export.errors import OutputError, RecipeError
from rrwkv_export.onnx.functions import inline
from rrwkv_export.quantize.equalize import Seen, fold, turned
from rrwkv_export.quantize.observe.observe import observe
from rrwkv_export.quantize.quantize import quantize, rewrite
from rrwkv_export.quantize.recipe import TARGETS, Recipe, WeightSpec, parse_recipe
from rrwkv_export.quantize.recipes import TEXT, shipped_recipe
from rrwkv_export.quantize.search.exponents import CANDIDATES, GAIN, search_exponents
from rrwkv_export.quantize.search.sensitivity import KINDS, Scale, choose, least_bytes, sensitivity, trade_off
from rrwkv_export.quantize.source import Calibration, Source
from rrwkv_export.report.measure.layers import layer_errors
from rrwkv_runtime.errors import StateError
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.model import Model

CPU_SCHEMES = [scheme for scheme in SCHEMES if scheme != "qnn"]
ROUNDED = [scheme for scheme in CPU_SCHEMES if scheme != "float32"]
CPU_TARGETS = [target for target in TARGETS if target != "qnn"]
IDS = np.random.default_rng(1).integers(0, SMALL.vocab_size, 160)


@pytest.fixture(scope="module")
def calibration(small_bundle):
    return Calibration.read([TEXT], small_bundle, samples=4)


@pytest.fixture(scope="module")
def source(small_bundle):
    return Source.open(small_bundle)


@pytest.fixture(scope="module")
def quantized(small_bundle, calibration, tmp_path_factory):
    """A function: the small bundle quantized by a recipe, once."""
    made = {}

    def make(recipe):
        key = (recipe.scheme, recipe.target)
        if key not in made:
            out = tmp_path_factory.mktemp("quantized") / recipe.scheme
            quantize(small_bundle, out, recipe, calibration)
            made[key] = out
        return made[key]

    return make


def load(path):
    return Model.load(path, threads=THREADS)


def nodes_of(path):
    """(name, operator) of all nodes, those of a layer's function under the layer's name."""
    model = onnx.load(str(path), load_external_data=False)
    bodies = {function.name: function.node for function in model.functions}
    whole = bodies.get("DecodeStep", bodies.get("Prefill", ()))
    for node in (*model.graph.node, *whole):
        yield node.name, node.op_type
        if node.op_type.startswith(("DecodeLayer", "PrefillLayer")):
            yield from ((f"{node.name}.{inner.name}", inner.op_type) for inner in bodies[node.op_type])


def session_of(model):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def logits_of(graph, manifest, ids):
    session = session_of(graph)
    states = {spec.input: spec.initial() for spec in manifest.states}
    return session.run(["logits"], {"input_ids": ids, "num_logits": np.array([len(ids)]), **states})[0]


@pytest.mark.parametrize("scheme", ROUNDED)
def test_every_scheme_is_small_and_close(scheme, quantized, small_bundle):
    out = quantized(shipped_recipe(scheme))
    found = measure(load(small_bundle), load(out), IDS)
    assert 0 < found.kl < (0.05 if scheme == "int4" else 0.005)
    tensors = onnx.load(str(out / "model.onnx")).graph.initializer
    large = [t.name for t in tensors if t.data_type == onnx.TensorProto.FLOAT and np.prod(t.dims) > 4096]
    assert not [name for name in large if not name.endswith(".scale")]
    manifest = Manifest.load(out)
    assert manifest.quantization["scheme"] == scheme
    assert manifest.model_id == Manifest.load(small_bundle).model_id


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_targets_choose_the_integer_types(target, quantized, small_bundle):
    recipe = replace(shipped_recipe("int8-static"), target=target)
    out = quantized(recipe)
    zero_points = {
        t.data_type for t in onnx.load(str(out / "model.onnx")).graph.initializer if t.name.endswith("mix_k_zero_point")
    }
    wanted = {"uint8": onnx.TensorProto.UINT8, "int8": onnx.TensorProto.INT8}
    assert zero_points == {wanted[recipe.types.inputs]}
    assert measure(load(small_bundle), load(out), IDS).kl < 0.01


@pytest.mark.parametrize("chunk", [1, 2, 7, 33])
def test_static_logits_do_not_depend_on_the_chunks(chunk, quantized):
    """To the last bit: one that differs would grow, rounding after rounding."""
    model = load(quantized(shipped_recipe("int8-static")))
    at_once, state = model.forward(IDS, num_logits=len(IDS))
    if chunk == 1:
        decoder = model.decoder()
        in_chunks, other = np.stack([decoder.step(i).copy() for i in IDS]), decoder.take_state()
    else:
        in_chunks, other = model.forward(IDS, num_logits=len(IDS), chunk=chunk)
    np.testing.assert_array_equal(in_chunks, at_once)
    for name, value in state.values.items():
        np.testing.assert_array_equal(other.values[name], value)


def test_what_is_rounded_is_read_by_products_only(quantized):
    """Whatever else reads the value reads it in float."""
    model = ir.load(quantized(shipped_recipe("int8-static")) / "model.onnx")
    inline(model)
    graph = ir.to_proto(model).graph
    rounded = {node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    pairs = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in rounded}
    assert pairs
    assert {node.op_type for node in graph.node if pairs.intersection(node.input)} == {"MatMul"}


@pytest.mark.parametrize("scheme", CPU_SCHEMES)
@pytest.mark.parametrize("file", ["decode.onnx", "segment_end.onnx"])
def test_other_graphs_are_rounded_as_the_main_one_is(scheme, file, quantized):
    """Their products, on the same weights in the same file."""
    out = quantized(shipped_recipe(scheme))
    main, other = (onnx.load(str(out / name), load_external_data=False).graph for name in ("model.onnx", file))
    operators = dict(nodes_of(out / "model.onnx"))
    kinds = ("MatMul", "MatMulInteger", "MatMulNBits")
    products = [(name, operator) for name, operator in nodes_of(out / file) if operator in kinds and name in operators]
    assert len(products) >= 3 * SMALL.num_layers
    assert all(operators[name] == operator for name, operator in products)
    weights = {t.name: t for t in main.initializer}
    large = [t for t in other.initializer if t.external_data or t.name.endswith((".weight_quantized", ".q"))]
    assert large or scheme.startswith("float")
    assert all(t == weights[t.name] for t in large)


@pytest.mark.parametrize("scheme", CPU_SCHEMES)
def test_bodies_in_the_place_of_their_calls_have_the_names_that_there_were(scheme, quantized, source):
    """And give the same: so each product's error can be measured."""
    path = quantized(shipped_recipe(scheme))
    model = ir.load(path / "model.onnx")
    inline(model)
    assert not model.functions
    assert {linear.node for linear in source.linears} <= {value.name for node in model.graph for value in node.outputs}
    manifest, graph = Manifest.load(path), onnx.load(str(path / "model.onnx"))
    inlined = ir.to_proto(model)
    onnx.load_external_data_for_model(inlined, str(path))
    np.testing.assert_array_equal(*(logits_of(one, manifest, IDS) for one in (inlined, graph)))
    assert layer_errors(load(source.path), load(path), IDS).missing == ()


@pytest.mark.parametrize("scheme", CPU_SCHEMES)
def test_steps_give_what_the_main_graph_gives(scheme, quantized):
    """Nearly: sums over rounded blocks have an order of their own, and now and then round another way."""
    model = load(quantized(shipped_recipe(scheme)))
    decoder, at_once = model.decoder(), model.forward(IDS, num_logits=len(IDS), chunk=1)[0]
    one_by_one = np.stack([decoder.step(i).copy() for i in IDS])
    errors = np.abs(one_by_one - at_once).max(axis=1) / np.abs(at_once).max()
    assert errors[:4].max() < 1e-5
    assert errors.max() < 0.02


def test_every_static_product_is_one_of_integers(quantized, source, tmp_path):
    """What onnxruntime makes of the pairs; a product that it leaves in float is slow, and depends on the chunks."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(quantized(shipped_recipe("int8-static")) / "model.onnx"), options)
    nodes = onnx.load(options.optimized_model_filepath, load_external_data=False).graph.node
    integer = [node for node in nodes if node.op_type in ("MatMulIntegerToFloat", "QLinearMatMul")]
    assert len(integer) == sum(linear.role != "emb" for linear in source.linears)


def test_folded_graphs_read_what_the_float_one_reads_divided_by_the_scales(source):
    """So nothing is observed but the float graph, whose weights stay in their file."""
    rng, folded, scales = np.random.default_rng(4), source.rewriter(), {}
    how = folds(source.config)
    wanted = [linear for linear in source.linears if linear.role in how]
    for linear in wanted:
        sign = rng.choice([-1, 1], linear.inputs) if how[linear.role].signed else 1
        s = scales[folded.input_of(linear)] = (sign * rng.uniform(0.3, 3, linear.inputs)).astype(np.float32)
        fold(folded, source.config, linear, s)
    states, passages = source.manifest.states, [IDS]
    expected = observe(folded.whole(), states, wanted, passages, moments=scales)
    found = observe(source.path / "model.onnx", states, wanted, passages, moments=scales, divisors=scales)
    for name, seen in expected.items():
        ends = [(one.histogram.low, one.histogram.high) for one in (found[name], seen)]
        np.testing.assert_allclose(*ends, rtol=1e-4)
        np.testing.assert_allclose(found[name].moments, seen.moments, atol=1e-5 * np.abs(seen.moments).max())
        moved = np.abs(np.cumsum(found[name].histogram.bins) - np.cumsum(seen.histogram.bins)).max()
        assert moved <= 0.005 * seen.histogram.count


def test_turned_channels_have_their_longer_tail_above():
    """And the range they share is shorter than one that holds both tails of the longest."""
    rng = np.random.default_rng(3)
    seen = Seen(-rng.uniform(0.2, 1, 40), rng.uniform(0.2, 1, 40), np.ones(40))
    W, s = rng.standard_normal((40, 8)), np.ones(40, np.float32)
    found = turned(W, seen, s)
    ends = np.stack([seen.low / found, seen.high / found])
    low, high = -ends.min(), ends.max()
    assert (ends.max(axis=0) >= -ends.min(axis=0)).all()
    assert (np.abs(found) >= s).all()
    noise = (high + low) ** 2 * (np.square(found) @ np.square(W).sum(axis=1))
    assert noise < 0.95 * (2 * seen.absmax.max()) ** 2 * np.square(W).sum()


def test_observation_is_what_the_graph_computes(source, calibration):
    """Maxima and moments against the values themselves, the state carried through two passages of odd lengths."""
    linear = next(s for s in source.linears if s.name == "blocks.1.ffn.value")
    graph = source.rewriter()
    name, model = graph.input_of(linear), graph.whole()
    pieces = [IDS[:37], IDS[37:50]]
    seen = observe(model, source.manifest.states, [linear], pieces, moments=[name])[name]
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = session_of(model)
    states = {spec.input: spec.initial() for spec in source.manifest.states}
    x = session.run([name], {"input_ids": IDS[:50], "num_logits": np.array([1]), **states})[0].reshape(50, -1)
    assert seen.rows == 50
    np.testing.assert_allclose(seen.absmax, np.abs(x).max(axis=0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(seen.moments, x.T @ x / 50, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(seen.square, (x**2).mean(axis=0), rtol=1e-3, atol=1e-7)


def test_the_same_input_gives_the_same_bytes(small_bundle, calibration, tmp_path):
    entries = []
    for name in ("a", "b"):
        quantize(small_bundle, tmp_path / name, shipped_recipe("int8"), calibration)
        entries.append((tmp_path / name / "manifest.json").read_bytes())
    assert entries[0] == entries[1]


def test_states_are_the_models_own_in_every_quantization(quantized, small_bundle, tmp_path):
    """A saved state goes from the float bundle to a quantized one whose graph carries wkv in other units, and back."""
    plain, small = load(small_bundle), load(quantized(shipped_recipe("int8-static")))
    assert any(spec.exponents != 0 for spec in small.manifest.states)
    _, state = plain.forward(IDS)
    state.save(tmp_path / "state")
    with pytest.raises(StateError, match="another bundle"):
        small.load_state(tmp_path / "state")
    given = small.load_state(tmp_path / "state", allow_other_quantization=True)
    np.testing.assert_allclose(small.decoder(given).take_state().values["wkv"], state.values["wkv"], rtol=1e-6)
    after, _ = small.forward(IDS[:8], given, num_logits=8)
    expected, _ = plain.forward(IDS[:8], state, num_logits=8)
    assert np.abs(after - expected).max() < 0.1 * np.abs(expected).max()


def test_a_layer_may_be_left_as_it_is(source, calibration):
    recipe = parse_recipe(
        'scheme = "one"\n[default]\nweights = 32\nequalize = 0\n[layers.1."att.key"]\nweights = 8\ninputs = "float"'
    )
    made = rewrite(source, recipe, calibration).graph.model
    assert [n.name for n in made.graph.node if n.op_type == "MatMulNBits"] == ["blocks.1.time_mix.key"]


def test_a_text_too_short_for_a_medium_is_said(source, small_bundle, tmp_path):
    (tmp_path / "short.ids").write_text("1 2 3")
    short = Calibration.read([tmp_path / "short.ids"], small_bundle)
    with pytest.raises(RecipeError, match="never reached"):
        rewrite(source, Recipe("x", default=WeightSpec()), short)


def test_what_cannot_be_quantized(quantized, bundle, small_bundle, calibration, tmp_path):
    with pytest.raises(RecipeError, match="already quantized"):
        quantize(quantized(shipped_recipe("int8")), tmp_path / "out", shipped_recipe("int8"), calibration)
    assert not (tmp_path / "out").exists()


def test_the_command(small_bundle, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("What a day it was, and what a night! " * 20)
    done = rrwkv("quantize", small_bundle, "-o", "out", "--calibration", text, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    info = json.loads(rrwkv("info", "out", "--json", cwd=tmp_path).stdout)
    assert info["quantization"]["calibration"]["files"][0]["name"] == "text.txt"
    again = rrwkv("quantize", "out", "-o", "twice", cwd=tmp_path)
    assert again.returncode == 1
    assert "already quantized" in again.stderr
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"\xff\xfe", "not UTF-8")],
)
def test_wrong_texts(content, said, small_bundle, tmp_path):
    (tmp_path / "text.txt").write_bytes(content)
    done = rrwkv("quantize", small_bundle, "-o", "out", "--calibration", "text.txt", cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_optimum_gives_the_same_logits(source, calibration):
    pytest.importorskip("optimum.onnxruntime", reason="the extra [optimum] is not installed")
    from rrwkv_export.quantize.rewrite.optimum import insert_pairs

    recipe = shipped_recipe("int8-static")
    ours, theirs = (rewrite(source, recipe, calibration, insert=one).graph.whole() for one in (None, insert_pairs))
    expected, found = (logits_of(model, source.manifest, IDS) for model in (ours, theirs))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scheme", ["int4", "int8-weight"])
def test_weights_alone_are_rounded_for_a_gpu(scheme, make_tiny, calibration, quantized, tmp_path):
    """As they are for a CPU; and both graphs give the same."""
    out = tmp_path / scheme
    manifest = quantize(make_tiny(SMALL, target="cuda").path, out, shipped_recipe(scheme), calibration)
    assert {name: graph.over for name, graph in manifest.graphs.items()} == {"main": "chunked", "decode": "decode_gpu"}
    assert all(choice["compute"] == "float32" for choice in manifest.quantization["roles"].values())
    for file in ("model.onnx", "decode.onnx"):
        operators = [node.op_type for node in onnx.load(str(out / file), load_external_data=False).graph.node]
        assert operators.count("MatMulNBits") == sum(linear.role != "emb" for linear in linears(SMALL))
    model = load(out)
    at_once, decoder = model.forward(IDS, num_logits=len(IDS))[0], model.decoder()
    one_by_one = np.stack([decoder.step(i).copy() for i in IDS])
    np.testing.assert_allclose(one_by_one, at_once, atol=1e-5 * np.abs(at_once).max())
    assert measure(load(quantized(shipped_recipe(scheme))), model, IDS).kl < 0.01


def test_a_gpu_is_not_asked_to_round_activations(make_tiny, calibration, tmp_path):
    with pytest.raises(RecipeError, match=r"only weights are rounded, and int8 .*int8-weight or int4"):
        quantize(make_tiny(SMALL, target="cuda").path, tmp_path / "out", shipped_recipe("int8"), calibration)
    assert not (tmp_path / "out").exists()


def test_a_damaged_source_is_refused(bundle):
    data = bundle / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    with pytest.raises(Exception, match="sha256"):
        Source.open(bundle)
    shutil.rmtree(bundle)


def test_what_a_role_costs_alone_and_what_a_budget_allows(source, small_bundle):
    observed, ids = Calibration.read([TEXT], small_bundle).split(200, 3)
    scale = Scale(source, ids)
    assert scale.kl(source.rewriter()) < 1e-9
    costs = sensitivity(source, observed, scale, kinds=["static 8", "weight 4"], by_layer=False)
    assert costs == sorted(costs, key=lambda cost: -cost.kl)
    points = trade_off(costs)
    assert [p.bytes for p in points] == sorted((p.bytes for p in points), reverse=True)
    middle = points[len(points) // 2]
    recipe, _ = choose(source, observed, scale, points, Recipe("x"), max_bytes=middle.bytes)
    assert recipe.roles == {role: KINDS[kind] for role, kind in middle.kinds.items()}
    _, kl = choose(source, observed, scale, points, Recipe("x"), max_kl=2 * points[0].kl)
    assert kl <= 2 * points[0].kl
    with pytest.raises(RecipeError, match="the smallest takes"):
        choose(source, observed, scale, points, Recipe("x"), max_bytes=10)
    with pytest.raises(RecipeError, match="best found has"):
        choose(source, observed, scale, points, Recipe("x"), max_kl=1e-12)


def test_the_least_bytes_are_those_of_the_smallest_recipe(source, calibration):
    """As what it makes of the matrices takes, all of it; but of matrices of few inputs, which fill no block of 32."""
    kinds = {linear.role: "weight 8" if linear.role == "emb" else "weight 4" for linear in source.linears}
    smallest = Recipe("x", roles={role: {**KINDS[kind], "rounding": "nearest"} for role, kind in kinds.items()})
    counted = [linear for linear in source.linears if linear.inputs >= 16]
    matrices = {linear.weight for linear in counted}
    tensors = rewrite(source, smallest, calibration).graph.whole().graph.initializer
    made = [t for t in tensors if t.name.removesuffix(".q").removesuffix(".scale") in matrices]
    assert least_bytes(counted) == sum(onnx.numpy_helper.to_array(t).nbytes for t in made)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (("--max-bytes", 1000), "--max-bytes 1,000: the matrices of this model take {least:,} bytes at least"),
        (("--max-kl", 0), "--max-kl 0: a mean KL divergence is a number above 0"),
        (("--max-kl", -1), "--max-kl -1: a mean KL"),
        (("--max-kl", "nan"), "--max-kl nan: a mean KL"),
        (("--max-kl", 0.1, "--max-bytes", 5), "--max-bytes 5: "),
    ],
)
def test_a_budget_that_nothing_keeps_is_refused_before_anything_is_measured(
    budget, said, small_bundle, source, tmp_path, monkeypatch
):
    def measured(*_, **__):
        pytest.fail("measured")

    monkeypatch.setattr("rrwkv_export.quantize.search.sensitivity.Scale", measured)
    arguments = ["quantize", str(small_bundle), "-o", str(tmp_path / "out"), *map(str, budget)]
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, RecipeError)
    assert said.format(least=least_bytes(source.linears)) in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_exponents_are_searched_by_what_they_cost(source, small_bundle, monkeypatch):
    """For every role whose inputs are rounded, the candidate of least KL on text that was not observed, or the recipe's
    own if it costs about as little.
    """
    observed, ids = Calibration.read([TEXT], small_bundle, samples=6).split(256, 2)
    scale, seen = Scale(source, ids), []
    measured = scale.kl
    monkeypatch.setattr(scale, "kl", lambda graph: seen.append(measured(graph)) or seen[-1])
    recipe, found = search_exponents(source, observed, scale, shipped_recipe("int8"))
    known = folds(source.config)
    rounded = [one for one in source.linears if one.role in known and recipe.choice(one).kind == "static"]
    assert found.keys() == {linear.role for linear in rounded}
    assert all(recipe.choice(linear).equalize == found[linear.role] for linear in rounded)
    trials = np.array(seen).reshape(len(found), len(CANDIDATES))
    assert (np.ptp(trials, axis=1) > 0).any()
    for (role, exponent), costs in zip(found.items(), trials):
        own = next(shipped_recipe("int8").choice(linear).equalize for linear in rounded if linear.role == role)
        chosen, kept = costs[CANDIDATES.index(exponent)], costs[CANDIDATES.index(own)]
        assert exponent == own if costs.min() >= (1 - GAIN) * kept else chosen == costs.min()


def test_a_bundle_does_not_take_the_place_of_the_one_it_is_made_from(bundle, calibration):
    before = Manifest.load(bundle)
    with pytest.raises(OutputError, match="is the bundle that is quantized"):
        quantize(bundle, bundle, shipped_recipe("int8-weight"), calibration, overwrite=True)
    assert Manifest.load(bundle) == before
