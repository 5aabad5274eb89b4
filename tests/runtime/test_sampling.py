import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rrwkv_runtime.errors import InputError
from rrwkv_runtime.sampling import Sampler, Sampling, distribution, largest, log_probability, penalise

logits = arrays(np.float32, st.integers(1, 300), elements=st.floats(-30, 30, width=32))
temperatures = st.floats(0.05, 5)


def softmax(values, temperature=1.0):
    scaled = values.astype(np.float64) / temperature
    e = np.exp(scaled - scaled.max())
    return e / e.sum()


@given(logits, st.integers(1, 400))
def test_largest_is_the_head_of_a_stable_sort(values, n):
    assert largest(values, n).tolist() == np.argsort(-values, kind="stable")[:n].tolist()


@given(logits, temperatures)
def test_temperature_divides_logits(values, temperature):
    ids, p = distribution(values, Sampling(temperature))
    np.testing.assert_allclose(p, softmax(values, temperature)[ids], atol=1e-12)


@given(logits, temperatures, st.integers(1, 400))
def test_top_k_keeps_the_k_likeliest(values, temperature, k):
    ids, p = distribution(values, Sampling(temperature, top_k=k))
    assert len(ids) == min(k, values.size)
    assert values[ids].min() >= np.delete(values, ids).max(initial=-math.inf)
    np.testing.assert_allclose(p, softmax(values[ids], temperature), atol=1e-12)


@given(logits, temperatures, st.floats(0.01, 0.999))
def test_top_p_keeps_the_smallest_set_that_reaches_p(values, temperature, top_p):
    ids, _ = distribution(values, Sampling(temperature, top_p=top_p))
    p = softmax(values, temperature)
    assert p[ids].sum() >= top_p - 1e-9
    assert p[ids].sum() - p[ids].min() < top_p + 1e-9
    assert p[ids].min() >= np.delete(p, ids).max(initial=0)


@given(logits, temperatures, st.floats(0.001, 1))
def test_min_p_is_relative_to_the_likeliest(values, temperature, min_p):
    ids, _ = distribution(values, Sampling(temperature, min_p=min_p))
    p = softmax(values, temperature)
    assert p[ids].min() >= min_p * p.max() - 1e-9
    assert np.delete(p, ids).max(initial=0) < min_p * p.max() + 1e-9


def test_draws_follow_the_distribution():
    values = np.array([2, 1, 0, -1, -9], np.float32)
    sampler = Sampler(Sampling(0.7), seed=1)
    counts = np.bincount([sampler.sample(values) for _ in range(20_000)], minlength=5)
    expected = softmax(values, 0.7) * 20_000
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 18.5  # 4 degrees of freedom, p = 0.001


@pytest.mark.parametrize("options", [{}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"repetition_penalty": 1.3}])
def test_the_same_seed_gives_the_same_tokens(options):
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)

    def draw(seed):
        sampler, drawn = Sampler(Sampling(**options), seed), []
        for _ in range(50):
            drawn.append(sampler.sample(values))
            sampler.accept(drawn[-1])
        return drawn

    assert draw(7) == draw(7) != draw(8)


def test_greedy_takes_the_first_of_the_likeliest():
    assert Sampler(Sampling(0)).sample(np.array([1, 3, 3, 2], np.float32)) == 1


@given(logits, st.sampled_from([0.001, 1, 100]), st.integers(0, 2**32))
def test_top_p_of_0_takes_the_first_of_the_likeliest(values, temperature, seed):
    shares = np.exp((values.astype(np.float64) - values.max()) / temperature)  # some are alike of logits that are not
    assert Sampler(Sampling(temperature, top_p=0), seed).sample(values) == shares.argmax()


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits():
    out = penalise(np.array([2, -2], np.float32), np.array([1, 1], np.float32), Sampling(repetition_penalty=2))
    assert out.tolist() == [1, -4]


def test_presence_counts_once_and_frequency_every_time():
    times, option = np.array([1, 3], np.float32), Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    assert penalise(np.zeros(2, np.float32), times, option).tolist() == [-0.75, -1.25]


def test_penalties_apply_to_accepted_tokens_only_and_forget():
    sampler = Sampler(Sampling(0, presence_penalty=2, penalty_window=2))
    values = np.array([1, 0.5, 0], np.float32)
    drawn = []
    for _ in range(6):
        drawn.append(sampler.sample(values))
        sampler.accept(drawn[-1])
    assert drawn == [0, 1, 2, 0, 1, 2]


@given(st.lists(st.integers(0, 5)), st.integers(0, 8))
def test_history_is_bounded(tokens, window):
    sampler = Sampler(Sampling(penalty_window=window, presence_penalty=1))
    for token in tokens:
        sampler.accept(token)
    assert sorted(sampler._counts.elements()) == sorted(tokens[len(tokens) - min(window, len(tokens)) :])


@given(st.lists(st.integers(0, 3), max_size=30), st.sampled_from([0, 0.5, 0.996]), st.integers(1, 40))
def test_what_was_seen_long_ago_counts_less(tokens, decay, window):
    """As in BlinkDL's pipelines: every count is multiplied by the decay, then the new token's becomes one more."""
    sampler, counts = Sampler(Sampling(frequency_penalty=1, penalty_decay=decay, penalty_window=window)), np.zeros(4)
    for n, token in enumerate(tokens):
        sampler.accept(token)
        counts *= decay
        counts[token] += 1
        if n >= window:
            counts[tokens[n - window]] -= decay**window
    np.testing.assert_allclose(sampler._adjusted(np.zeros(4, np.float32)), -counts, atol=1e-5)
    assert len(sampler._decayed) <= window


@pytest.mark.parametrize("bias", [-math.inf, -100])
def test_bias_excludes(bias):
    sampler = Sampler(Sampling(logit_bias={0: bias}), seed=0)
    assert {sampler.sample(np.array([9, 0, 0], np.float32)) for _ in range(100)} == {1, 2}


def test_bias_selects():
    sampler = Sampler(Sampling(logit_bias={2: 100}), seed=0)
    assert {sampler.sample(np.array([9, 0, 0], np.float32)) for _ in range(100)} == {2}


@given(logits, st.integers(0, 2**32))
def test_excluded_tokens_are_never_drawn(values, seed):
    values[::2] = -np.inf
    values[0] = 0
    assert np.isfinite(values[Sampler(Sampling(top_k=4), seed).sample(values)])


@pytest.mark.parametrize("options", [{"logit_bias": {1: 5}}, {"presence_penalty": 1}, {"top_k": 2, "top_p": 0.5}])
def test_logits_are_left_as_they_are(options):
    values = np.arange(4, dtype=np.float32)
    values.setflags(write=False)
    sampler = Sampler(Sampling(**options), 0)
    sampler.accept(1)
    sampler.sample(values)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_broken_logits_are_an_error(wrong, temperature):
    with pytest.raises(InputError, match="NaN or infinity"):
        Sampler(Sampling(temperature)).sample(np.array([0, wrong, 1], np.float32))


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-53])
def test_draws_at_the_edges_take_no_excluded_token(draw):
    sampler = Sampler(Sampling(logit_bias={0: -math.inf, 3: -math.inf}))
    sampler._random = SimpleNamespace(random=lambda: draw)
    assert sampler.sample(np.zeros(4, np.float32)) == (1 if draw == 0 else 2)


def test_nothing_left_is_an_error():
    with pytest.raises(InputError, match="every token is excluded"):
        Sampler(Sampling(logit_bias={0: -math.inf})).sample(np.zeros(1, np.float32))
    with pytest.raises(InputError, match="token 7 is not below the vocabulary of 1"):
        Sampler(Sampling(logit_bias={7: 1})).sample(np.zeros(1, np.float32))


def test_log_probability_is_the_log_of_softmax():
    values = np.array([1, 2, -50], np.float32)
    assert [log_probability(values, i) for i in range(3)] == pytest.approx(np.log(softmax(values)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be 0 or a number from 0.001 to 100, not -0.1"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": 1.5}, "top_k must be a whole number from 0"),
        ({"top_k": True}, "top_k"),
        ({"temperature": 1e-320}, "temperature must be 0 or a number from 0.001 to 100"),
        ({"temperature": False}, "temperature"),
        ({"top_p": -0.1}, "top_p must be a number from 0 to 1, not -0.1"),
        ({"top_p": 95}, "top_p must be a number from 0 to 1, not 95; 95 % is 0.95"),
        ({"min_p": 2.5}, "min_p must be a number from 0 to 1, not 2.5; 2.5 % is 0.025"),
        ({"min_p": 1.1}, "min_p"),
        ({"repetition_penalty": 1e-44}, "repetition_penalty must be a number from 0.01 to 100"),
        ({"logit_bias": None}, "logit_bias must map token ids to numbers, not None"),
        ({"presence_penalty": 3}, "presence_penalty must be a number from -2 to 2, not 3"),
        ({"logit_bias": {-1: 1}}, "-1 is not a token id"),
        ({"logit_bias": {1: math.inf}}, "logit_bias of token 1"),
        ({"logit_bias": {0: 10**400}}, "logit_bias of token 0 must be a number from -1,000,000"),
        ({"logit_bias": {0: 1e300}}, "logit_bias of token 0"),
        ({"logit_bias": {2**63: 1.0}}, "9223372036854775808 is not a token id"),
        ({"logit_bias": {0: "1"}}, "not '1'"),
        ({"temperature": 10**400}, "temperature must be"),
        ({"top_k": 10**5000}, "not int of absurd length"),
        ({"penalty_decay": 1.5}, "penalty_decay must be a number from 0 to 1"),
    ],
)
def test_an_option_out_of_range_is_named(options, message):
    with pytest.raises(InputError, match=message):
        Sampling(**options)


def test_changed_checks_names_and_takes_whole_floats():
    assert Sampling().changed({"top_k": 40.0, "top_p": 0.5}) == Sampling(top_k=40, top_p=0.5)
    with pytest.raises(InputError, match="unknown sampling option 'topp'"):
        Sampling().changed({"topp": 0.5})


@pytest.mark.parametrize("seed", [-1, 1.5, "x"])
def test_a_wrong_seed_is_an_error(seed):
    with pytest.raises(InputError, match="seed"):
        Sampler(Sampling(), seed)
