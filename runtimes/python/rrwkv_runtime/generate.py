"""Text generation: a prompt in, a stream of small frozen `Token` records out. `Reply` is the engine; chat shares it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np

from rrwkv_runtime.checks import check_ids, check_max_tokens
from rrwkv_runtime.errors import InputError, TokenizerError
from rrwkv_runtime.sampling import Sampler, Sampling, SamplingOptions, log_probability

if TYPE_CHECKING:
    from rrwkv_runtime.decoder import Decoder, Progress
    from rrwkv_runtime.session import Model
    from rrwkv_runtime.state import State
    from rrwkv_runtime.text import TextStream, Tokenizer


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token.

    text: what may be shown now: whole characters, without stop strings; often not exactly this token's own text, since
    an unfinished character or the possible start of a stop string waits. logprob: natural logarithm of the token's
    probability under the model itself, before any sampling option. index: from 0. finish: None until the last token,
    then "stop" (a stop string or stop id), "length" (max_tokens) or "eos" (the model's end token).
    """

    id: int
    text: str
    logprob: float
    index: int
    finish: str | None = None


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
    model: Model,
    prompt: str | Sequence[int],
    *,
    state: State | None = None,
    max_tokens: int | None = 256,
    seed: int | None = None,
    stop: str | Iterable[str] = (),
    stop_ids: Iterable[int] = (),
    ignore_eos: bool = False,
    progress: Progress | None = None,
    **sampling: Unpack[SamplingOptions],
) -> Iterator[Token]:
    """Continue a prompt; arguments are checked at once, the model runs as tokens are taken.

    prompt      text, or token ids; an empty one means the bundle's beginning token
    state       what came before the prompt; left as it was
    max_tokens  None goes on until something else stops it, in constant memory
    stop        strings that end the text and are not part of it
    stop_ids    token ids likewise
    ignore_eos  let the end token be a token like any other
    progress    called as progress(done, total) while the prompt is read; returning False raises Cancelled
    sampling    the fields of `Sampling`, with its defaults

    Without a tokenizer the prompt must be ids, and each text is "". Raises InputError, TokenizerError, Cancelled.
    """
    ids = prompt_ids(model, prompt, fresh=state is None)
    stops = check_stops(stop, model.tokenizer)
    max_tokens = check_max_tokens(max_tokens)
    ending = set(check_ids(stop_ids, model.manifest.vocab_size, "stop_ids").tolist())
    eos = frozenset() if ignore_eos else model.manifest.chat.eos_token_ids
    sampler = Sampler(Sampling(**sampling), seed)

    def run() -> Iterator[Token]:
        decoder = model.decoder(state)
        logits = decoder.prefill(ids, progress)
        stream = model.tokenizer.stream(after=ids) if model.tokenizer else None
        yield from Reply(decoder, logits, sampler, stream, max_tokens, stops, ending, eos)

    return run()


def prompt_ids(model: Model, prompt: str | Sequence[int], fresh: bool) -> list[int]:
    """The prompt as ids, at least one. fresh: nothing came before it. Raises InputError or TokenizerError."""
    if isinstance(prompt, str):
        if model.tokenizer is None:
            raise TokenizerError("this bundle has no tokenizer; give the prompt as token ids")
        ids = model.tokenizer.encode(prompt)
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


def check_stops(stop: str | Iterable[str], tokenizer: Tokenizer | None) -> tuple[str, ...]:
    """Raises InputError for an empty stop string, or any where there is no text to look for it in."""
    if isinstance(stop, str):
        stop = (stop,)
    stops = tuple(stop) if isinstance(stop, Iterable) else (stop,)
    if not all(isinstance(s, str) for s in stops):
        raise InputError(f"stop must be a string or several, not {stop!r}")
    if not all(stops):
        raise InputError("a stop string is empty; it would stop at once")
    if stops and tokenizer is None:
        raise InputError("stop strings need a tokenizer, and this bundle has none; use stop_ids")
    return stops


class StopStrings:
    """Lets text through up to the first stop string, however it is cut into pieces; O(longest stop) memory.

    matched: the stop string found. rest: text that came after it in the same piece.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops), default=0)
        self.held = ""
        self.matched: str | None = None
        self.rest = ""

    def push(self, piece: str) -> str:
        """Text that is certainly not part of a stop string."""
        text = self.held + piece
        found = [(text.index(stop), -len(stop), stop) for stop in self._stops if stop in text]
        if found:
            at, _, self.matched = min(found)
            self.held, self.rest = "", text[at + len(self.matched) :]
            return text[:at]
        held = min(len(text), max(self._longest - 1, 0))
        while held and not any(stop.startswith(text[-held:]) for stop in self._stops):
            held -= 1
        self.held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        held, self.held = self.held, ""
        return held


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
        stream: TextStream | None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        stop_ids: Collection[int] = (),
        eos: Collection[int] = (),
    ) -> None:
        """logits: [V] float32, what `decoder.prefill` gave. stream: None without a tokenizer. eos: what ends a text."""
        self._decoder, self._logits, self._sampler = decoder, logits, sampler
        self._stream, self._stops = stream, StopStrings(stop)
        self._max_tokens, self._stop_ids, self._eos = max_tokens, stop_ids, eos
        self._cut = False
        self.pending: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the text of all Tokens is that of all ids fed or pending: nothing held, cut or replaced."""
        held = self._stops.held or (self._stream is not None and self._stream.pending)
        return not (self._cut or held or self._stops.matched)

    def ended_with(self, stop: str) -> bool:
        """Whether the ids' text ends exactly where this stop string, the one that matched, ends."""
        after = self._stops.rest or (self._stream is not None and self._stream.pending)
        return self._stops.matched == stop and not after

    def __iter__(self) -> Iterator[Token]:
        logits = self._logits
        for index in itertools.count():
            self.pending = token_id = self._sampler.sample(logits)
            self._sampler.accept(token_id)
            text, finish = self._text(token_id, index)
            yield Token(token_id, text, log_probability(logits, token_id), index, finish)
            if finish:
                return
            logits = self._decoder.step(token_id)

    def _text(self, token_id: int, index: int) -> tuple[str, str | None]:
        """What may be shown with this token, and why it is the last one, if it is."""
        if token_id in self._eos or token_id in self._stop_ids:
            self.pending = None
            return self._rest(), "eos" if token_id in self._eos else "stop"
        text = self._stops.push(self._stream.push(token_id)) if self._stream else ""
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
