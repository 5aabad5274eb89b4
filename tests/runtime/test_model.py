"""The torch reference against recorded logits, itself, and transformers."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from checkpoint_files import ASSET, RRWKV, RWKV4, random_weights, write_huggingface

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.reference.rwkv4 import State, forward, step
from rrwkv_export.checkpoint import open_checkpoint

MEAN = dataclasses.replace(RRWKV, medium=MediumConfig(interval=3, squeeze="mean", reduction=4, slots=1, key_size=5))
CONFIGS = {"attention": RRWKV, "mean": MEAN, "rwkv4": RWKV4}
IDS = torch.randint(0, 40, (30,), generator=torch.Generator().manual_seed(1)).tolist()


def assert_states_equal(found, expected):
    assert found.position == expected.position
    for name, value in vars(expected).items():
        if name != "position":
            torch.testing.assert_close(getattr(found, name), value, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("name", ["golden", "long_golden"])
def test_forward_gives_the_recorded_logits(name, request):
    golden = request.getfixturevalue(name)
    checkpoint = open_checkpoint(ASSET)
    logits = forward(checkpoint.config, checkpoint.weights, golden.ids.tolist())[0].numpy()
    assert golden.error(logits) < 1e-6
    assert (logits.argmax(axis=1) == golden.argmax).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_step_is_forward_from_any_position(name):
    config, weights = CONFIGS[name], random_weights(CONFIGS[name])
    _, state = forward(config, weights, IDS[:11])
    expected, after = forward(config, weights, IDS[11:], state)
    logits = torch.stack([step(config, weights, token, state) for token in IDS[11:]])
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    assert_states_equal(state, after)


@pytest.mark.parametrize("name", CONFIGS)
def test_forward_in_two_parts_is_forward(name):
    config, weights = CONFIGS[name], random_weights(CONFIGS[name], seed=3)
    expected, after = forward(config, weights, IDS)
    first, state = forward(config, weights, IDS[:13])
    second, state = forward(config, weights, IDS[13:], state)
    torch.testing.assert_close(torch.cat([first, second]), expected, rtol=1e-10, atol=1e-10)
    assert_states_equal(state, after)


def test_forward_leaves_the_state_it_was_given():
    weights = random_weights(RRWKV)
    _, state = forward(RRWKV, weights, IDS[:9])
    kept = state.copy()
    forward(RRWKV, weights, IDS[9:], state)
    assert_states_equal(state, kept)


def test_a_medium_is_first_read_in_the_next_segment():
    """Other tokens in a segment's future, or other slots, change nothing before their time."""
    weights, s = random_weights(RRWKV), RRWKV.medium.interval
    unread = weights | {f"blocks.{i}.medium.up.weight": torch.full((16, 8), 2.0) for i in range(2)}
    (a, _), (b, _) = (forward(RRWKV, w, IDS) for w in (weights, unread))
    torch.testing.assert_close(a[:s], b[:s], rtol=0, atol=0)
    assert (a[s] - b[s]).abs().max() > 1e-3


def test_mediums_beyond_the_slots_are_forgotten():
    config = dataclasses.replace(RRWKV, medium=MediumConfig(interval=2, slots=2, key_size=4))
    _, state = forward(config, random_weights(config), IDS[:8])
    one, other = state.copy(), state.copy()
    other.medium_bank[:, 0] += 1  # the oldest; pushed out at the end of the next segment
    a, b = (forward(config, random_weights(config), IDS[8:10], s) for s in (one, other))
    assert (a[0] - b[0]).abs().max() > 1e-6
    assert torch.equal(a[1].medium_bank[:, 0], b[1].medium_bank[:, 0])
    assert torch.equal(b[1].medium_bank[:, 0], other.medium_bank[:, 1])


def test_rwkv4_is_rrwkv_with_mediums_that_are_not_mixed_in():
    weights = random_weights(RRWKV)
    weights |= {name: torch.zeros_like(value) for name, value in weights.items() if "medium_mix" in name}
    plain = {name: value for name, value in weights.items() if "medium" not in name}
    expected, _ = forward(RWKV4, plain, IDS)
    torch.testing.assert_close(forward(RRWKV, weights, IDS)[0], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("config", [RWKV4, RRWKV], ids=["rwkv4", "rrwkv"])
def test_float32_is_another_rounding_of_the_same_model(config):
    weights = random_weights(config)
    (exact, state), (rounded, other) = (forward(config, weights, IDS, dtype=t) for t in (torch.float64, torch.float32))
    assert rounded.dtype == other.shift.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 1e-5 * exact.abs().max()
    assert other.wkv.dtype == torch.float64  # exp of a key of 100 is none of float32's numbers
    torch.testing.assert_close(other.wkv, state.wkv, rtol=1e-5, atol=1e-5)


def test_an_observer_sees_every_layers_keys():
    seen = {}
    weights = random_weights(RWKV4)
    forward(RWKV4, weights, IDS, observe=seen.__setitem__)
    assert set(seen) == {f"blocks.{i}.time_mix.key" for i in range(2)}
    assert seen["blocks.0.time_mix.key"].shape == (len(IDS), RWKV4.hidden_size)


def test_the_initial_state_is_the_layout_of_the_graph():
    arrays = {name: value for name, value in vars(State.initial(RRWKV)).items() if not isinstance(value, int)}
    shapes = {name: tuple(value.shape) for name, value in arrays.items()}
    wide, bank, keys = (2, 2, 16), (2, 2, 16), (2, 2, 8)
    sums = {"medium_sum": (2, 1, 16), "medium_weight": (2, 1, 1)}
    assert shapes == {"shift": wide, "wkv": wide, **sums, "medium_bank": bank, "medium_key": keys}


def test_transformers_computes_the_same(tmp_path):
    transformers = pytest.importorskip("transformers")
    weights = random_weights(RWKV4)
    folder = write_huggingface(tmp_path, RWKV4, weights)
    theirs = transformers.RwkvForCausalLM.from_pretrained(folder, rescale_every=0, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = theirs(torch.tensor([IDS]), use_cache=True).logits[0].double()
    logits, _ = forward(RWKV4, weights, IDS)
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()
