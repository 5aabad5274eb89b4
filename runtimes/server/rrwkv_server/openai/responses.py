"""What OpenAI's clients get: whole answers, and the chunks of a stream."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer

Finish = Literal["stop", "length"]


class _Answer(BaseModel):
    """What every answer says of itself, and each chunk of it. system_fingerprint: of the bundle."""

    id: str
    created: int
    model: str
    system_fingerprint: str


class PromptDetails(BaseModel):
    cached_tokens: int = 0


class CompletionDetails(BaseModel):
    reasoning_tokens: int = 0


class Usage(BaseModel):
    """cached_tokens: of the prompt, those that were not read again. reasoning_tokens: of those written, the thought."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Likely(BaseModel):
    """A token: its text, which may be part of a character, its UTF-8, and the logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(Likely):
    top_logprobs: list[Likely]


class ChatLogprobs(BaseModel):
    """Of every token written, a thought's and the one that ended it among them."""

    content: list[TokenLogprob]
    refusal: None = None


class ReplyMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    reasoning_content: str | None = None
    refusal: None = None


class ChatChoice(BaseModel):
    index: int = 0
    message: ReplyMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Finish


class ChatCompletion(_Answer):
    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]
    usage: Usage


class Delta(BaseModel):
    """What is new. What is not is left out."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None

    @model_serializer(mode="wrap")
    def _new(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class ChunkChoice(BaseModel):
    index: int = 0
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: Finish | None = None


class ChatChunk(_Answer):
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChunkChoice]
    usage: Usage | None = None


class TextLogprobs(BaseModel):
    """Lists of one length: a place for each token that was written."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(BaseModel):
    index: int = 0
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Finish | None = None


class TextCompletion(_Answer):
    """Also a chunk of a stream, where it has no usage but at the end."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[TextChoice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "rrwkv"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]
