"""What every request passes first: who may ask, from where, and how much. Errors are answered in OpenAI's shape."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rrwkv_server.metrics import Metrics
from rrwkv_server.openai.errors import ApiError, translated
from rrwkv_server.settings import Settings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_BODY_SECONDS = 30.0
_GUARDED = ("/v1/", "/bundle/", "/metrics")  # what an API key is asked for
_COUNTED = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics")
# A page may have threads (SharedArrayBuffer) only where it is isolated from others.
_HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "x-content-type-options": "nosniff",
}


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        answer = _Answered(send, self._metrics, scope["path"])
        try:
            self._check(scope["path"], scope["method"], Headers(scope=scope))
            await self._app(scope, _Bounded(receive, self._settings.limits.body_bytes), answer)
        except Exception as error:
            response = translated(error).response()
            if not answer.begun:
                await response(scope, receive, answer)
        return None

    def _check(self, path: str, method: str, headers: Headers) -> None:
        """Raises ApiError."""
        self._check_host(headers.get("host", ""))
        self._check_origin(headers.get("origin"), headers.get("host", ""))
        if path.startswith(_GUARDED) and method != "OPTIONS":
            self._check_key(headers.get("authorization", ""))
        if method == "POST":
            self._check_body(headers)

    def _check_host(self, host: str) -> None:
        """Another name may lead here by a stranger's DNS, for a page of theirs to ask what it could not ask else."""
        hosts = self._settings.hosts
        if hosts is not None and _name(host) not in hosts:
            text = (
                f"the Host header says {_name(host)[:100]!r}, which this server is not called; allow it: --allow-host"
            )
            raise ApiError(403, text, code="host_not_allowed")

    def _check_origin(self, origin: str | None, host: str) -> None:
        """Of a browser: whose page asks."""
        allowed = self._settings.allow_origins
        if origin is None or "*" in allowed or origin in allowed or urlsplit(origin).netloc == host != "":
            return
        text = f"pages of {origin[:100]!r} may not ask this server; allow it: --allow-origin"
        raise ApiError(403, text, code="origin_not_allowed")

    def _check_key(self, authorization: str) -> None:
        key = self._settings.api_key
        kind, _, given = authorization.partition(" ")
        if key is None or (
            kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), key.encode())
        ):
            return
        what = "is not this server's" if given else "is missing: send it as 'Authorization: Bearer KEY'"
        raise ApiError(401, f"the API key {what}", code="invalid_api_key", headers={"www-authenticate": "Bearer"})

    def _check_body(self, headers: Headers) -> None:
        """A page of another origin can send any type but this one without being asked about it first."""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ApiError(415, "the body must be JSON, with the header 'Content-Type: application/json'")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._settings.limits.body_bytes:
            raise _too_large(self._settings.limits.body_bytes)


def is_loopback(host: str) -> bool:
    """Whether an address, or a name that stands for one, is this machine's own."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_names(host: str, more: Sequence[str]) -> frozenset[str] | None:
    """Names that requests may call a server by that listens on this address; None: any, as others reach it too."""
    if not (is_loopback(host) or more):
        return None
    return frozenset({*_LOOPBACK, host.lower(), *(name.lower() for name in more)})


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {most} bytes, the most that is read")


def _name(host: str) -> str:
    """Of a Host header, without the port."""
    host = host.strip().lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


class _Bounded:
    """A request's body, of which no more is taken than allowed, nor waited for longer."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._size, self._whole = receive, most, 0, False
        self._until = asyncio.get_running_loop().time() + _BODY_SECONDS

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the body did not come in time") from None
        self._size += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._size > self._most:
            raise _too_large(self._most)
        return message


class _Answered:
    """Sends an answer on, with the headers that each has, and counts it."""

    def __init__(self, send: Send, metrics: Metrics, path: str) -> None:
        self._send, self._metrics, self.begun = send, metrics, False
        self._path = path if path in _COUNTED else "/other"

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            self._metrics.requests.labels(self._path, str(message["status"])).inc()
        await self._send(message)
