"""The addresses of OpenAI's API."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from rrwkv_server.openai.errors import ApiError, ErrorBody
from rrwkv_server.openai.requests import ChatRequest, CompletionRequest
from rrwkv_server.openai.responses import ChatCompletion, ModelCard, ModelList, TextCompletion
from rrwkv_server.openai.service import Service
from rrwkv_server.openai.writing import ChatWriter, TextWriter

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "What is wrong with the request, or that there is no place for it"},
    "5XX": {"model": ErrorBody, "description": "The server failed, or had no time"},
}
_EVENT = {
    "type": "object",
    "description": "Where `stream` is true: a server-sent event. Its data is a chunk, or at the end `[DONE]`.",
    "properties": {"data": {"type": "string"}},
}


def _answers(model: Any) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "content": {"text/event-stream": {"schema": _EVENT}}}, **ERRORS}


def router(service: Service) -> APIRouter:
    """/v1/chat/completions, /v1/completions, /v1/models."""
    routes = APIRouter(prefix="/v1")
    card = ModelCard(id=service.name, created=int(time.time()))

    @routes.post("/chat/completions", responses=_answers(ChatCompletion))
    async def chat(http: Request, asked: ChatRequest) -> Response:
        """Answer a dialogue."""
        _check_model(service, asked.model)
        writer = ChatWriter(
            "chatcmpl", service.name, service.fingerprint, service.asking.tokenizer, bool(asked.logprobs)
        )
        return await service.answer(
            http, lambda: service.asking.chat(asked), writer, bool(asked.stream), asked.wants_usage
        )

    @routes.post("/completions", responses=_answers(TextCompletion))
    async def complete(http: Request, asked: CompletionRequest) -> Response:
        """Continue a text."""
        _check_model(service, asked.model)
        listed = asked.logprobs is not None
        writer = TextWriter("cmpl", service.name, service.fingerprint, service.asking.tokenizer, listed)
        return await service.answer(
            http, lambda: service.asking.completion(asked), writer, bool(asked.stream), asked.wants_usage
        )

    @routes.get("/models", responses=ERRORS)
    async def models() -> ModelList:
        """The model that is served."""
        return ModelList(data=[card])

    @routes.get("/models/{model:path}", responses=ERRORS)
    async def model_card(model: str) -> ModelCard:
        """One model."""
        _check_model(service, model)
        return card

    return routes


def _check_model(service: Service, name: str) -> None:
    if name != service.name:
        text = f"there is no model {name[:100]!r} here; this one is called {service.name!r}"
        raise ApiError(404, text, param="model", code="model_not_found")
