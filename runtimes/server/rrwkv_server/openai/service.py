"""From a request of the API to its answer: a place, the engine's tokens, and the place again for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from rrwkv_runtime import Model, Token
from rrwkv_server.engine import generation
from rrwkv_server.engine.generation import Generation
from rrwkv_server.engine.prefix_cache import PrefixCache
from rrwkv_server.engine.scheduler import Scheduler
from rrwkv_server.engine.token_stream import TimeIsUp, TokenStream
from rrwkv_server.metrics import Metrics
from rrwkv_server.openai.asking import Asking
from rrwkv_server.openai.errors import LOG, translated
from rrwkv_server.openai.writing import Writer
from rrwkv_server.settings import Settings

_DONE = b"data: [DONE]\n\n"
_TO_READ = 2.0  # seconds for a client after those that the answer may take
_STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # the latter: nginx passes it on at once


class Service:
    """A model, and all who ask it. Raises TokenizerError for a bundle without a tokenizer."""

    def __init__(self, model: Model, settings: Settings) -> None:
        limits = settings.limits
        self.asking = Asking(model, limits)
        self.prefixes = PrefixCache(limits.cache_bytes)
        self.scheduler = Scheduler(settings.workers, limits.parallel, limits.waiting)
        self.metrics = Metrics(self.scheduler, self.prefixes)
        self.name, self.fingerprint = settings.name, f"fp_{model.manifest.bundle_id[:12]}"
        self._model, self.seconds = model, limits.seconds

    async def answer(
        self, http: Request, read: Callable[[], generation.Request], writer: Writer, stream: bool, usage: bool
    ) -> Response:
        """One answer, whole or as a stream. read: makes the request, which takes a moment.

        Raises Busy, Closed, TimeIsUp, and what `read` raises.
        """
        self.scheduler.reserve()
        try:
            answer = _Answer(self, await run_in_threadpool(read), writer)
        except BaseException:
            self.scheduler.release()
            raise
        if stream:
            return _Streamed(answer, usage)
        try:
            return await _unless_gone(http, answer.whole()) or Response(status_code=499)  # nginx's, for nobody to see
        finally:
            answer.stop()

    def generation(self, request: generation.Request) -> tuple[Generation, TokenStream]:
        made = Generation(self._model, self.prefixes, request)
        return made, TokenStream(self.scheduler, iter(made), self.seconds)


class _Answer:
    """The tokens of one request, as OpenAI's objects. `whole` or `events` is to be called once, and `stop` after it."""

    def __init__(self, service: Service, request: generation.Request, writer: Writer) -> None:
        self._service, self._writer, self.seconds = service, writer, service.seconds
        self._generation, self._stream = service.generation(request)
        self._some = self._ended = False  # whether there was a token; whether all was said

    def stop(self) -> None:
        """Give the place back, whatever is left of the answer."""
        self._stream.stop()
        self._service.scheduler.release()
        self._service.metrics.count(self._generation.counts)
        if not self._ended:
            self._service.metrics.gone.inc()

    async def whole(self) -> Response:
        """Raises TimeIsUp."""
        tokens: list[Token] = []
        try:
            async for token in self._tokens():
                tokens.append(token)
        except TimeIsUp:
            if not tokens:
                raise
        self._ended = True
        body = self._writer.whole(tokens, self._generation.counts).model_dump_json()
        return Response(body, media_type="application/json")

    async def events(self, usage: bool) -> AsyncIterator[bytes]:
        """As server-sent events. usage: a last chunk has it, and others say that they have none."""
        try:
            async for chunk in self._chunks():
                yield _event(chunk, usage)
            if usage:
                yield _event(self._writer.last(self._generation.counts), usage)
            self._ended = True
            yield _DONE
        except Exception as error:  # too late for a status
            self._ended = True
            yield _event(translated(error).body, usage)

    async def _chunks(self) -> AsyncIterator[BaseModel]:
        if first := self._writer.begin():
            yield first
        try:
            async for token in self._tokens():
                if chunk := self._writer.chunk(token):
                    yield chunk
        except TimeIsUp:
            if not self._some:
                raise
            yield self._writer.cut()

    async def _tokens(self) -> AsyncIterator[Token]:
        metrics, loop = self._service.metrics, asyncio.get_running_loop()
        began = loop.time()
        async for token in self._stream.tokens():
            if not self._some:
                metrics.first.observe(loop.time() - began)
            self._some = True
            yield token
        metrics.whole.observe(loop.time() - began)


class _Streamed(StreamingResponse):
    """An answer as a stream, whose place is free again however it ends, also before the first event."""

    def __init__(self, answer: _Answer, usage: bool) -> None:
        super().__init__(answer.events(usage), media_type="text/event-stream", headers=_STREAM_HEADERS)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # A client that does not read what it is sent must not hold its place for ever.
            async with asyncio.timeout(self._answer.seconds + _TO_READ):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            LOG.warning("a client did not read its answer in time")
        finally:
            self._answer.stop()


def _event(said: BaseModel, usage: bool) -> bytes:
    return f"data: {said.model_dump_json(exclude=None if usage else {'usage'})}\n\n".encode()


async def _unless_gone(http: Request, work: Coroutine[Any, Any, Response]) -> Response | None:
    """What work gives; None, and no more of it is done, if the client leaves before."""
    working, gone = asyncio.create_task(work), asyncio.create_task(_gone(http))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _gone(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
