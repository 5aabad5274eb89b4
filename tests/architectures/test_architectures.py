"""Every architecture's reference against recorded logits, the independent `rwkv` package, and itself."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import RRWKV, RWKV4, RWKV6, RWKV7, RWKV52, random_weights, write_blinkdl
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import configs

from rrwkv_export import architectures
from rrwkv_export.architectures import reference
from rrwkv_export.architectures.base import Tensors
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import linears
from rrwkv_export.architectures.mediums import INFORMATION
from rrwkv_export.architectures.rwkv5 import VERSIONS
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import ConfigError

# A trained RWKV-7 of 26 MB, which is too large to come along: where RWKV7_CHAT says, or beside the clone.
_BESIDE = Path(__file__).parents[3] / "shared" / "checkpoints" / "rwkv7-chat"
CHAT = Path(os.environ.get("RWKV7_CHAT", _BESIDE)) / "rwkv7-chat-13m.pth"
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 0, 39]
RWKV51, RWKV50 = (dataclasses.replace(RWKV52, version=version) for version in VERSIONS[1:])
GENERATIONS = {"rwkv4": RWKV4, "5.0": RWKV50, "5.1": RWKV51, "5.2": RWKV52, "rwkv6": RWKV6, "rwkv7": RWKV7}


@pytest.mark.skipif(not CHAT.is_file(), reason="rwkv7-chat-13m.pth is not there; RWKV7_CHAT names its folder")
def test_rwkv7_gives_the_recorded_logits(rwkv7_golden):
    golden, checkpoint = rwkv7_golden, open_checkpoint(CHAT)
    config = checkpoint.config
    logits = reference.of(config).forward(config, checkpoint.weights, golden.ids.tolist())[0].numpy()
    assert golden.error(logits) < 1e-7
    assert (logits.argmax(axis=1) == golden.argmax).all()


def package_logits(path: Path, version7: bool) -> np.ndarray:
    environment = {**os.environ, "RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0", "OMP_NUM_THREADS": "1"}
    environment |= {"RWKV_V7_ON": "1" if version7 else "0"}
    program, out = Path(__file__).with_name("rwkv_package.py"), path.with_suffix(".npy")
    subprocess.run([sys.executable, program, path, json.dumps(IDS), out], env=environment, check=True, timeout=300)
    return np.load(out)


@pytest.mark.skipif(importlib.util.find_spec("rwkv") is None, reason="the rwkv package is not installed")
@pytest.mark.parametrize("name", GENERATIONS)
def test_the_rwkv_package_computes_the_same(tmp_path, name):
    config, weights = GENERATIONS[name], random_weights(GENERATIONS[name])
    expected = package_logits(write_blinkdl(tmp_path / "m.pth", config, weights, torch.float32), name == "rwkv7")
    checkpoint = open_checkpoint(tmp_path / "m.pth")
    assert checkpoint.config == config
    logits = reference.of(config).forward(config, checkpoint.weights, IDS)[0].numpy()
    assert np.abs(logits - expected).max() < 2e-6 * np.abs(logits).max()


@settings(max_examples=40)
@given(configs(), st.integers(0, 10**6), st.integers(0, len(IDS) - 1))
def test_step_is_forward_from_any_position(config, seed, cut):
    model, weights = reference.of(config), random_weights(config, seed)
    state = model.State.initial(config)
    for token in IDS[:cut]:
        model.step(config, weights, token, state)
    expected, after = model.forward(config, weights, IDS[cut:], state)
    logits = torch.stack([model.step(config, weights, token, state) for token in IDS[cut:]])
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    for name, value in vars(after).items():
        torch.testing.assert_close(getattr(state, name), value, rtol=1e-9, atol=1e-9, msg=name)


@given(configs())
def test_a_config_comes_back_from_its_json_and_from_its_shapes(config):
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    plain = dataclasses.replace(config, medium=None)
    room = architectures.of(plain)
    assert architectures.recognise(plain.shapes()) is room
    found = room.infer(Tensors("m.pth", plain.shapes()))
    assert found.shapes() == plain.shapes()


@given(configs())
def test_states_and_linears_are_those_of_the_shapes(config):
    states = architectures.of(config).states(config, "plain")
    initial = reference.of(config).State.initial(config)
    assert {s.name: s.shape for s in states[1:]} == {s.name: np.shape(getattr(initial, s.name)) for s in states[1:]}
    shapes = config.shapes()
    assert all(set(shapes[one.weight]) == {one.inputs, one.outputs} for one in linears(config))
    rates = (".r_k", ".time_decay", ".time_first", ".time_faaaa", INFORMATION)  # [H, N] or [2, C], and no linears
    matrices = {name for name, shape in shapes.items() if len(shape) == 2 and not name.endswith(rates)}
    assert {one.weight for one in linears(config)} == matrices


@pytest.mark.parametrize("name", GENERATIONS)
def test_mediums_that_are_not_mixed_in_change_nothing(name):
    plain = GENERATIONS[name]
    config = dataclasses.replace(plain, medium=RRWKV.medium)
    weights = random_weights(config)
    weights |= {name: torch.zeros_like(value) for name, value in weights.items() if "medium_mix" in name}
    expected, _ = reference.of(plain).forward(plain, weights, IDS)
    logits, _ = reference.of(config).forward(config, weights, IDS)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("config", [RWKV52, RWKV6, RWKV7], ids=["5.2", "rwkv6", "rwkv7"])
def test_float32_is_another_rounding_of_the_same_model(config):
    weights, model = random_weights(config), reference.of(config)
    exact, _ = model.forward(config, weights, IDS)
    rounded, state = model.forward(config, weights, IDS, dtype=torch.float32)
    assert rounded.dtype == state.matrix.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 1e-5 * exact.abs().max()


def test_an_observer_sees_keys_and_decays():
    seen = {}
    reference.of(RWKV7).forward(RWKV7, random_weights(RWKV7), IDS, observe=seen.__setitem__)
    assert seen["blocks.1.time_mix.key"].shape == (len(IDS), 16)
    assert 0.5452 < seen["blocks.0.time_mix.decay"].min() < seen["blocks.0.time_mix.decay"].max() < 1


@pytest.mark.parametrize(
    ("field", "value"), [("head_size", 5), ("head_size", 0), ("decay_rank", 0), ("medium", 3), ("wings", 2)]
)
def test_what_is_wrong_with_a_config_is_named(field, value):
    with pytest.raises(ConfigError, match=field):
        ModelConfig.from_json({**RWKV7.to_json(), field: value})
