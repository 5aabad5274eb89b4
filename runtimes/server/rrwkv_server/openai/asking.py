"""Requests of OpenAI's API as requests to the engine."""

from __future__ import annotations

from collections.abc import Callable

from rrwkv_runtime import Model, Sampling
from rrwkv_runtime.errors import TokenizerError
from rrwkv_runtime.manifest import Thinking
from rrwkv_runtime.text.stopping import StopStrings, check_stops
from rrwkv_runtime.text.thinking import ThoughtAndAnswer
from rrwkv_server.engine import prompts
from rrwkv_server.engine.generation import Request
from rrwkv_server.engine.prompts import ChatPrompts, Prompt, Role, Turn
from rrwkv_server.openai.errors import ApiError
from rrwkv_server.openai.requests import ChatRequest, CompletionRequest, Message
from rrwkv_server.settings import Limits

_COMPLETION_TOKENS = 16  # OpenAI's default there
_SEEDS = 2**64


class Asking:
    """Over one model, which must have a tokenizer. Raises TokenizerError."""

    def __init__(self, model: Model, limits: Limits) -> None:
        if model.tokenizer is None:
            raise TokenizerError("this bundle has no tokenizer, and requests are text; export it with --tokenizer")
        self._model, self._limits, self.tokenizer = model, limits, model.tokenizer
        self._format, self._chats = model.manifest.chat, ChatPrompts(model)

    def completion(self, asked: CompletionRequest) -> Request:
        """Raises ApiError, InputError, NoTokens."""
        stops = check_stops(asked.stops, self.tokenizer)
        return Request(
            self._short_enough(prompts.of_text(self._model, asked.prompt), "prompt"),
            Sampling().changed(asked.sampling()),
            _seed(asked.seed),
            self._written(asked.max_tokens or min(_COMPLETION_TOKENS, self._limits.written_tokens), "max_tokens"),
            asked.logprobs or 0,
            stops=lambda: StopStrings(stops),
        )

    def chat(self, asked: ChatRequest) -> Request:
        """Raises ApiError, InputError, NoTokens."""
        _consistent(asked)
        prompt = self._short_enough(self._chats.read(map(_turn, asked.messages)), "messages")
        thinking, begun = self._thinking(asked.reasoning_effort)
        longest = asked.max_completion_tokens or asked.max_tokens or self._limits.written_tokens
        return Request(
            prompt,
            Sampling().changed({**self._format.sampling, **asked.sampling()}),
            _seed(asked.seed),
            self._written(longest, "max_completion_tokens" if asked.max_completion_tokens else "max_tokens"),
            (asked.top_logprobs or 0) if asked.logprobs else 0,
            self._chats.dialogue.begun(begun) if begun else (),
            self._chat_stops(check_stops(asked.stops, self.tokenizer), thinking, begun),
            self._chats.replied,
        )

    def _chat_stops(self, given: tuple[str, ...], thinking: Thinking | None, begun: str) -> Callable[[], StopStrings]:
        dialogue = self._chats.dialogue
        stops = (*dialogue.stops, *given)
        if thinking is None:
            return lambda: StopStrings(stops)
        return lambda: ThoughtAndAnswer(thinking, begun, stops, dialogue.within)

    def _thinking(self, effort: str | None) -> tuple[Thinking | None, str]:
        """How a thought is told, if there may be one, and what the reply is made to begin with."""
        thinking = self._format.thinking
        if effort in (None, "none"):
            return thinking, thinking.skip if thinking and effort else ""
        if thinking is None:
            text = "this model was not taught to think; leave it out, or give 'none'"
            raise ApiError(400, f"reasoning_effort: {text}", param="reasoning_effort")
        return thinking, thinking.open

    def _short_enough(self, prompt: Prompt, field: str) -> Prompt:
        most, count = self._limits.prompt_tokens, len(prompt.ids)
        if count > most:
            text = f"{field}: {count} tokens are more than this server reads, {most} (--max-prompt)"
            raise ApiError(400, text, param=field, code="context_length_exceeded")
        return prompt

    def _written(self, wanted: int, field: str) -> int:
        most = self._limits.written_tokens
        if wanted > most:
            raise ApiError(
                400, f"{field}: {wanted} is more than this server writes, {most} (--max-tokens)", param=field
            )
        return wanted


def _consistent(asked: ChatRequest) -> None:
    if asked.top_logprobs is not None and not asked.logprobs:
        raise ApiError(400, "top_logprobs: wants logprobs to be true", param="top_logprobs")
    if asked.max_tokens and asked.max_completion_tokens and asked.max_tokens != asked.max_completion_tokens:
        text = "max_tokens and max_completion_tokens differ; give one of them"
        raise ApiError(400, text, param="max_tokens")


def _turn(message: Message) -> Turn:
    roles: dict[str, Role] = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}
    return roles[message.role], message.text


def _seed(given: int | None) -> int | None:
    """OpenAI's may be negative, numpy's may not."""
    return None if given is None else given % _SEEDS
