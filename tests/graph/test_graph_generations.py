"""RWKV-5, 6 and 7 as graphs: the reference's numbers, and the same bits however a text is cut."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import ADAPTIVE, RWKV6, RWKV7, RWKV52, random_weights, write_blinkdl, write_rrwkv
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import configs

from rrwkv_export.architectures import reference
from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.rwkv5 import RWKV5Config
from rrwkv_export.architectures.rwkv6 import RWKV6Config
from rrwkv_export.architectures.rwkv7 import RWKV7Config
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import CheckpointError
from rrwkv_export.export import export
from rrwkv_runtime import Model

_BESIDE = Path(__file__).parents[3] / "shared" / "checkpoints" / "rwkv7-chat"
CHAT = Path(os.environ.get("RWKV7_CHAT", _BESIDE)) / "rwkv7-chat-13m.pth"
IDS = np.random.default_rng(0).integers(0, RWKV7.vocab_size, 40)


CASES = {
    "5.0": (replace(RWKV52, version="5.0"), None),
    "5.1": (replace(RWKV52, version="5.1"), None),
    "5.2": (RWKV52, "mean"),
    "6": (RWKV6, None),
    "6 with mediums": (RWKV6, "attention"),
    "7": (RWKV7, None),
    "7 with mediums": (RWKV7, "attention"),
    "6, adaptive": (RWKV6, ADAPTIVE),
    "7, adaptive": (RWKV7, ADAPTIVE),
}


@pytest.fixture(scope="module", params=CASES)
def bundle(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    config, medium = CASES[request.param]
    if isinstance(medium, str):
        medium = MediumConfig(5, medium, slots=3, key_size=8)
    config = replace(config, medium=medium)
    write_rrwkv(folder / "checkpoint", config, random_weights(config))
    export(open_checkpoint(folder / "checkpoint"), folder / "bundle")  # verified, or an error
    return Model.load(folder / "bundle")


def test_a_text_in_any_pieces_gives_the_same_bits(bundle):
    whole, state = bundle.forward(IDS, num_logits=len(IDS))
    parts, carried = [], None
    for piece in np.split(IDS, [1, 4, 5, 17]):
        logits, carried = bundle.forward(piece, carried, num_logits=len(piece))
        parts.append(logits)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for name, value in state.values.items():
        np.testing.assert_array_equal(carried.values[name], value, err_msg=name)


@settings(max_examples=25)
@given(configs((RWKV5Config, RWKV6Config, RWKV7Config)), st.integers(0, 10**6), st.integers(0, len(IDS)))
def test_graphs_compute_what_the_reference_says(make_tiny, config, seed, cut):
    """A prompt, then token by token, of any sizes, with mediums and without."""
    tiny, state, model = make_tiny(config, seed), None, reference.of(config)
    expected, after = model.forward(config, tiny.weights, IDS)
    rounded, after_rounded = model.forward(config, tiny.weights, IDS, dtype=torch.float32)
    found = []
    if cut:
        found, state = tiny.model.forward(IDS[:cut], num_logits=cut)
    decoder = tiny.model.decoder(state)
    found = np.array([*found, *(decoder.step(int(token)).copy() for token in IDS[cut:])])
    assert_as_near_as_float32(found, expected, rounded)
    assert_as_near_as_float32(decoder.state().values["matrix"], after.matrix, after_rounded.matrix)


def assert_as_near_as_float32(found, expected, rounded):
    """Within 1e-5 of the largest, or 8 times what float32 costs: the norm of few channels makes much of little."""
    own = (rounded - expected).abs().max()
    assert np.abs(found - expected.numpy()).max() < max(1e-5 * expected.abs().max(), 8 * own)


def test_decoding_gives_the_bits_of_a_prompt(bundle):
    whole, state = bundle.forward(IDS, num_logits=len(IDS))
    decoder = bundle.decoder()
    for token, expected in zip(IDS, whole):
        np.testing.assert_array_equal(decoder.step(int(token)), expected)
    for name, value in state.values.items():
        np.testing.assert_array_equal(decoder.state().values[name], value, err_msg=name)


def test_a_target_without_a_graph_is_refused_by_name(tmp_path):
    checkpoint = open_checkpoint(write_blinkdl(tmp_path / "m.pth", RWKV6, random_weights(RWKV6)))
    with pytest.raises(CheckpointError, match="no graph for rwkv6 with --target cuda yet"):
        export(checkpoint, tmp_path / "out", target="cuda")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not CHAT.exists(), reason="the trained RWKV-7 checkpoint is not here")
def test_golden_logits_of_a_trained_model(tmp_path, rwkv7_golden):
    export(open_checkpoint(CHAT), tmp_path / "bundle", tokens=16)
    logits, _ = Model.load(tmp_path / "bundle").forward(rwkv7_golden.ids, num_logits=len(rwkv7_golden.ids))
    assert rwkv7_golden.error(logits) < 1e-5
    assert (logits.argmax(axis=1) == rwkv7_golden.argmax).mean() > 0.99
