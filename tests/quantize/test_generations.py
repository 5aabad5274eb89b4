"""Every generation is quantized: folding changes no bit, every scheme stays near the float model, states stay float."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from checkpoint_files import ADAPTIVE, RRWKV, RWKV6, RWKV7, RWKV52

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.linears import folds
from rrwkv_export.commands.quantize import SCHEMES
from rrwkv_export.onnx.stateful_session import carried, exposed
from rrwkv_export.quantize.equalize import fold
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration, Source
from rrwkv_export.report import measure
from rrwkv_export.texts import Text
from rrwkv_runtime import Model

MEDIUM = MediumConfig(5, slots=3, key_size=8)
# So wide that low-rank matrices lie in the data file, as those of real models do.
WIDE = {"hidden_size": 32, "ffn_size": 64}
CONFIGS = {
    "4 with mediums": replace(RRWKV, **WIDE),
    "5.0": replace(RWKV52, **WIDE, version="5.0"),
    "5.2": replace(RWKV52, **WIDE),
    "6 with mediums": replace(RWKV6, **WIDE, mix_rank=8, decay_rank=8, medium=MEDIUM),
    "7": replace(RWKV7, **WIDE, decay_rank=8, rate_rank=9, value_rank=10, gate_rank=11),
    "7 with mediums": replace(RWKV7, **WIDE, gate_rank=8, medium=MEDIUM),
}
FOLLOWING = {
    "4, adaptive": replace(RRWKV, **WIDE, medium=ADAPTIVE),
    "7, adaptive": replace(RWKV7, **WIDE, gate_rank=8, medium=ADAPTIVE),
}
ROUNDED = [scheme for scheme in SCHEMES if scheme not in ("qnn", "float32")]
IDS = np.random.default_rng(0).integers(0, RWKV7.vocab_size, 100)


@pytest.fixture(scope="module", params=CONFIGS)
def source(request, make_tiny):
    return Source.open(make_tiny(CONFIGS[request.param]).path)


def logits(graph, source):
    with exposed(graph.whole(), ["logits", *(spec.output for spec in source.manifest.states)]) as session:
        return np.concatenate([found[0] for _, found in carried(session, source.manifest.states, ["logits"], [IDS])])


def test_a_fold_changes_no_bit(source):
    """Scales that are powers of four, whose roots are exact too, of either sign where that is allowed."""
    rng, plain, how = np.random.default_rng(0), source.rewriter(), folds(source.config)
    expected = logits(plain, source)
    for role in {linear.role for linear in source.linears} & how.keys():
        folded = source.rewriter()
        for linear in (linear for linear in source.linears if linear.role == role):
            sign = rng.choice([-1, 1], linear.inputs) if how[role].signed else 1
            fold(folded, source.config, linear, (sign * 4.0 ** rng.integers(-2, 3, linear.inputs)).astype(np.float32))
        np.testing.assert_array_equal(logits(folded, source), expected, err_msg=role)


def test_all_that_multiplies_a_weight_can_be_equalized(source):
    others = {"emb", "medium.query", "medium.key", "medium.down"}
    assert {linear.role for linear in source.linears if not linear.is_low_rank} - folds(source.config).keys() <= others


@pytest.mark.parametrize("scheme", ROUNDED)
def test_every_scheme_stays_near_the_float_model(source, scheme, tmp_path):
    """In onnxruntime alone: our kernels sum blocks in another order in a step than in a run, and now and then a last
    bit decides how an activation is rounded.
    """
    calibration = Calibration((Text("ids", "0" * 64, (IDS,)),), None, 0)
    quantize(source.path, tmp_path / "out", shipped_recipe(scheme, source.config.architecture), calibration)
    model = Model.load(tmp_path / "out", threads=1, native=False)
    found, states = model.forward(IDS, num_logits=len(IDS))
    expected, _ = Model.load(source.path, threads=1).forward(IDS, num_logits=len(IDS))
    assert 0 < np.square(found - expected).mean() < 0.1 * np.square(expected).mean()
    assert {str(value.dtype) for value in states.values.values()} <= {"float32", "int64"}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["quantization"]["scheme"] == scheme
    decoder, state = model.decoder(), None
    for token in IDS[:8]:
        (one,), state = model.forward([token], state)
        np.testing.assert_allclose(decoder.step(int(token)), one, atol=1e-5)


@pytest.mark.parametrize("scheme", ["int8-weight", "int4"])
def test_weights_of_rwkv7_are_rounded_for_a_gpu(make_tiny, scheme, tmp_path):
    source = make_tiny(CONFIGS["7 with mediums"], target="cuda")
    assert_near(source, scheme, tmp_path / "out")


@pytest.mark.parametrize("scheme", ["int8", "int8-static", "int4", "qnn"])
@pytest.mark.parametrize("name", ["5.2", "6 with mediums", "7 with mediums"])
def test_graphs_in_fixed_shapes_are_rounded_as_the_others(make_tiny, name, scheme, tmp_path):
    source = make_tiny(CONFIGS[name], wkv="stable", target="mobile")
    assert_near(source, scheme, tmp_path / "out", "mobile")


@pytest.mark.parametrize("scheme", ["int8", "int8-dynamic", "int4", "float16"])
@pytest.mark.parametrize("name", FOLLOWING)
def test_rounding_moves_no_border_of_an_adaptive_interval(make_tiny, name, scheme, tmp_path):
    source = make_tiny(FOLLOWING[name])
    assert_near(source, scheme, tmp_path / "out")
    rounded = Model.load(tmp_path / "out", threads=1)
    (_, before), (_, after) = source.model.forward(IDS), rounded.forward(IDS)
    counts = [name for name, value in before.values.items() if value.dtype == np.int64]
    assert len(counts) > 1  # tokens, and what they told
    assert all(np.array_equal(before.values[name], after.values[name]) for name in counts)
    ids = tmp_path / "text.ids"
    ids.write_text(" ".join(map(str, IDS)))
    first = measure(source.path, tmp_path / "out", [ids], speed=False).main.first
    assert 0 < first.figures.kl.mean < 0.5


def assert_near(source, scheme, out, variant=None):
    """Quantized, a prompt and then token by token stay near the float model."""
    calibration = Calibration((Text("ids", "0" * 64, (IDS,)),), None, 0)
    quantize(source.path, out, shipped_recipe(scheme, source.config.architecture), calibration)
    decoder = Model.load(out, threads=1, variant=variant).decoder()
    found = [decoder.prefill(IDS[:20]).copy(), *(decoder.step(int(token)).copy() for token in IDS[20:])]
    expected, _ = source.model.forward(IDS, num_logits=81)
    assert 0 < np.square(np.array(found) - expected).mean() < 0.1 * np.square(expected).mean()
