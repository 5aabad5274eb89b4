"""Tokens of the engine as OpenAI's objects: chunks of a stream, or one answer."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from rrwkv_runtime import Token
from rrwkv_runtime.tokenizer import Tokenizer
from rrwkv_server.engine.generation import Counts
from rrwkv_server.openai.responses import (
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatLogprobs,
    ChunkChoice,
    CompletionDetails,
    Delta,
    Finish,
    Likely,
    PromptDetails,
    ReplyMessage,
    TextChoice,
    TextCompletion,
    TextLogprobs,
    TokenLogprob,
    Usage,
)

_LEAST = -9999.0  # what OpenAI writes for a token that cannot be, where JSON has no infinity


def usage(counts: Counts) -> Usage:
    return Usage(
        prompt_tokens=counts.prompt,
        completion_tokens=counts.written,
        total_tokens=counts.prompt + counts.written,
        prompt_tokens_details=PromptDetails(cached_tokens=counts.cached),
        completion_tokens_details=CompletionDetails(reasoning_tokens=counts.thought),
    )


def finish_reason(token: Token) -> Finish | None:
    """OpenAI's word: a model's own end is a stop like any other."""
    if token.finish is None:
        return None
    return "length" if token.finish == "length" else "stop"


class Writer(ABC):
    """Of one request.

    prefix       what its id begins with
    fingerprint  of what computes the answer: the bundle
    logprobs     whether it lists them
    """

    def __init__(self, prefix: str, model: str, fingerprint: str, tokenizer: Tokenizer, logprobs: bool) -> None:
        self._tokenizer, self._logprobs = tokenizer, logprobs
        identity = {"id": f"{prefix}-{uuid.uuid4().hex}", "created": int(time.time())}
        self._common: dict[str, Any] = {**identity, "model": model, "system_fingerprint": fingerprint}

    def begin(self) -> BaseModel | None:
        """A stream's first chunk, if it has one before any token."""
        return None

    @abstractmethod
    def chunk(self, token: Token) -> BaseModel | None:
        """None where a token has nothing to show."""

    @abstractmethod
    def cut(self) -> BaseModel:
        """The chunk that says that time ended the answer."""

    @abstractmethod
    def last(self, counts: Counts) -> BaseModel:
        """The chunk with the usage."""

    @abstractmethod
    def whole(self, tokens: Sequence[Token], counts: Counts) -> BaseModel:
        """The answer at once. tokens: all of them; one at least."""

    def _likely(self, token_id: int, logprob: float) -> Likely:
        name = self._tokenizer.special.get(token_id)
        data = self._tokenizer.token_bytes(token_id) if name is None else name.encode("utf-8")
        return Likely(token=_text(data), logprob=max(logprob, _LEAST), bytes=list(data))


def _text(data: bytes) -> str:
    """A token's text; of what is no whole characters its bytes, as OpenAI writes them."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class ChatWriter(Writer):
    """Of /v1/chat/completions."""

    def begin(self) -> ChatChunk:
        return self._chunk(ChunkChoice(delta=Delta(role="assistant", content="")))

    def chunk(self, token: Token) -> ChatChunk | None:
        finish, logprobs = finish_reason(token), self._logprobs_of([token])
        if not (token.text or token.thought or finish or logprobs):
            return None
        delta = Delta(content=token.text or None, reasoning_content=token.thought or None)
        return self._chunk(ChunkChoice(delta=delta, logprobs=logprobs, finish_reason=finish))

    def cut(self) -> ChatChunk:
        return self._chunk(ChunkChoice(delta=Delta(), finish_reason="length"))

    def last(self, counts: Counts) -> ChatChunk:
        return self._chunk(None, usage(counts))

    def whole(self, tokens: Sequence[Token], counts: Counts) -> ChatCompletion:
        thought, answer = ("".join(texts) for texts in zip(*((token.thought, token.text) for token in tokens)))
        message = ReplyMessage(content=answer, reasoning_content=thought or None)
        reason = finish_reason(tokens[-1]) or "length"
        choice = ChatChoice(message=message, logprobs=self._logprobs_of(tokens), finish_reason=reason)
        return ChatCompletion(choices=[choice], usage=usage(counts), **self._common)

    def _chunk(self, choice: ChunkChoice | None, used: Usage | None = None) -> ChatChunk:
        return ChatChunk(choices=[choice] if choice else [], usage=used, **self._common)

    def _logprobs_of(self, tokens: Sequence[Token]) -> ChatLogprobs | None:
        return ChatLogprobs(content=list(map(self._logprob, tokens))) if self._logprobs else None

    def _logprob(self, token: Token) -> TokenLogprob:
        top = [self._likely(*pair) for pair in token.top]
        return TokenLogprob(**self._likely(token.id, token.logprob).model_dump(), top_logprobs=top)


class TextWriter(Writer):
    """Of /v1/completions."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._offset = 0

    def chunk(self, token: Token) -> TextCompletion | None:
        finish, logprobs = finish_reason(token), self._logprobs_of([token])
        if not (token.text or finish or logprobs):
            return None
        choice = TextChoice(text=token.text, logprobs=logprobs, finish_reason=finish)
        return TextCompletion(choices=[choice], **self._common)

    def cut(self) -> TextCompletion:
        return TextCompletion(choices=[TextChoice(text="", finish_reason="length")], **self._common)

    def last(self, counts: Counts) -> TextCompletion:
        return TextCompletion(choices=[], usage=usage(counts), **self._common)

    def whole(self, tokens: Sequence[Token], counts: Counts) -> TextCompletion:
        text, reason = "".join(token.text for token in tokens), finish_reason(tokens[-1]) or "length"
        choice = TextChoice(text=text, logprobs=self._logprobs_of(tokens), finish_reason=reason)
        return TextCompletion(choices=[choice], usage=usage(counts), **self._common)

    def _logprobs_of(self, tokens: Sequence[Token]) -> TextLogprobs | None:
        if not self._logprobs:
            return None
        found = TextLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for token in tokens:
            itself = self._likely(token.id, token.logprob)
            found.tokens.append(itself.token)
            found.token_logprobs.append(itself.logprob)
            found.top_logprobs.append({one.token: one.logprob for one in (self._likely(*pair) for pair in token.top)})
            found.text_offset.append(self._offset)
            self._offset += len(token.text)
        return found
