"""Verification passes what is right and names what is wrong."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from checkpoint_files import RRWKV, RWKV4, random_weights, write_blinkdl, write_config, write_huggingface, write_rrwkv
from hypothesis import given
from hypothesis import strategies as st

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import CheckpointError, ParityError
from rrwkv_export.export import export, verify_against
from rrwkv_export.verify import (
    Check,
    Parity,
    Sample,
    chunk_lengths,
    compute_reference,
    draw_sample,
    logits_error,
    states_error,
    verification_length,
    verify,
)
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.model import Model

IDS = list(draw_sample(RRWKV, None, tokens=30).ids)


def checkpoint_of(folder, config=RRWKV, weights=None):
    return open_checkpoint(write_rrwkv(folder, config, weights or random_weights(config)))


def scaled(weights, ending, factor):
    return {name: value * factor if name.endswith(ending) else value for name, value in weights.items()}


def parity_of(*checks):
    return Parity(Sample((1, 2, 3, 4)), 1, 8.0, 3.0, "cpu", checks, "the float64 reference")


def test_a_fine_bundle_passes_every_check(tmp_path):
    manifest, parity = export(checkpoint_of(tmp_path / "in"), tmp_path / "out")
    short, long = chunk_lengths(RRWKV.to_json())
    levels = [f"optimization level {level}" for level in ("disabled", "basic", "extended", "layout")]
    assert [check.name for check in parity.checks] == [
        "all tokens at once",
        "token by token",
        f"in chunks of {short}",
        f"in chunks of {long}",
        "state saved and restored",
        "states after the last token",
        *levels,
    ]
    assert parity.passed
    assert manifest.parity == parity.to_json() == Manifest.load(tmp_path / "out").parity


@given(st.integers(1, 5000))
def test_two_chunk_lengths_share_no_factor_with_the_interval(interval):
    short, long = chunk_lengths({"medium": {"interval": interval}})
    assert short < long
    assert long > interval
    assert math.gcd(short, interval) == math.gcd(long, interval) == 1


def test_chunk_lengths_without_mediums():
    assert chunk_lengths(RWKV4.to_json()) == [5, 7]


@given(st.integers(1, 300), st.integers(1, 64), st.integers(1, 512))
def test_the_verification_is_long_enough_for_a_full_bank_or_bounded(interval, slots, hidden):
    config = RWKV4Config(100, hidden, 2, hidden, medium=MediumConfig(interval, slots=slots))
    length = verification_length(config)
    assert length >= 2 * interval + 5
    assert length > interval * slots or length == max(1024, 2 * interval + 5) or length * config.parameters() <= 2e10


@pytest.mark.parametrize(
    "name", ["emb.weight", "blocks.1.att.key.weight", "blocks.0.ffn.time_mix_r", "blocks.1.medium.up.weight"]
)
def test_one_altered_weight_is_found(tmp_path, name):
    weights = random_weights(RRWKV)
    export(checkpoint_of(tmp_path / "a", weights=weights), tmp_path / "out")
    weights[name].view(-1)[3] += 0.1
    parity = verify_against(tmp_path / "out", checkpoint_of(tmp_path / "b", weights=weights))
    assert not parity.passed
    worst = max(parity.checks, key=lambda check: check.error).name
    with pytest.raises(ParityError, match=f"parity failed: '{worst}' is off by .* more than --rtol 1e-05"):
        parity.require()


def test_verifying_again_leaves_the_bundle_as_it_was(small_checkpoint, bundle):
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    assert verify_against(bundle, open_checkpoint(small_checkpoint)).passed
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_checkpoint_of_another_config_is_refused(tmp_path, small_bundle):
    with pytest.raises(CheckpointError, match=r"its config is not the one that .* was exported from"):
        verify_against(small_bundle, checkpoint_of(tmp_path / "in"))


def test_an_impossible_tolerance_leaves_no_directory(tmp_path):
    with pytest.raises(ParityError, match=r"parity failed: .* more than --rtol 1e-12"):
        export(checkpoint_of(tmp_path / "in"), tmp_path / "out", rtol=1e-12)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(("factor", "form"), [(1, "plain"), (60, "stable")])
def test_auto_takes_the_form_that_the_keys_need(tmp_path, factor, form):
    checkpoint = checkpoint_of(tmp_path / "in", weights=scaled(random_weights(RRWKV), "att.key.weight", factor))
    reference = compute_reference(RRWKV, checkpoint.weights, IDS)
    assert (reference.largest_key > 75) == (form == "stable")
    manifest, _ = export(checkpoint, tmp_path / "out")
    assert manifest.form == form


def test_a_large_bonus_needs_the_stable_form_too(tmp_path):
    weights = random_weights(RWKV4)
    weights["blocks.1.att.time_first"][3] = 85
    manifest, _ = export(checkpoint_of(tmp_path / "in", RWKV4, weights), tmp_path / "out")
    assert manifest.form == "stable"


def test_the_plain_form_is_refused_where_it_is_wrong(tmp_path):
    weights = scaled(random_weights(RRWKV), "att.key.weight", 80)
    with pytest.raises(ParityError, match="parity failed"):
        export(checkpoint_of(tmp_path / "in", weights=weights), tmp_path / "out", wkv="plain")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_finite_logits_is_refused(tmp_path):
    weights = scaled(random_weights(RRWKV), "att.key.weight", 1e6)
    with pytest.raises(ParityError, match=r"has keys of .*e.06, and exp of them is no number; its weights"):
        export(checkpoint_of(tmp_path / "in", weights=weights), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "write",
    {
        "rrwkv": lambda folder, weights: write_rrwkv(folder, RWKV4, weights),
        "blinkdl": lambda folder, weights: write_blinkdl(folder / "model.pth", RWKV4, weights),
        "huggingface": lambda folder, weights: write_huggingface(folder, RWKV4, weights),
        "huggingface bin": lambda folder, weights: write_huggingface(folder, RWKV4, weights, "bin"),
    }.values(),
    ids=lambda write: "",
)
def test_every_format_is_exported_and_runs(tmp_path, write, dtype):
    checkpoint = open_checkpoint(write(tmp_path / "in", random_weights(RWKV4)))
    manifest, parity = export(checkpoint, tmp_path / "out", dtype=dtype, rtol=5e-3)
    assert manifest.tokenizer is None
    assert manifest.main.dtype == dtype
    assert Model.load(tmp_path / "out").forward([1, 2])[0].shape == (1, 40)
    assert parity.error < (1e-5 if dtype == "float32" else 5e-3)


def test_mediums_in_a_pth_are_exported_with_the_config_beside_it(tmp_path):
    path = write_blinkdl(tmp_path / "in" / "model.pth", RRWKV, random_weights(RRWKV))
    write_config(path.parent, RRWKV)
    manifest, parity = export(open_checkpoint(path), tmp_path / "out")
    assert manifest.config == RRWKV.to_json()
    assert parity.passed


@pytest.mark.parametrize("damage", [np.nan, np.inf, None], ids=["nan", "infinity", "shape"])
def test_what_is_not_finite_or_misshapen_is_infinitely_wrong(damage):
    reference = compute_reference(RRWKV, random_weights(RRWKV), IDS)
    logits = reference.logits.astype(np.float32)
    assert logits_error(reference.logits, logits) < 1e-6
    if damage:
        logits[4, 2] = damage
    assert logits_error(reference.logits, logits if damage else logits[1:]) == math.inf


@pytest.mark.parametrize("name", ["shift", "wkv", "medium_sum", "medium_weight", "medium_bank", "medium_key"])
def test_an_error_in_any_state_of_any_layer_is_found(make_tiny, name):
    tiny = make_tiny(RRWKV)
    reference = compute_reference(RRWKV, tiny.weights, IDS)
    _, state = tiny.model.forward(IDS)
    assert states_error(reference.state, state.values) < 1e-5
    state.values[name][1, 0] *= 1.01
    assert states_error(reference.state, state.values) > 1e-4


def test_a_wrong_position_is_infinitely_wrong(make_tiny):
    tiny = make_tiny(RRWKV)
    reference = compute_reference(RRWKV, tiny.weights, IDS)
    assert states_error(reference.state, tiny.model.forward(IDS[1:])[1].values) == math.inf


def test_errors_are_relative_to_the_largest_logit():
    assert logits_error(np.array([[1.0, -8.0], [2.0, 4.0]]), np.array([[1.0, -8.0], [2.5, 4.0]])) == 0.5 / 8


@pytest.mark.parametrize("row", [0, 9])
def test_of_many_logits_every_row_counts(row):
    expected = np.ones((10, 2**17))
    found, unknown = expected.astype(np.float32), expected.copy()
    found[row, -1], unknown[row, -1] = 1.5, np.nan
    assert logits_error(expected, found) == 0.5
    assert logits_error(expected, expected) == 0
    assert logits_error(expected, unknown) == math.inf
    assert math.isnan(logits_error(unknown, expected))


def test_one_bad_check_among_good_ones_fails():
    errors = {"all tokens at once": (1e-7, 1e-5), "token by token": (3e-5, 1e-5), "states": (4e-5, 1e-4)}
    with pytest.raises(ParityError, match=r"'token by token' is off by 3.00e-05, more than --rtol 1e-05"):
        parity_of(*(Check(name, *error) for name, error in errors.items())).require()


def test_parity_is_json_even_when_the_error_is_infinite():
    parity = parity_of(Check("token by token", math.inf, 1e-5))
    assert not parity.passed
    assert parity.to_json()["error"] is None
    assert "Infinity" not in json.dumps(parity.to_json())
    with pytest.raises(ParityError, match="'token by token' is off by inf"):
        parity.require()


def test_progress_is_told_of_every_check(make_tiny):
    tiny, told = make_tiny(RWKV4), []
    reference = compute_reference(RWKV4, tiny.weights, IDS)
    parity = verify(tiny.path, reference, progress=lambda *done: told.append(done))
    assert told[-1] == ("verifying", len(parity.checks), len(parity.checks))


def test_a_medium_of_a_long_interval_is_still_compared():
    config = dataclasses.replace(RRWKV, medium=MediumConfig(interval=2000))
    assert verification_length(config) > 2 * config.medium.interval


def test_logits_that_are_all_zero_are_compared_too():
    weights = {**random_weights(RWKV4), "head.weight": torch.zeros(RWKV4.vocab_size, RWKV4.hidden_size)}
    reference = compute_reference(RWKV4, weights, IDS)
    assert logits_error(reference.logits, np.zeros_like(reference.logits)) == 0
    assert logits_error(reference.logits, reference.logits + 1e-9) == math.inf
