"""Errors as OpenAI's API has them, and which of ours become which."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from rrwkv_runtime.common.printable import one_line
from rrwkv_runtime.common.reading import short
from rrwkv_runtime.errors import InputError, NoTokens
from rrwkv_server.engine.scheduler import Busy, Closed
from rrwkv_server.engine.token_stream import TimeIsUp

LOG = logging.getLogger("rrwkv_server")
_INVALID, _FAILED = "invalid_request_error", "server_error"
_RETRY = {"retry-after": "2"}
_LONGEST = 100  # characters of what a stranger wrote


class ErrorDetail(BaseModel):
    """param: the field that is wrong. code: a word for programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """What every error of the API is."""

    error: ErrorDetail


class ApiError(Exception):
    """An error that a client is to see."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        kind = _INVALID if status < 500 and status != 429 else "rate_limit_error" if status == 429 else _FAILED
        self.body = ErrorBody(error=ErrorDetail(message=one_line(message), type=kind, param=param, code=code))

    def response(self) -> JSONResponse:
        return JSONResponse(self.body.model_dump(), self.status, self.headers)


def translated(error: Exception) -> ApiError:
    """Any error as one that a client may see. What is nobody's but ours goes to the log, and not to them."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors())
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, _PHRASES.get(error.status_code, str(error.detail)), headers=error.headers)
    if isinstance(error, Busy):
        text = "all places are taken, the waiting ones too; try again in a moment"
        return ApiError(429, text, code="server_busy", headers=_RETRY)
    if isinstance(error, Closed):
        return ApiError(503, "the server is ending; try again when it is back", code="server_ending", headers=_RETRY)
    if isinstance(error, TimeIsUp):
        text = "no token was written in the time that a request may take; try again when fewer are waiting"
        return ApiError(503, text, code="time_limit", headers=_RETRY)
    if isinstance(error, NoTokens | InputError):
        return ApiError(400, str(error))
    LOG.error("a request failed", exc_info=error)
    return ApiError(500, "the server failed on this request; its log says how", code="internal_error")


_PHRASES = {
    400: "the body cannot be read as JSON",
    404: "there is nothing at this address; the API is at /v1/chat/completions, /v1/completions and /v1/models",
    405: "this address does not take this method; /openapi.json says what it takes",
}


def _invalid(errors: Sequence[Any]) -> ApiError:
    """The first thing that is wrong with a body, of what pydantic found."""
    top = errors[0]["loc"][:2]
    # Of what may be of several types, the one that fits the farthest.
    first = max((error for error in errors if error["loc"][:2] == top), key=lambda error: len(error["loc"]))
    param = _place(first["loc"]) or None
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first.get('ctx', {}).get('error', '')}")
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"unknown parameter: {short(param)}", param=param, code="unknown_parameter")
    message = str(first["msg"]).removeprefix("Value error, ")
    given = "" if first["type"] in ("missing", "value_error") else f", not {short(first['input'])}"
    return ApiError(400, f"{param or 'body'}: {message}{given}", param=param)


def _place(loc: Sequence[str | int]) -> str:
    """Where something is wrong, without the names of the types that it might have; a stranger may have written it."""
    parts = [str(part) for part in loc if part not in ("body", "str", "constrained-str") and "[" not in str(part)]
    return ".".join(parts)[:_LONGEST].encode("utf-8", "replace").decode()


def add_handlers(app: FastAPI) -> None:
    """Let every error that a route raises be answered in this shape."""

    async def answer(_: Request, error: Exception) -> JSONResponse:
        return translated(error).response()

    for kind in (ApiError, RequestValidationError, HTTPException, Busy, Closed, TimeIsUp, InputError, NoTokens):
        app.add_exception_handler(kind, answer)
