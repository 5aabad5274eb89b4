"""RWKV-5, 6 and 7 by the kernels of rrwkv-native against onnxruntime alone, in every scheme that they know."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.rwkv5 import RWKV5Config
from rrwkv_export.architectures.rwkv6 import RWKV6Config
from rrwkv_export.architectures.rwkv7 import RWKV7Config
from rrwkv_export.bundle import GraphOptions, write_graph, write_manifest
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.kernels.fuse import DOMAIN
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.texts import Text
from rrwkv_runtime.manifest import ChatFormat
from rrwkv_runtime.model import Model

rrwkv_native = pytest.importorskip("rrwkv_native", reason="rrwkv-native is not installed")
needs_kernels = pytest.mark.skipif(rrwkv_native.library() is None, reason="the processor is none that has kernels")
_BESIDE = Path(__file__).parents[3] / "shared" / "checkpoints" / "rwkv7-chat"
CHAT = Path(os.environ.get("RWKV7_CHAT", _BESIDE)) / "rwkv7-chat-13m.pth"

V = 130
WIDE = MediumConfig(interval=5, slots=4, key_size=8)
SEVEN = RWKV7Config(*(V, 72, 3, 150), head_size=24, decay_rank=9, rate_rank=4, value_rank=6, gate_rank=17)
SEVEN_MEDIUMS = replace(SEVEN, hidden_size=256, num_layers=2, ffn_size=200, medium=WIDE, head_size=64)
SIX = RWKV6Config(*(V, 72, 3, 150), head_size=24, mix_rank=9, decay_rank=5)
SIX_MEDIUMS = replace(SIX, hidden_size=256, num_layers=2, ffn_size=200, medium=WIDE, head_size=64)
FIVE = RWKV5Config(*(V, 72, 3, 150), head_size=24)
FIVE_MEDIUMS = replace(FIVE, hidden_size=256, num_layers=2, ffn_size=200, medium=WIDE, head_size=64)
SCHEMES = ("int8-static", "int8-dynamic", "int8", "int8-weight", "int4", "float16", "float32")
LOW_RANK = "low-rank float32"
CASES = [(config, scheme) for config in (SEVEN_MEDIUMS, SEVEN, SIX_MEDIUMS, FIVE) for scheme in SCHEMES]
CASES += [(replace(SEVEN, num_layers=1, head_size=8), "int8"), (SEVEN, LOW_RANK), (SIX, LOW_RANK), (SIX, "int8-static")]
CASES += [(replace(FIVE, version="5.0", num_layers=1), "int4"), (replace(FIVE, version="5.1"), "int8-dynamic")]
CASES += [(FIVE_MEDIUMS, "int8")]
IDS = np.random.default_rng(3).integers(0, V, 60)
in_every_scheme = pytest.mark.parametrize(
    ("config", "scheme"),
    CASES,
    ids=[f"{config.architecture}-{scheme}-{config.hidden_size}-{config.num_layers}" for config, scheme in CASES],
)


@pytest.fixture(scope="module")
def quantized(make_tiny, tmp_path_factory):
    """A function: a random model of a config, quantized by a scheme; each once."""
    made: dict[object, Path] = {}

    def make(config, scheme):
        if (key := (config, scheme)) not in made:
            out = tmp_path_factory.mktemp("matrices") / "bundle"
            recipe = shipped_recipe("int8" if scheme == LOW_RANK else scheme, config.architecture)
            if scheme == LOW_RANK:
                recipe = recipe.with_role("low_rank.*", weights=32)
            text = Text("random", "0" * 64, (np.random.default_rng(0).integers(0, V, 300),))
            quantize(make_tiny(config).path, out, recipe, Calibration((text,), None, 0))
            made[key] = out
        return made[key]

    return make


def calls(path: Path, file: str) -> list[str]:
    graph = onnx.load(str(path / file), load_external_data=False).graph
    return [node.op_type for node in graph.node if node.domain == DOMAIN]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


@in_every_scheme
def test_a_graph_is_one_call(config, scheme, quantized):
    path, name = quantized(config, scheme), config.architecture.upper()
    assert (calls(path, "decode.onnx"), calls(path, "model.onnx")) == ([f"DecodeStep{name}"], [f"Prefill{name}"])


def test_what_the_kernel_does_not_know_stays_as_it_is(make_tiny, tmp_path):
    path, recipe = (
        tmp_path / "head-none-of-theirs",
        replace(shipped_recipe("float16"), roles={"head": {"weights": 4, "inputs": "float", "compute": "float32"}}),
    )
    quantize(make_tiny(SEVEN).path, path, recipe, Calibration((), None, 0))
    assert (calls(path, "decode.onnx"), calls(path, "model.onnx")) == ([], [])


@needs_kernels
@in_every_scheme
@pytest.mark.parametrize("tokens", [1, 3])
def test_tokens_are_as_close_as_onnxruntimes_orders_of_summing(tokens, config, scheme, quantized):
    """Steps and runs, from the states that onnxruntime alone has come to; and the states after them."""
    path = quantized(config, scheme)
    ours, theirs = Model.load(path, threads=1, native=True), Model.load(path, threads=1, native=False)
    state, errors, of_states = theirs.initial_state(), [], []
    for start in range(0, len(IDS), tokens):
        ids = IDS[start : start + tokens]
        decoders = ours.decoder(state), theirs.decoder(state)
        logits, wanted = (d.step(ids[0]) if tokens == 1 else d.prefill(ids) for d in decoders)
        errors.append(distance(logits, wanted))
        found, state = decoders[0].state(), decoders[1].take_state()
        of_states.append(max(distance(found.values[name], state.values[name]) for name in ("shift", "matrix")))
    assert np.median(errors) < 1e-5
    assert np.median(of_states) < 1e-5
    # Where an activation lies on the edge between two whole numbers, more; never where none is one.
    assert max(errors) < (1e-5 if scheme in ("float16", "float32", "int8-weight") else 0.03)


@needs_kernels
@in_every_scheme
def test_a_text_gives_the_same_however_it_is_cut_and_by_however_many_threads(config, scheme, quantized):
    path = quantized(config, scheme)
    model = Model.load(path, threads=1, native=True)
    logits, state = model.forward(IDS, num_logits=len(IDS))
    one, cuts = None, {1: [17, 1], 2: [None, 17], 7: [None]}
    for threads, chunks in cuts.items():
        other = Model.load(path, threads=threads, native=True)
        for chunk in [None] if scheme == "int8-dynamic" else chunks:  # whose ranges are those of a run
            cut, after = other.forward(IDS, num_logits=len(IDS), chunk=chunk)
            np.testing.assert_array_equal(cut, logits)
            for name, value in state.values.items():
                np.testing.assert_array_equal(after.values[name], value, err_msg=name)
        decoder = other.decoder()
        steps = np.stack([decoder.step(token).copy() for token in IDS])
        one = steps if threads == 1 else one
        np.testing.assert_array_equal(steps, one)
        if scheme.startswith("float"):
            np.testing.assert_array_equal(steps, logits)


@needs_kernels
@pytest.mark.skipif(not CHAT.exists(), reason="needs the trained checkpoint; RWKV7_CHAT says where it is")
def test_the_trained_model_gives_the_recorded_logits(rwkv7_golden, tmp_path):
    """In float16 nearly; and int8 rounds as much by kernels as without."""
    checkpoint, options, ids = open_checkpoint(CHAT), GraphOptions("plain", "float32", "cpu"), rwkv7_golden.ids
    (plain := tmp_path / "float32").mkdir()
    write_graph(plain, checkpoint.config, checkpoint.weights.array, options)
    told = {"model_id": "0" * 64, "tokenizer": None, "chat": ChatFormat(), "provenance": {}}
    write_manifest(plain, checkpoint.config, options, **told)
    for scheme, most in (("float16", 1e-3), ("int8", 0.1)):
        calibration = Calibration((Text("golden", "0" * 64, (ids,)),), None, 0)
        quantize(plain, tmp_path / scheme, shipped_recipe(scheme, "rwkv7"), calibration)
        models = [Model.load(tmp_path / scheme, native=native) for native in (True, False)]
        ours, theirs = (rwkv7_golden.error(model.forward(ids, num_logits=len(ids))[0]) for model in models)
        assert max(ours, theirs) < most
        assert ours == pytest.approx(theirs, rel=0.3)
