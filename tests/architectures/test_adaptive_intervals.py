"""Segments that end where enough was told: their definition, and that a constant information is a fixed interval."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from checkpoint_files import RRWKV, RWKV7, random_weights
from hypothesis import given
from hypothesis import strategies as st

from rrwkv_export.architectures import reference
from rrwkv_export.architectures.mediums import INFORMATION, UNIT, AdaptiveInterval, MediumConfig
from rrwkv_export.architectures.reference.mediums import segments

PLAIN = {"rrwkv": RRWKV, "rwkv7": dataclasses.replace(RWKV7, medium=RRWKV.medium)}
ids = st.lists(st.integers(0, 39), min_size=1, max_size=40)


def adaptive(shortest, longest, plain=RRWKV):
    interval = AdaptiveInterval(shortest, longest)
    return dataclasses.replace(plain, medium=MediumConfig(interval, slots=2, key_size=8))


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("interval", [1, 4, 8])
def test_a_constant_information_is_a_fixed_interval_to_the_bit(name, interval):
    config = adaptive(interval, interval, PLAIN[name])
    fixed = dataclasses.replace(config, medium=dataclasses.replace(config.medium, interval=interval))
    weights, tokens = random_weights(config), list(range(30))
    expected, before = reference.of(fixed).forward(fixed, weights, tokens)
    logits, state = reference.of(config).forward(config, weights, tokens)
    assert torch.equal(logits, expected)
    assert torch.equal(state.medium_bank, before.medium_bank)
    assert state.medium_information == 30 * UNIT // interval


@given(ids, st.integers(1, 6), st.integers(0, 30), st.integers(0, 2))
def test_every_token_is_shared_out_whole_between_neighbours(tokens, shortest, more, seed):
    config = adaptive(shortest, shortest + more)
    state = reference.of(config).State.initial(config)
    found = segments(config, random_weights(config, seed), tokens, state)
    n = (found.member.sum(dim=0) * UNIT).long()
    assert int(n.sum()) == found.information
    assert (n >= round(UNIT / (shortest + more))).all()
    assert (n <= round(UNIT / shortest)).all()
    assert ((found.member > 0).sum(dim=0) <= 2).all()
    torch.testing.assert_close(found.member.sum(dim=1)[:-1], torch.full((found.ended,), float(UNIT)) / UNIT)
    assert all(int((found.begun == j).sum()) <= config.medium.longest for j in range(found.ended + 1))


@given(ids, st.integers(1, 39), st.integers(0, 2))
def test_where_a_text_is_cut_changes_no_segment(tokens, cut, seed):
    config, weights = adaptive(2, 9), random_weights(adaptive(2, 9), seed)
    model, cut = reference.of(config), min(cut, len(tokens))
    _, whole = model.forward(config, weights, tokens)
    _, state = model.forward(config, weights, tokens[:cut])
    for token in tokens[cut:]:
        model.step(config, weights, token, state)
    assert (state.medium_information, state.medium_token) == (whole.medium_information, tokens[-1])
    torch.testing.assert_close(state.medium_bank, whole.medium_bank, rtol=1e-12, atol=1e-12)


def test_what_tells_more_ends_segments_sooner():
    config = adaptive(2, 32)
    weights = random_weights(config)
    weights[INFORMATION] = torch.zeros(2, 16)

    def ended(bias):
        weights["medium.information_bias"] = torch.tensor(bias)
        state = reference.of(config).State.initial(config)
        return segments(config, weights, [7] * 40, state).ended

    assert [ended(-30.0), ended(0.0), ended(30.0)] == [1, 10, 20]
