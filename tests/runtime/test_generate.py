import itertools
import math
import re
import tracemalloc

import numpy as np
import pytest
import tokenizers
from fakes import EOS, TOKENIZER, FakeModel, FakeState, V
from hypothesis import given
from hypothesis import strategies as st

from rrwkv_runtime.errors import Cancelled, InputError, TokenizerError
from rrwkv_runtime.generate import Timing, generate
from rrwkv_runtime.text.stopping import StopStrings
from rrwkv_runtime.tokenizer import JsonTokenizer


def saying(*ids):
    """A model that continues a one-token prompt with these ids, then ends."""
    return FakeModel(lambda seen: ids[len(seen) - 1] if len(seen) <= len(ids) else EOS)


def text_of(tokens):
    return "".join(token.text for token in tokens)


pieces = st.lists(st.text("ab\n", max_size=3), max_size=12)


@given(pieces, st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_stop_strings_cut_at_the_first_wherever_the_pieces_end(pieces, stops):
    matcher, out = StopStrings(stops), ""
    for piece in pieces:
        out += matcher.push(piece)
        if matcher.matched:
            break
    whole = "".join(pieces)
    ends = [re.search(re.escape(stop), whole).end() for stop in stops if stop in whole]
    if not ends:
        assert (matcher.matched, out + matcher.flush()) == (None, whole)
    else:
        assert out + matcher.matched + matcher.rest == whole[: len(out + matcher.matched + matcher.rest)]
        assert not any(stop in out for stop in stops)


@given(st.text("ab", max_size=8), st.text("ab", min_size=1, max_size=4))
def test_only_what_may_become_a_stop_string_is_held(text, stop):
    matcher = StopStrings([stop])
    matcher.push(text)
    assert matcher.matched or stop.startswith(matcher.held)


def test_text_is_streamed_in_whole_characters():
    text = "Hello, 日本 🎉!"
    tokens = list(generate(saying(*TOKENIZER.encode(text)), "a"))
    assert text_of(tokens) == text
    assert "�" not in text_of(tokens)
    assert [token.index for token in tokens] == list(range(len(tokens)))
    assert [token.finish for token in tokens] == [None] * (len(tokens) - 1) + ["eos"]


@pytest.mark.parametrize("stop", ["END", ("never", "END"), ("Hello END", "END")])
def test_a_stop_string_across_tokens_is_removed(stop):
    tokens = list(generate(saying(*TOKENIZER.encode("Hi E END of")), "a", stop=stop))
    assert (text_of(tokens), tokens[-1].finish) == ("Hi E ", "stop")


def test_the_possible_start_of_a_stop_string_comes_out_at_the_end():
    tokens = list(generate(saying(*TOKENIZER.encode("Hi EN")), "a", stop="END"))
    assert (text_of(tokens), tokens[-1].finish) == ("Hi EN", "eos")


def test_max_tokens_ends_with_length():
    tokens = list(generate(saying(5, 6, 7), "a", max_tokens=2))
    assert [token.id for token in tokens] == [5, 6]
    assert tokens[-1].finish == "length"


def test_a_character_cut_by_max_tokens_is_replaced():
    assert text_of(generate(saying(*TOKENIZER.encode("🎆")), "a", max_tokens=1)) == "�"


def test_stop_ids_end_without_text():
    tokens = list(generate(saying(66, 67, 68), "a", stop_ids=[67]))
    assert ([token.id for token in tokens], tokens[-1].finish, text_of(tokens)) == ([66, 67], "stop", "b")


def test_ignore_eos_goes_on():
    tokens = list(generate(saying(66), "a", ignore_eos=True, max_tokens=5))
    assert [token.id for token in tokens] == [66, 0, 0, 0, 0]


def test_logprob_is_the_models_own_whatever_the_options():
    model = FakeModel(lambda seen: 7)
    expected = -math.log(1 + (V - 1) * math.exp(-50))
    for options in ({}, {"temperature": 3.0, "top_k": 1}, {"temperature": 0}):
        assert next(generate(model, "a", **options)).logprob == pytest.approx(expected)
    assert next(generate(model, "a", logit_bias={9: 100})).logprob == pytest.approx(-50, abs=1e-4)


def test_the_likeliest_tokens_are_listed_if_asked_for():
    model = FakeModel(lambda seen: 7)
    token = next(generate(model, "a", top_logprobs=2, logit_bias={9: 100}))
    assert (token.id, [i for i, _ in token.top]) == (9, [7, 0])
    assert token.top[0][1] == pytest.approx(-math.log(1 + (V - 1) * math.exp(-50)))
    assert next(generate(model, "a")).top == ()


def test_without_tokenizer_ids_go_in_and_come_out():
    model = FakeModel(lambda seen: len(seen) + 1, tokenizer=None)
    tokens = list(generate(model, np.array([1, 2, 3]), max_tokens=2))
    assert [(token.id, token.text) for token in tokens] == [(4, ""), (5, "")]
    with pytest.raises(TokenizerError, match="no tokenizer"):
        generate(model, "text")
    with pytest.raises(InputError, match=r"stop strings need a tokenizer.*--stop-id"):
        generate(model, [1], stop="x")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([1, 4096], "token ids: 4096 at position 1 is outside 0..4095"),
        ([-1], "token ids: -1"),
        ([1.5], "whole numbers"),
        ([True], "whole numbers"),
        ([2**70], "whole numbers"),
        ([[1], [2, 3]], "flat"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_a_wrong_prompt_is_an_input_error_at_once(prompt, message):
    with pytest.raises(InputError, match=message):
        generate(saying(), prompt)


def test_an_empty_prompt_is_the_beginning_token():
    seen = []
    model = FakeModel(lambda ids: seen.append(list(ids)) or EOS)
    list(generate(model, ""))
    assert seen == [[0]]
    with pytest.raises(InputError, match="the prompt is empty"):
        generate(FakeModel(None, bos_token_id=None), [])
    with pytest.raises(InputError, match="the prompt is empty"):
        generate(model, "", state=FakeState([1]))


def test_a_given_state_comes_before_the_prompt_and_is_left_as_it_was():
    state, seen = FakeState([1, 2]), []
    model = FakeModel(lambda ids: seen.append(list(ids)) or EOS)
    list(generate(model, [3], state=state))
    assert (seen, state) == ([[1, 2, 3]], (1, 2))


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 0},
        {"max_tokens": 2.0},
        {"stop": [""]},
        {"stop": 5},
        {"stop": [b"x"]},
        {"stop_ids": [V]},
        {"stop_ids": 5},
        {"seed": -1},
        {"top_p": 2},
        {"logit_bias": None},
        {"top_logprobs": -1},
    ],
)
def test_a_wrong_option_is_an_input_error_that_names_it_at_once(options):
    with pytest.raises(InputError, match=next(iter(options))):
        generate(saying(), "a", **options)


def test_the_text_goes_on_after_the_prompts_as_the_tokenizer_writes_it():
    package = tokenizers.Tokenizer(tokenizers.models.Unigram([("<unk>", 0.0), ("▁hi", -1.0), ("▁there", -1.0)], 0))
    package.pre_tokenizer, package.decoder = tokenizers.pre_tokenizers.Metaspace(), tokenizers.decoders.Metaspace()
    model = FakeModel(lambda seen: 2, tokenizer=JsonTokenizer(package))
    assert text_of(generate(model, "hi", max_tokens=2)) == " there there"


def test_progress_can_cancel():
    with pytest.raises(Cancelled):
        next(generate(saying(), "a", progress=lambda done, total: False))


def test_unlimited_generation_takes_constant_memory():
    model = FakeModel(lambda ids: ids.clear() or 66)
    tokens = generate(model, "a", max_tokens=None, penalty_window=16, presence_penalty=0.1, stop="x", top_k=1)
    list(itertools.islice(tokens, 200))
    tracemalloc.start()
    list(zip(tokens, range(1000), strict=False)).clear()
    assert tracemalloc.get_traced_memory()[0] < 100_000
    tracemalloc.stop()


def test_timing_adds_up():
    total = Timing(4, 2.0, 6, 3.0) + Timing(6, 3.0, 0, 0.0)
    assert (total.prompt_rate, total.generated_rate, Timing().generated_rate) == (2.0, 2.0, 0.0)


def test_the_demo_generates_the_same_for_the_same_seed(demo_model):
    def run(seed):
        return [token.id for token in demo_model.generate("User: hello\n\nAssistant:", seed=seed, max_tokens=12)]

    assert run(1) == run(1)
    assert run(1) != run(2)
