"""Models as they are trained, against the float64 reference: logits, states, gradients."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import torch
from checkpoint_files import ADAPTIVE, RRWKV, RWKV4, RWKV6, RWKV7, random_weights, write_rrwkv

from rrwkv_export.architectures import reference
from rrwkv_export.architectures.mediums import MEDIUM_BANK, MediumConfig
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import TrainingError
from rrwkv_export.train.beginnings.retrofit import retrofit
from rrwkv_export.train.models import Model
from rrwkv_export.train.models.initial import initial_weights
from rrwkv_export.train.models.rwkv4 import wkv
from rrwkv_export.train.models.rwkv7 import delta
from rrwkv_export.train.objective import information_loss
from rrwkv_export.train.optimizer import adamw
from rrwkv_export.train.settings import Settings

_BESIDE = Path(__file__).parents[3] / "shared" / "checkpoints" / "rwkv7-chat"
CHAT = Path(os.environ.get("RWKV7_CHAT", _BESIDE)) / "rwkv7-chat-13m.pth"
MEAN = MediumConfig(interval=5, squeeze="mean", slots=3, key_size=8)
MODELS = {
    "rwkv4": RWKV4,
    "rrwkv": RRWKV,
    "rrwkv, mean": dataclasses.replace(RRWKV, medium=MEAN),
    "rwkv4 of another width": dataclasses.replace(RWKV4, attention_size=24),
    "rwkv7": RWKV7,
    "rwkv7 with mediums": dataclasses.replace(RWKV7, medium=RRWKV.medium),
    "rwkv7 with mediums, mean": dataclasses.replace(RWKV7, medium=MEAN),
    "rrwkv, adaptive": dataclasses.replace(RRWKV, medium=ADAPTIVE),
    "rwkv7 with mediums, adaptive": dataclasses.replace(RWKV7, medium=ADAPTIVE),
}
ROWS = torch.randint(0, 40, (3, 37), generator=torch.Generator().manual_seed(5))


def made(config, seed=0):
    weights = {name: value.double() for name, value in random_weights(config, seed).items()}
    return Model(config, weights), weights


def expected(config, weights, rows):
    return torch.stack([reference.of(config).forward(config, weights, row.tolist())[0] for row in rows])


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_the_references(name):
    config = MODELS[name]
    model, weights = made(config)
    assert list(model.state_dict()) == sorted(config.shapes(), key=list(model.state_dict()).index)
    assert {name: tuple(x.shape) for name, x in model.weights().items()} == config.shapes()
    with torch.no_grad():
        logits, _ = model(ROWS)
    torch.testing.assert_close(logits, expected(config, weights, ROWS), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_a_carried_state_goes_on_as_if_nothing_had_been_cut(name):
    model, _ = made(MODELS[name], seed=1)
    with torch.no_grad():
        whole, after = model(ROWS)
        pieces, state = [], None
        for piece in ROWS.split((1, 13, 2, 21), dim=1):
            logits, state = model(piece, state)
            pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-10, atol=1e-10)
    assert state.position == after.position == 37
    for one, other in zip(state.layers, after.layers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert (MEDIUM_BANK in after.layers[0]) == (MODELS[name].medium is not None)


def naive_wkv(k, v, u, d, A, B):
    found = []
    for t in range(k.shape[1]):
        now = torch.exp(u + k[:, t])
        found.append((A + now * v[:, t]) / (B + now))
        A, B = torch.exp(-d) * A + torch.exp(k[:, t]) * v[:, t], torch.exp(-d) * B + torch.exp(k[:, t])
    return torch.stack(found, 1)


def naive_delta(r, k, v, κ, b, ln_w, S):
    found = []
    for t in range(k.shape[1]):
        s = S @ κ[:, t, :, :, None]
        S = S * ln_w[:, t].exp()[:, :, None] - s * b[:, t, :, None] + v[:, t, :, :, None] * k[:, t, :, None]
        found.append((S @ r[:, t, :, :, None])[..., 0])
    return torch.stack(found, 1), S


def normals(count, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(count)]


@pytest.mark.parametrize("T", [1, 2, 7, 16, 37])
def test_gradients_of_wkv_are_those_of_the_recurrence(T):
    (k, v), (u, d, A, lnB) = normals(2, 2, T, 3), normals(4, 3)
    before = [A.expand(2, 3), lnB.exp().expand(2, 3)]
    slow = naive_wkv(k, v, u, d.exp(), *before)
    fast, _ = wkv(k, v, u, d.exp(), (lnB.expand(2, 3), (A / lnB.exp()).expand(2, 3)))
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    for one, other in zip(
        *(torch.autograd.grad(x.square().sum(), (k, v, u, d, A, lnB), materialize_grads=True) for x in (fast, slow))
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("T", [1, 31, 32, 70])
def test_gradients_of_the_delta_rule_are_those_of_the_recurrence(T):
    r, k, v, κ, a, w = normals(6, 2, T, 3, 4)
    (S,) = normals(1, 2, 3, 4, 4, seed=1)
    unit, ln_w = κ / κ.norm(dim=-1, keepdim=True), -0.6065 * w.sigmoid()
    given = (r, k, v, unit, unit * a.sigmoid(), ln_w, S)
    (slow, last), (fast, end) = naive_delta(*given), delta(*given)
    torch.testing.assert_close((fast, end), (slow, last), rtol=1e-10, atol=1e-10)
    losses = [y.square().sum() + state.square().sum() for y, state in ((fast, end), (slow, last))]
    for one, other in zip(*(torch.autograd.grad(x, (r, k, v, κ, a, w, S), retain_graph=True) for x in losses)):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["rrwkv", "rwkv7 with mediums"])
def test_gradients_of_a_model_are_its_differences(name):
    model, _ = made(MODELS[name], seed=2)
    generator, step = torch.Generator().manual_seed(0), 1e-5
    parameters = list(model.parameters())

    def loss():
        return torch.nn.functional.cross_entropy(model(ROWS[:, :-1])[0].flatten(0, 1), ROWS[:, 1:].flatten())

    def moved(by):
        with torch.no_grad():
            for value, towards in zip(parameters, way, strict=True):
                value += by * towards
            return loss()

    gradients = torch.autograd.grad(loss(), parameters)
    for _ in range(4):
        way = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in parameters]
        difference = float(moved(step) - moved(-2 * step)) / (2 * step)
        moved(step)
        along = sum(float((gradient * towards).sum()) for gradient, towards in zip(gradients, way, strict=True))
        assert along == pytest.approx(difference, rel=1e-5)


def test_the_gradient_of_information_is_its_difference_where_no_segment_ends_elsewhere():
    """But for the rounding of ι, which is a 65536th."""
    model, _ = made(MODELS["rrwkv, adaptive"], seed=3)
    bias = model.get_parameter("medium.information_bias")

    def loss(by):
        with torch.no_grad():
            bias.add_(by)
            _, state = model(ROWS)
            counted = state.told.counted // 2**16
        value = torch.nn.functional.cross_entropy(model(ROWS[:, :-1])[0].flatten(0, 1), ROWS[:, 1:].flatten())
        return value, counted

    (gradient,) = torch.autograd.grad(loss(0)[0], bias)
    (upper, ended), (lower, as_many) = loss(4e-4), loss(-8e-4)
    assert torch.equal(ended, as_many)
    assert float(gradient) == pytest.approx(float((upper - lower).detach()) / 8e-4, rel=0.1)


def test_a_token_that_told_more_than_its_share_is_drawn_to_tell_more():
    model, _ = made(MODELS["rrwkv, adaptive"])
    _, state = model(ROWS)
    bias = model.get_parameter("medium.information_bias")
    for told, sign in ((100.0, -1), (0.0, 1)):
        loss = information_loss(model.config.medium.adaptive, 20.0, torch.full(ROWS.shape, told), state)
        (gradient,) = torch.autograd.grad(loss, bias, retain_graph=True)
        assert float(gradient) * sign > 0
    exact = state.told.information.detach()
    losses = 20.0 * torch.cat([exact[:, 1:], exact[:, :1]], dim=1)  # what token t + 1 told
    assert information_loss(model.config.medium.adaptive, 20.0, losses, state) < 1e-12


@torch.no_grad()
def test_float32_stays_right_where_a_text_repeats_itself_and_keys_are_large():
    """Powers of the triangular matrix, and exponentials of keys, would not."""
    T, N = 512, 8
    (r, k, v), (κ,) = normals(3, 1, T, 1, N), normals(1, N)
    same = (κ / κ.norm()).expand(1, T, 1, N)
    given = (r, k, v, same, 0.999 * same, torch.full_like(r, -1e-4), torch.zeros(1, 1, N, N, dtype=torch.float64))
    slow, fast = naive_delta(*given)[0], delta(*(x.float() for x in given))[0]
    assert float((fast - slow).abs().max() / slow.abs().max()) < 2e-6
    (k, v), (u, d) = normals(2, 1, T, 4, seed=3), normals(2, 4)
    exact = wkv(60 * k, v, u, d.exp(), (torch.full((1, 4), -1e30), torch.zeros(1, 4)))[0]
    given = [x.float() for x in (60 * k, v, u, d.exp())]
    rounded = wkv(*given, (torch.full((1, 4), -1e30), torch.zeros(1, 4)))[0]
    assert float((rounded - exact).abs().max()) < 1e-4 * float(v.abs().max())


@pytest.mark.parametrize("name", MODELS)
def test_a_model_begins_as_its_recipe_says_and_the_same_for_the_same_seed(name):
    config = MODELS[name]
    weights, again, other = (initial_weights(config, seed) for seed in (1, 1, 2))
    assert {name: tuple(x.shape) for name, x in weights.items()} == config.shapes()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not torch.equal(weights["head.weight"], other["head.weight"])
    assert all(not weights[name].any() for name in weights if "medium_mix" in name or name.endswith("output.weight"))
    plain = dataclasses.replace(config, medium=None)
    with torch.no_grad():
        logits, _ = Model(config, weights)(ROWS)
        without, _ = Model(plain, {name: weights[name] for name in plain.shapes()})(ROWS)
    assert torch.equal(logits, without)
    assert torch.isfinite(logits).all()


def test_mixed_precision_is_near():
    model, weights = made(MODELS["rwkv7 with mediums"])
    model = model.float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits, state = model(ROWS)
    exact = expected(model.config, weights, ROWS)
    assert 1e-5 < float((logits - exact).abs().max() / exact.abs().max()) < 0.05
    assert {x.dtype for x in state.layers[0].values()} == {torch.float32}


@pytest.mark.parametrize("name", ["rrwkv", "rwkv7 with mediums", "rrwkv, adaptive"])
def test_nothing_is_made_on_another_device_than_the_models(name):
    """On this one nothing is computed, but mixing it with another is an error, as on a GPU."""
    model = made(MODELS[name])[0].to("meta")
    _, state = model(ROWS.to("meta"))
    logits, _ = model(ROWS.to("meta"), state)
    logits.sum().backward()
    assert {value.grad.device.type for value in model.parameters()} == {"meta"}


@pytest.mark.skipif(not CHAT.is_file(), reason="rwkv7-chat-13m.pth is not there; RWKV7_CHAT names its folder")
def test_a_trained_model_with_mediums_begins_with_the_logits_that_it_had(rwkv7_golden):
    made = retrofit(open_checkpoint(CHAT), MediumConfig(interval=32, slots=16), Settings(("-",), steps=1, length=64))
    assert (made.config.medium.slots, made.vocabulary.size, made.vocabulary.chat.bos_token_id) == (16, 4096, 0)
    with torch.no_grad():
        logits, _ = Model(made.config, made.weights)(torch.from_numpy(rwkv7_golden.ids)[None])
    assert rwkv7_golden.error(logits[0].numpy()) < 1e-5


def test_a_retrofit_is_compared_over_all_of_its_segments(tmp_path, monkeypatch):
    base = open_checkpoint(write_rrwkv(tmp_path / "base", RWKV7, random_weights(RWKV7)))
    medium, settings = MediumConfig(interval=4, slots=2, key_size=8), Settings(("-",), steps=1, length=64)
    monkeypatch.setattr("rrwkv_export.train.beginnings.retrofit._PIECE", 3)
    assert retrofit(base, medium, settings).config.medium == medium
    mixed = {name: x for name, x in random_weights(MODELS["rwkv7 with mediums"]).items() if name not in base.weights}
    monkeypatch.setattr("rrwkv_export.train.beginnings.retrofit.initial_mediums", lambda *_: mixed)
    with pytest.raises(TrainingError, match="does not compute what the one without does"):
        retrofit(base, medium, settings)
    with pytest.raises(TrainingError, match="--length 64: no token of such a row could read a medium"):
        retrofit(base, MediumConfig(interval=1 << 20, slots=2, key_size=8), settings)


def test_matrices_called_weight_decay_as_torchs_recurrences_call_theirs():
    """As in BlinkDL/RWKV-LM: no low-rank ones, and nothing of one row."""
    torchs = torch.nn.Sequential(torch.nn.LSTM(4, 8), torch.nn.LayerNorm(8))
    ours, _ = made(RWKV7)
    for model, decaying, others in (
        (ours, {"emb.weight", "blocks.0.att.key.weight"}, {"blocks.0.att.w1", "ln_out.weight"}),
        (torchs, {"0.weight_ih_l0", "0.weight_hh_l0"}, {"0.bias_ih_l0", "1.weight"}),
    ):
        groups = adamw(model, Settings(("-",), steps=1)).param_groups
        decays = {id(value): group["weight_decay"] > 0 for group in groups for value in group["params"]}
        named = dict(model.named_parameters())
        assert all(decays[id(named[name])] for name in decaying)
        assert not any(decays[id(named[name])] for name in others)


def test_what_is_not_trained_is_refused_by_name():
    with pytest.raises(TrainingError, match="rwkv6: training knows rwkv4, rrwkv, rwkv7"):
        Model(RWKV6, random_weights(RWKV6))
    with pytest.raises(TrainingError, match="rwkv6"):
        initial_weights(RWKV6, 0)
