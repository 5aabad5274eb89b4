"""The form of wkv is right for every token, and what float32 cannot hold is told from what a graph gets wrong."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from checkpoint_files import ASSET, RRWKV, RWKV4, random_weights, write_rrwkv
from hypothesis import given, settings
from hypothesis import strategies as st
from test_verification_ids import tokenizer_of

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.reference import rwkv4 as model
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import ParityError
from rrwkv_export.export import export, verify_against
from rrwkv_export.verify import (
    Float32Cost,
    KeyBound,
    compute_reference,
    draw_sample,
    key_bound,
    logits_error,
    verify,
)
from rrwkv_export.verify.parity import Tolerance, default_tolerance
from rrwkv_runtime.model import Model
from rrwkv_runtime.providers import PROVIDERS

MEAN = dataclasses.replace(RRWKV, medium=MediumConfig(interval=3, squeeze="mean", reduction=4, slots=1, key_size=5))
WORDS = dataclasses.replace(RWKV4, vocab_size=400)


def larger_keys(weights, factor):
    return {name: value * factor if name.endswith("att.key.weight") else value for name, value in weights.items()}


def largest_seen(config, weights, ids):
    seen = []
    model.forward(config, weights, ids, observe=lambda _, key: seen.append(float(key.abs().max())))
    return max(seen)


@settings(max_examples=20)
@given(st.sampled_from([RWKV4, RRWKV, MEAN]), st.integers(0, 10**6), st.floats(0.1, 30))
def test_no_key_exceeds_the_bound(config, seed, factor):
    weights = larger_keys(random_weights(config, seed), factor)
    ids = np.random.default_rng(seed).integers(0, config.vocab_size, 60).tolist()
    assert largest_seen(config, weights, ids) <= key_bound(config, weights).key


def test_the_bound_is_reached_by_the_tokens_that_point_along_a_key():
    """One layer, no bias: two embeddings that are the rows which a key weighs most come within rounding of it."""
    config = dataclasses.replace(RWKV4, num_layers=1, hidden_size=64, ffn_size=64)
    weights = random_weights(config)
    for norm in ("ln0", "ln1"):
        weights[f"blocks.0.{norm}.weight"].fill_(1)
        weights[f"blocks.0.{norm}.bias"].fill_(0)
    mix = weights["blocks.0.att.time_mix_k"]
    rows = torch.stack([weights["blocks.0.att.key.weight"] * m for m in (1 - mix, mix)])  # [before, now], C, C
    spans = (rows - rows.mean(-1, keepdim=True)).norm(dim=-1).sum(0)
    weights["emb.weight"][:2] = 100 * rows[:, int(spans.argmax())]
    found, bound = largest_seen(config, weights, [0, 1]), key_bound(config, weights).key
    assert 0.999 * bound < found <= bound


def test_the_demo_is_proven_right_in_the_plain_form():
    checkpoint = open_checkpoint(ASSET)
    bound = key_bound(checkpoint.config, checkpoint.weights)
    assert 71 < bound.key < 72
    assert bound.form == "plain"


@pytest.mark.parametrize(
    ("bound", "form", "blocked", "says"),
    [
        (KeyBound(60, 70), "plain", False, None),
        (
            KeyBound(74, 80),
            "plain",
            False,
            r"the plain form of wkv clips keys to ±75, and up to 74 are possible; --wkv stable is right",
        ),
        (
            KeyBound(60, 95),
            "plain",
            False,
            r"the plain form of wkv holds sums up to exp\(89\), and exp\(95\) is possible; --wkv stable",
        ),
        (KeyBound(400, 400), "stable", False, None),
        (KeyBound(280, 290), "stable", True, None),
        (KeyBound(400, 400), "stable", True, r"wkv for CUDA clips keys to ±300, .* 400 .*; --target cpu, or mobile,"),
    ],
)
def test_what_is_not_proven_is_said(bound, form, blocked, says):
    assert re.search(f"^{says}" if says else "^$", bound.doubt(form, blocked))


SPECIAL = (1, 2)
TEXT = list(range(10, 60))


def with_special(folder, scale=100.0):
    """A checkpoint whose special tokens alone, which no text contains, have keys near `scale` in the first layer."""
    weights = random_weights(WORDS)
    marker = torch.nn.functional.normalize(torch.randn(16, generator=torch.Generator().manual_seed(1)), dim=0)
    marker = torch.nn.functional.normalize(marker - marker.mean(), dim=0)
    for norm in ("ln0", "ln1"):
        weights[f"blocks.0.{norm}.weight"], weights[f"blocks.0.{norm}.bias"] = torch.ones(16), torch.zeros(16)
    embedding = weights["emb.weight"]
    embedding -= (embedding @ marker)[:, None] * marker
    for token, share in zip(SPECIAL, (1.0, 0.9)):
        embedding[token] = 5 * (share * marker + (1 - share**2) ** 0.5 * embedding[token] / embedding[token].norm())
    weights["blocks.0.att.key.weight"] += scale / 4 * marker  # a normalized row is 4 long
    path = write_rrwkv(folder, WORDS, weights)
    tokenizer_of(folder, [f"w{i}" for i in range(390)], ["<a>", "<b>"])
    return open_checkpoint(path), weights


def error_with_special(bundle, weights):
    """Of a text that begins with special tokens, which the state remembers."""
    ids = [1, 20, 2, 1, *TEXT]
    exact = model.forward(WORDS, weights, ids)[0].numpy()
    return logits_error(exact, Model.load(bundle, threads=1).forward(ids, num_logits=len(ids))[0])


def test_special_tokens_with_keys_past_the_clip_get_the_form_that_is_right(tmp_path):
    checkpoint, weights = with_special(tmp_path / "in")
    assert largest_seen(WORDS, weights, TEXT) < 40 < 75 < largest_seen(WORDS, weights, [1, 2])
    manifest, parity = export(checkpoint, tmp_path / "out")
    assert (manifest.form, parity.notes) == ("stable", ())
    assert parity.largest_key > 75
    assert error_with_special(tmp_path / "out", weights) < 1e-5


def test_the_plain_form_asked_for_is_compared_on_special_tokens_and_refused(tmp_path):
    checkpoint, weights = with_special(tmp_path / "in")
    with pytest.raises(ParityError, match="parity failed") as caught:
        export(checkpoint, tmp_path / "out", wkv="plain")
    assert "--wkv stable is right for any; the largest key seen was" in caught.value.parity.notes[0]
    assert not (tmp_path / "out").exists()
    export(checkpoint, tmp_path / "out", wkv="plain", rtol=1.0)
    assert error_with_special(tmp_path / "out", weights) > 0.02
    assert verify_against(tmp_path / "out", checkpoint, rtol=1.0).notes


# --- what float32 arithmetic costs -----------------------------------------------------------------------------------

WIDE = dataclasses.replace(RWKV4, vocab_size=300, hidden_size=64, num_layers=4, ffn_size=256)


def test_where_float32_cannot_hold_1e_5_the_export_says_so_and_succeeds(tmp_path):
    weights = larger_keys(random_weights(WIDE, 1), 60)
    manifest, parity = export(open_checkpoint(write_rrwkv(tmp_path / "in", WIDE, weights)), tmp_path / "out")
    assert parity.largest_key > 200
    assert parity.error > 1e-5  # no fault of the graph's
    assert 1e-5 < parity.rtol < 1e-3
    assert "on this checkpoint float32 arithmetic costs" in parity.tolerance
    assert manifest.parity["float32"] == vars(parity.float32)
    assert {check.rtol for check in parity.checks} == {8 * cost for cost in manifest.parity["float32"].values()}


@pytest.mark.parametrize(
    ("name", "change"),
    {
        "a weight": ("blocks.2.ffn.value.weight", lambda w: w.view(-1)[5].add_(0.1)),
        "one decay": ("blocks.1.att.time_decay", lambda w: w[3].add_(0.05)),
        "all decays by a hundredth": ("blocks.3.att.time_decay", lambda w: w.add_(0.01)),
        "a mix": ("blocks.3.att.time_mix_r", lambda w: w[9].add_(0.05)),
        "all bonuses by a tenth": ("blocks.0.att.time_first", lambda w: w.add_(0.1)),
        "a gain": ("ln_out.weight", lambda w: w[3].add_(0.01)),
    }.values(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_graph_fails_also_where_float32_costs_much(make_tiny, name, change):
    weights = larger_keys(random_weights(WIDE, 1), 60)
    right = compute_reference(WIDE, weights, draw_sample(WIDE, None))
    wrong = {**weights, name: weights[name].clone()}
    change(wrong[name])
    parity = verify(make_tiny(WIDE, wkv="stable", weights=wrong).path, right)
    assert parity.rtol > 1e-5
    assert not parity.passed


def test_where_float32_is_worth_little_it_does_not_excuse_everything(make_tiny):
    manifest = make_tiny(RWKV4).model.manifest
    tolerance = default_tolerance(manifest, PROVIDERS["cpu"], Float32Cost(0.3, 1e-4))
    assert (tolerance.logits, tolerance.states) == (1e-2, 8e-4)
    assert default_tolerance(manifest, PROVIDERS["cpu"], Float32Cost(1e-7, 1e-6)) == Tolerance(1e-5, 1e-5)
