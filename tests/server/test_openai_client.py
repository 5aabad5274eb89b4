"""The official Python client against `rrwkv serve`."""

from __future__ import annotations

import math

import openai
import pytest
from serving import numbers, wait_until

from rrwkv_runtime.sampling import Sampling

HELLO = [{"role": "user", "content": "Hello there!"}]


@pytest.fixture(scope="module")
def ai(server_url):
    with openai.OpenAI(base_url=f"{server_url}/v1", api_key="any", max_retries=0) as client:
        yield client


def chat(ai, **more):
    return ai.chat.completions.create(**{"model": "bundle", "messages": HELLO, "max_tokens": 12, "seed": 3, **more})


def complete(ai, **more):
    return ai.completions.create(**{"model": "bundle", "prompt": "Once upon", "max_tokens": 12, "seed": 3, **more})


def test_models(ai):
    assert [model.id for model in ai.models.list()] == ["bundle"]
    assert ai.models.retrieve("bundle").object == "model"


def test_a_stream_says_what_an_answer_says(ai):
    whole = chat(ai)
    chunks = list(chat(ai, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[-3:-1]] == [None, "length"]
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 12)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_a_stream_has_no_usage_unless_asked(ai):
    assert all(chunk.usage is None for chunk in chat(ai, stream=True))
    text = "".join(chunk.choices[0].text for chunk in complete(ai, stream=True))
    assert text == complete(ai).choices[0].text


def test_the_clients_own_helper_for_streams(ai):
    stop = chat(ai).choices[0].message.content[4]
    with ai.chat.completions.stream(model="bundle", messages=HELLO, seed=3, stop=stop) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == chat(ai, stop=stop).choices[0].message.content


def test_seeds(ai):
    texts = [chat(ai, seed=seed, temperature=1.5).choices[0].message.content for seed in (1, 1, 2, -1)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_stop_strings(ai):
    text = complete(ai, max_tokens=40).choices[0].text
    middle, letter = text[len(text) // 2 :][:3], text[3]
    for stop in (middle, [middle], [middle, "never"]):
        found = complete(ai, max_tokens=40, stop=stop).choices[0]
        assert (found.text, found.finish_reason) == (text[: text.index(middle)], "stop")
    stream = complete(ai, max_tokens=40, stop=letter, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == text[: text.index(letter)]


def test_logprobs(ai, conformance_model):
    answer = chat(ai, logprobs=True, top_logprobs=3, temperature=0).choices[0]
    assert len(answer.logprobs.content) == 12
    for token in answer.logprobs.content:
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob <= 0
    data = b"".join(bytes(token.bytes) for token in answer.logprobs.content)
    assert data.decode("utf-8", "replace").strip() == answer.message.content.strip()
    streamed = [c.choices[0].logprobs for c in chat(ai, logprobs=True, top_logprobs=3, temperature=0, stream=True)]
    assert [one for logprobs in streamed if logprobs for one in logprobs.content] == answer.logprobs.content


def test_logprobs_of_a_text(ai, conformance_model):
    choice = complete(ai, logprobs=2, prompt=[5, 6, 7], temperature=0).choices[0]
    tokens = list(conformance_model.generate([5, 6, 7], max_tokens=12, top_logprobs=2, temperature=0))
    assert choice.text == "".join(token.text for token in tokens)
    expected = [token.logprob for token in tokens]
    assert choice.logprobs.token_logprobs == pytest.approx(expected, abs=1e-5)
    assert [len(top) for top in choice.logprobs.top_logprobs] == [2] * 12
    assert choice.logprobs.text_offset == sorted(choice.logprobs.text_offset)


def test_biases_and_penalties(ai):
    """A bias of 100 forces a token; penalties keep it from coming twice where all else is even."""
    token = chat(ai, logit_bias={"40": 100}, max_tokens=3, temperature=0, logprobs=True).choices[0].logprobs.content
    assert len({one.token for one in token}) == 1
    plain = complete(ai, temperature=0, max_tokens=30).choices[0].text
    pushed = complete(ai, temperature=0, max_tokens=30, presence_penalty=2, frequency_penalty=2).choices[0].text
    assert pushed != plain


def test_likelier_tokens_alone(ai):
    """top_p of nearly nothing is greedy, whatever the temperature."""
    assert complete(ai, temperature=2, top_p=0).choices[0].text == complete(ai, temperature=0).choices[0].text
    assert Sampling(top_p=0).top_p == 0


@pytest.mark.parametrize(
    ("error", "changed"),
    [
        (openai.NotFoundError, {"model": "gpt-5"}),
        (openai.BadRequestError, {"temperature": 3}),
        (openai.BadRequestError, {"messages": []}),
        (openai.BadRequestError, {"n": 2}),
    ],
)
def test_errors_are_those_of_the_client(ai, error, changed):
    with pytest.raises(error) as found:
        chat(ai, **changed)
    assert found.value.type == "invalid_request_error"
    assert found.value.param == next(iter(changed))


def test_who_leaves_a_stream_frees_the_place(ai, server_url):
    before = numbers(server_url)["rrwkv_clients_gone_total"]
    stream = chat(ai, stream=True, max_tokens=4000, logit_bias={"0": -100, "1": -100})
    next(iter(stream))
    assert numbers(server_url)["rrwkv_active"] == 1
    stream.close()
    assert wait_until(lambda: numbers(server_url)["rrwkv_active"] == 0, 3)
    found = numbers(server_url)
    assert found["rrwkv_clients_gone_total"] == before + 1
    assert not math.isnan(found["rrwkv_prefix_bytes"])


def test_who_leaves_before_an_answer_frees_the_place(ai, server_url):
    before = numbers(server_url)["rrwkv_clients_gone_total"]
    with pytest.raises(openai.APITimeoutError):
        chat(ai.with_options(timeout=0.4), max_tokens=4096, logit_bias={"0": -100, "1": -100, "201": -100})
    assert wait_until(lambda: numbers(server_url)["rrwkv_clients_gone_total"] == before + 1, 3)
    assert numbers(server_url)["rrwkv_active"] == 0
