"""What OpenAI's clients may ask for. What would change an answer and cannot be done is refused, not left out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MOST_LOGPROBS, _MOST_STOPS, _LONGEST_STOP = 20, 16, 1024
_INT64 = 2**63

Stop = Annotated[str, Field(min_length=1, max_length=_LONGEST_STOP)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Bias = Annotated[float, Field(ge=-100, le=100)]


def _only(*allowed: Any) -> Any:
    """Of a parameter that asks for what is not done here: the values that ask for nothing."""

    def check(cls: Any, value: Any) -> Any:
        if value not in (None, *allowed):
            known = " or ".join(repr(one) for one in allowed)
            raise ValueError("not supported here; leave it out" + (f", or give {known}" if known else ""))
        return value

    return classmethod(check)


class StreamOptions(BaseModel):
    """include_usage: a last chunk with how many tokens there were."""

    model_config = ConfigDict(extra="forbid", strict=True)
    include_usage: bool | None = False
    include_obfuscation: bool | None = Field(False, description="Taken; nothing is padded.")


class _Request(BaseModel):
    """What both endpoints take. top_k, min_p and repetition_penalty are not OpenAI's; other servers have them too."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str = Field(max_length=512, description="A name that /v1/models lists.")
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, lt=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, ge=0.01, le=100)
    logit_bias: dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Bias] | None = Field(None, max_length=4096)
    seed: int | None = Field(None, ge=-_INT64, lt=_INT64)
    stop: Stop | Annotated[list[Stop], Field(max_length=_MOST_STOPS)] | None = None
    max_tokens: int | None = Field(None, ge=1)
    n: int | None = Field(1, description="1 alone; send the request again for another reply, its prompt is kept.")
    user: str | None = Field(None, description="Taken and not used.")

    _one = field_validator("n")(_only(1))

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def sampling(self) -> dict[str, Any]:
        """The options of `Sampling` that were given."""
        names = ("temperature", "top_p", "top_k", "min_p")
        penalties = ("presence_penalty", "frequency_penalty", "repetition_penalty")
        given = {name: getattr(self, name) for name in (*names, *penalties)}
        given["logit_bias"] = {int(token_id): bias for token_id, bias in (self.logit_bias or {}).items()} or None
        return {name: value for name, value in given.items() if value is not None}


class CompletionRequest(_Request):
    """A text to be continued, or its token ids."""

    prompt: Annotated[str, Field(min_length=1)] | Annotated[list[TokenId], Field(min_length=1)] = Field(
        description="One text, or one list of token ids."
    )
    logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    echo: bool | None = False
    suffix: str | None = None
    best_of: int | None = 1

    _no_echo = field_validator("echo")(_only(False))
    _no_suffix = field_validator("suffix")(_only(""))
    _best = field_validator("best_of")(_only(1))


class TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A turn. A developer's is a system's. A thought that comes back is not read again."""

    model_config = ConfigDict(extra="forbid", strict=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    name: str | None = Field(None, description="Taken and not used.")
    reasoning_content: str | None = Field(None, description="Taken and not used.")
    refusal: None = None
    audio: None = None
    annotations: list[Any] | None = Field(None, max_length=0)
    tool_calls: list[Any] | None = Field(None, max_length=0)
    function_call: None = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())


class ResponseFormat(BaseModel):
    """Text alone: nothing here holds a model to a form."""

    model_config = ConfigDict(extra="forbid", strict=True)
    type: Literal["text"]


class ChatRequest(_Request):
    """A dialogue that the model is to answer."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = Field(
        None, description="none: it answers at once; any other: it thinks first; left out: as it comes."
    )
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None
    tools: list[Any] | None = Field(None, max_length=0)
    functions: list[Any] | None = Field(None, max_length=0)
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = Field(None, description="Taken and not used.")
    metadata: dict[str, str] | None = Field(None, description="Taken and not used.")
    store: bool | None = False
    service_tier: str | None = Field(None, description="Taken and not used.")
    safety_identifier: str | None = Field(None, description="Taken and not used.")
    prompt_cache_key: str | None = Field(None, description="Taken and not used: every prefix is found by its tokens.")

    _no_store = field_validator("store")(_only(False))
