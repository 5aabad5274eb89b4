"""What is wrong with a request is said in OpenAI's shape, by one line that helps."""

from __future__ import annotations

import asyncio
import json

import pytest
from serving import CHAT, TEXT, asked

from rrwkv_runtime.errors import RRWKVError
from rrwkv_server import Limits, Settings
from rrwkv_server.openai.requests import ChatRequest
from rrwkv_server.openai.service import Service
from rrwkv_server.openai.writing import ChatWriter

JSON = {"content-type": "application/json"}


def error(response):
    assert response.headers["content-type"] == "application/json"
    body = response.json()["error"]
    assert body.keys() == {"message", "type", "param", "code"}
    assert "\n" not in body["message"]
    assert "Traceback" not in body["message"]
    return response.status_code, body["message"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"temperature": "hot"}, "temperature: Input should be a valid number, not 'hot'"),
        ({"temperature": True}, "temperature: Input should be a valid number, not True"),
        ({"temperature": 2.1}, "temperature: Input should be less than or equal to 2, not 2.1"),
        ({"top_p": -1}, "top_p: Input should be greater than or equal to 0"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1, not 0"),
        ({"max_tokens": 10**9}, "max_tokens: 1000000000 is more than this server writes, 4096 (--max-tokens)"),
        ({"max_completion_tokens": 5, "max_tokens": 6}, "differ; give one"),
        ({"n": 2}, "n: not supported here; leave it out, or give 1"),
        ({"best": 1}, "unknown parameter: 'best'"),
        ({"\ud800": 1}, "body: Input should be a valid string"),
        ({"tools": [{"type": "function"}]}, "tools: List should have at most 0 items"),
        ({"response_format": {"type": "json_object"}}, "response_format.type: Input should be 'text'"),
        ({"stop": [""]}, "String should have at least 1 character"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5: Input should be less than or equal to 100"),
        ({"top_logprobs": 2}, "top_logprobs: wants logprobs to be true"),
        ({"reasoning_effort": "high"}, "reasoning_effort: this model was not taught to think"),
        ({"reasoning_effort": "much"}, "reasoning_effort: Input should be 'none'"),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages: one of the user's is empty"),
        ({"messages": [{"role": "assistant", "content": "I"}]}, "messages: the last one must be the user's"),
        ({"messages": [{"role": "tool", "content": "I"}]}, "messages.0.role: Input should be 'system'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "the text has a lone surrogate"),
        ({"store": True}, "store: not supported here; leave it out, or give False"),
    ],
)
def test_a_wrong_chat(client, changed, said):
    content = json.dumps({**asked("Hi!"), **changed})
    status, message = error(client.post(CHAT, content=content, headers=JSON))
    assert status == 400
    assert said in message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"echo": True}, "echo: not supported here"),
        ({"suffix": "end"}, "suffix: not supported here"),
        ({"best_of": 3}, "best_of: not supported here"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [320]}, "token ids: 320 at position 0 is outside 0..319"),
        ({"logit_bias": {"320": 1}}, "logit_bias: token 320 is not below the vocabulary of 320"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": []}, "unknown parameter: 'messages'"),
    ],
)
def test_a_wrong_completion(client, changed, said):
    body = {"model": "bundle", "prompt": "a", **changed}
    status, message = error(client.post(TEXT, json=body))
    assert (status, said in message) == (400, True), message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "the body is not JSON"),
        (b"", "body"),
        (b"[" * 100_000, "JSON"),
        (b'{"model": ' + b"9" * 10_000 + b"}", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"null", "body"),
    ],
)
def test_what_is_no_request(client, content, said):
    status, message = error(client.post(CHAT, content=content, headers=JSON))
    assert (status, said in message) == (400, True), message


def test_other_types_of_content_are_refused(client):
    status, message = error(client.post(CHAT, content=b"{}", headers={"content-type": "text/plain"}))
    assert (status, "application/json" in message) == (415, True)


def test_a_large_body(client_of):
    client = client_of(limits=Limits(body_bytes=500))
    large = json.dumps(asked("x" * 1000)).encode()
    for content in (large, iter([large[:600], large[600:]])):
        status, message = error(client.post(CHAT, content=content, headers=JSON))
        assert (status, message) == (413, "the body is larger than 500 bytes, the most that is read")
    assert client.post(CHAT, json=asked("x", max_tokens=1)).status_code == 200


def test_a_long_prompt(client_of):
    status, message = error(client_of(limits=Limits(prompt_tokens=20)).post(CHAT, json=asked("x y z " * 20)))
    assert (status, "are more than this server reads, 20 (--max-prompt)" in message) == (400, True)


def test_other_addresses_methods_and_models(client):
    assert error(client.get("/v2"))[0] == 404
    assert error(client.get(CHAT))[0] == 405
    status, message = error(client.post(CHAT, json=asked("Hi!", model="x\n" * 99)))
    assert (status, "this one is called 'bundle'" in message) == (404, True)
    assert error(client.get("/v1/models/gpt-5"))[0] == 404


def test_a_key(client_of):
    client = client_of(api_key="sésame")
    bearer = {"authorization": "Bearer sésame".encode()}
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic sesame"}, {"authorization": "Bearer"}):
        status, message = error(client.get("/v1/models", headers=headers))
        assert (status, message.startswith("the API key is")) == (401, True)
    assert client.get("/v1/models", headers=bearer).status_code == 200
    assert error(client.get("/metrics"))[0] == error(client.get("/bundle/manifest.json"))[0] == 401
    assert client.get("/health").json()["status"] == "ok"


def test_a_name_of_another_machine_is_refused(client_of):
    """As a stranger's page would send it whose name leads here (DNS rebinding)."""
    client = client_of(hosts=frozenset({"localhost", "127.0.0.1", "::1"}))
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"):
        assert client.get("/v1/models", headers={"host": host}).status_code == 200
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "[::2]", ""):
        assert error(client.get("/v1/models", headers={"host": host}))[0] == 403


def test_pages_of_others_may_not_ask_unless_allowed(client_of):
    page = {"origin": "https://page.example"}
    status, message = error(client_of().post(CHAT, json=asked("Hi!"), headers=page))
    assert (status, "--allow-origin" in message) == (403, True)
    assert client_of().get("/v1/models", headers={"origin": "http://localhost"}).status_code == 200
    allowed = client_of(allow_origins=("https://page.example",))
    preflight = {**page, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for answer in (allowed.options(CHAT, headers=preflight), allowed.get("/v1/models", headers=page)):
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page["origin"])
    assert error(allowed.get("/v1/models", headers={"origin": "https://other.example"}))[0] == 403


def test_our_own_mistakes_are_not_told(client_of, conformance_model, monkeypatch, caplog):
    def fail(*_):
        raise RRWKVError("onnxruntime failed: secrets")

    client = client_of()
    monkeypatch.setattr(conformance_model.__class__, "decoder", fail)
    status, message = error(client.post(CHAT, json=asked("Hi!")))
    assert (status, message) == (500, "the server failed on this request; its log says how")
    assert "secrets" in caplog.text
    stream = client.post(CHAT, json=asked("Hi!", stream=True)).text
    assert '"code":"internal_error"' in stream
    assert "[DONE]" not in stream
    assert "rrwkv_active 0.0" in client.get("/metrics").text


def test_time_ends_an_answer(client_of):
    body = asked("Hi!", logit_bias={"0": -100, "1": -100}, max_tokens=4096)
    answer = client_of(limits=Limits(seconds=0.4)).post(CHAT, json=body).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert 0 < answer["usage"]["completion_tokens"] < 4096
    stream = client_of(limits=Limits(seconds=0.4)).post(CHAT, json={**body, "stream": True}).text
    assert '"finish_reason":"length"' in stream
    assert stream.endswith("data: [DONE]\n\n")
    status, message = error(client_of(limits=Limits(seconds=1e-9)).post(CHAT, json=body))
    assert (status, "no token was written in the time" in message) == (503, True)


def test_who_does_not_read_a_stream_loses_the_place(conformance_model):
    async def stuck(*_):
        await asyncio.sleep(60)

    async def ask():
        service = Service(conformance_model, Settings("bundle", limits=Limits(seconds=0.1)))
        request = ChatRequest.model_validate_json(json.dumps(asked("Hi!", max_tokens=50)))
        writer = ChatWriter("x", "bundle", "x", service.asking.tokenizer, False)
        stream = await service.answer(None, lambda: service.asking.chat(request), writer, True, False)
        await stream({"type": "http"}, stuck, stuck)
        service.scheduler.close()
        return service.scheduler

    scheduler = asyncio.run(asyncio.wait_for(ask(), 10))
    assert (scheduler.active, scheduler._reserved) == (0, 0)


def test_every_parameter_says_what_it_is_or_is_openais():
    known = ChatRequest.model_json_schema()["properties"]
    assert {name for name in known if name.endswith("_cache_key")} == {"prompt_cache_key"}
