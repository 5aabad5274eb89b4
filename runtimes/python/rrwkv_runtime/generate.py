"""Text generation: a prompt in, a stream of small frozen `Token` records out. `Reply` is the engine; chat shares it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Unpack

import numpy as np

from rrwkv_runtime.common.checks import check_ids, check_max_tokens, check_top_logprobs
from rrwkv_runtime.errors import InputError, NoTokens, TokenizerError
from rrwkv_runtime.sampling import Sampler, Sampling, SamplingOptions, likeliest, log_probability
from rrwkv_runtime.text.stopping import StopStrings, check_stops

if TYPE_CHECKING:
    from rrwkv_runtime.execution.decoder import Decoder, Progress
    from rrwkv_runtime.manifest import Manifest
    from rrwkv_runtime.state import State
    from rrwkv_runtime.tokenizer import Tokenizer


class LanguageModel(Protocol):
    """What generation asks of a model: `rrwkv_runtime.model.Model` is one."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def tokenizer(self) -> Tokenizer | None: ...

    def decoder(self, state: State | None = None) -> Decoder: ...


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token.

    text: what may be shown now: whole characters, without stop strings; often not exactly this token's own text, since
    an unfinished character or the possible start of a stop string waits. logprob: natural logarithm of the token's
    probability under the model itself, before any sampling option. index: from 0. finish: None until the last token,
    then "stop" (a stop string or stop id), "length" (max_tokens) or "eos" (the model's end token). top: (id, logprob)
    of the likeliest tokens in its place, as many as `top_logprobs` asked for. thought: in a `Chat`, what may be shown
    of the model's thought, which comes before `text`.
    """

    id: int
    text: str
    logprob: float
    index: int
    finish: str | None = None
    top: tuple[tuple[int, float], ...] = ()
    thought: str = ""


@dataclass(frozen=True)
class Timing:
    """What was computed, and the seconds it took."""

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    generated_tokens: int = 0
    generated_seconds: float = 0.0

    @property
    def prompt_rate(self) -> float:
        """Prompt tokens per second; 0 before any."""
        return self.prompt_tokens / self.prompt_seconds if self.prompt_seconds else 0.0

    @property
    def generated_rate(self) -> float:
        """Generated tokens per second; 0 before any."""
        return self.generated_tokens / self.generated_seconds if self.generated_seconds else 0.0

    def __str__(self) -> str:
        return (
            f"read {self.prompt_tokens} tokens in {self.prompt_seconds:.2f} s ({self.prompt_rate:.1f}/s), "
            f"wrote {self.generated_tokens} in {self.generated_seconds:.2f} s ({self.generated_rate:.1f}/s)"
        )

    def __add__(self, other: Timing) -> Timing:
        return Timing(
            self.prompt_tokens + other.prompt_tokens,
            self.prompt_seconds + other.prompt_seconds,
            self.generated_tokens + other.generated_tokens,
            self.generated_seconds + other.generated_seconds,
        )


def generate(
    model: LanguageModel,
    prompt: str | Sequence[int],
    *,
    state: State | None = None,
    max_tokens: int | None = 256,
    seed: int | None = None,
    stop: str | Iterable[str] = (),
    stop_ids: Iterable[int] = (),
    ignore_eos: bool = False,
    special: bool = False,
    top_logprobs: int = 0,
    progress: Progress | None = None,
    **sampling: Unpack[SamplingOptions],
) -> Iterator[Token]:
    """Continue a prompt; arguments are checked at once, the model runs as tokens are taken.

    prompt      text, or token ids; an empty one means the bundle's beginning token
    state       what came before the prompt; left as it was
    max_tokens  None goes on until something else stops it, in constant memory
    stop        strings that end the text and are not part of it; special tokens are found in them, though never shown
    stop_ids    token ids likewise
    ignore_eos  let the end token be a token like any other
    top_logprobs  how many of the likeliest tokens each Token lists; they cost a little time
    special     special tokens written out in the prompt are tokens; else they are text like any other
    progress    called as progress(done, total) while the prompt is read; returning False raises Cancelled
    sampling    the fields of `Sampling`, with its defaults

    Without a tokenizer the prompt must be ids, and each text is "". Raises InputError, TokenizerError, Cancelled.
    """
    ids = prompt_ids(model, prompt, fresh=state is None, special=special)
    stops = check_stops(stop, model.tokenizer)
    max_tokens = check_max_tokens(max_tokens)
    ending = set(check_ids(stop_ids, model.manifest.vocab_size, "stop_ids").tolist())
    eos = frozenset() if ignore_eos else model.manifest.chat.eos_token_ids
    top_logprobs = check_top_logprobs(top_logprobs)
    sampler = Sampler(Sampling(**sampling), seed)

    def run() -> Iterator[Token]:
        decoder = model.decoder(state)
        logits = decoder.prefill(ids, progress)
        yield from Reply(
            decoder, logits, sampler, model.tokenizer, ids, max_tokens, StopStrings(stops), ending, eos, top_logprobs
        )

    return run()


def prompt_ids(model: LanguageModel, prompt: str | Sequence[int], fresh: bool, special: bool = False) -> list[int]:
    """The prompt as ids, at least one. fresh: nothing came before it. Raises InputError or TokenizerError."""
    if isinstance(prompt, str):
        if model.tokenizer is None:
            raise TokenizerError("this bundle has no tokenizer; give the prompt as token ids (--ids)")
        try:
            ids = model.tokenizer.encode(prompt, special)
        except NoTokens:
            raise NoTokens("write it otherwise, or give the prompt as token ids (--ids)") from None
    else:
        ids = check_ids(prompt, model.manifest.vocab_size).tolist()
    bos = model.manifest.chat.bos_token_id
    if not ids and fresh and bos is not None:
        return [bos]
    if not ids:
        raise InputError(
            "the prompt is empty, and the bundle names no beginning token to start from; give some text or token ids"
        )
    return ids


class Reply:
    """One run of generation over a decoder, as an iterator of Tokens.

    A token is fed to the decoder only when the next one is asked for. So after the last Token, or where the iteration
    was left at a Token, `pending` is the one that the decoder has not seen yet; None if that is an end or stop id.
    """

    def __init__(
        self,
        decoder: Decoder,
        logits: np.ndarray,
        sampler: Sampler,
        tokenizer: Tokenizer | None,
        after: Sequence[int] = (),
        max_tokens: int | None = None,
        stops: StopStrings | None = None,
        stop_ids: Collection[int] = (),
        eos: Collection[int] = (),
        top: int = 0,
    ) -> None:
        """logits: [V] float32, what `decoder.prefill` gave. tokenizer: None where there is none.

        after: ids that the text goes on from. stops, stop_ids, eos: what ends a text. top: how many of the likeliest
        tokens to list.
        """
        self._decoder, self._logits, self._sampler = decoder, logits, sampler
        self._stream = tokenizer.stream(after=after) if tokenizer else None
        self._hidden: Mapping[int, str] = tokenizer.special if tokenizer else {}
        self._stops = stops or StopStrings(())
        self._max_tokens, self._stop_ids, self._eos = max_tokens, stop_ids, eos
        self._cut, self._top = False, top
        self.pending: int | None = None

    @property
    def matched(self) -> str | None:
        """The stop string that was found."""
        return self._stops.matched

    @property
    def rest(self) -> str:
        """What the last token wrote after it."""
        return self._stops.rest

    @property
    def whole(self) -> bool:
        """Whether the text of all Tokens is that of all ids fed or pending: nothing held, cut or replaced."""
        held = self._stops.held or (self._stream is not None and self._stream.pending)
        return not (self._cut or held or self._stops.cut)

    def ended_with(self, ends: Iterable[str]) -> str | None:
        """That of the `ends` whose end is the end of the ids' text and of the stop string found, which lies in it.

        They are among what the stop strings `remember`.
        """
        if self.matched is None or self.rest or (self._stream is not None and self._stream.pending):
            return None
        found = (end for end in ends if self._stops.tail.endswith(end) and len(self.matched) <= len(end))
        return max(found, key=len, default=None)

    def __iter__(self) -> Iterator[Token]:
        logits = self._logits
        for index in itertools.count():
            self.pending = token_id = self._sampler.sample(logits)
            self._sampler.accept(token_id)
            text, finish = self._text(token_id, index)
            top = tuple(likeliest(logits, self._top))
            yield Token(token_id, text, log_probability(logits, token_id), index, finish, top)
            if finish:
                return
            logits = self._decoder.step(token_id)

    def _text(self, token_id: int, index: int) -> tuple[str, str | None]:
        """What may be shown with this token, and why it is the last one, if it is."""
        if token_id in self._eos or token_id in self._stop_ids:
            self.pending = None
            return self._rest(), "eos" if token_id in self._eos else "stop"
        text = self._stops.push(self._stream.push(token_id), self._hidden.get(token_id, "")) if self._stream else ""
        if self._stops.matched is not None:
            return text, "stop"
        if index + 1 == self._max_tokens:
            return text + self._rest(), "length"
        return text, None

    def _rest(self) -> str:
        if self._stream is None:
            return ""
        self._cut = self._stream.pending
        return self._stops.push(self._stream.flush()) + self._stops.flush()
