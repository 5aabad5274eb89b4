"""One request as a run of small steps, between which others have their turn: pieces of the prompt, then a token each.

States that are worth keeping go to the prefix cache: after the prompt's marks, every 512 tokens of it and its end, and
at the end of the reply, as far as a later prompt will repeat its tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rrwkv_runtime import Sampling, Token
from rrwkv_runtime.execution.decoder import Decoder
from rrwkv_runtime.generate import LanguageModel, Reply
from rrwkv_runtime.sampling import Sampler
from rrwkv_runtime.text.stopping import StopStrings
from rrwkv_runtime.text.thinking import ThoughtAndAnswer
from rrwkv_server.engine.prefix_cache import Prefix, PrefixCache
from rrwkv_server.engine.prompts import Prompt

PIECE = 64  # tokens of a prompt that are read before others have their turn
_STRIDE = 512  # tokens of a long prompt between states that are kept
_BACK, _BACKS = 16, 4  # tokens of a reply between states to go back to, and how many of them are held


@dataclass(frozen=True)
class Request:
    """What is to be generated.

    begun       ids that the reply is made to begin with: of a thought, or of none
    stops       makes what ends the reply
    repeated    of a chat: an answer's ids as a later prompt has them after this one's
    """

    prompt: Prompt
    sampling: Sampling
    seed: int | None
    max_tokens: int
    top_logprobs: int = 0
    begun: Sequence[int] = ()
    stops: Callable[[], StopStrings] = lambda: StopStrings(())
    repeated: Callable[[str], Sequence[int]] | None = None


@dataclass
class Counts:
    """Tokens of the prompt, how many of them were not read again; tokens written, how many of them in a thought."""

    prompt: int
    cached: int = 0
    written: int = 0
    thought: int = 0


class Generation:
    """A request over a model; to be iterated once. None stands for a step that wrote nothing."""

    def __init__(self, model: LanguageModel, prefixes: PrefixCache, request: Request) -> None:
        self._model, self._prefixes, self._request = model, prefixes, request
        self._seen = list(request.prompt.ids)
        self._back: deque[Prefix] = deque(maxlen=_BACKS)
        self.counts = Counts(len(request.prompt.ids) + len(request.begun))

    def __iter__(self) -> Iterator[Token | None]:
        decoder, logits = yield from self._read()
        yield from self._write(decoder, logits)

    def _read(self) -> Generator[None, None, tuple[Decoder, np.ndarray]]:
        """The prompt, from the longest beginning on whose state is kept."""
        request, ids = self._request, np.array(self._request.prompt.ids, np.int64)
        found = self._prefixes.longest(ids)
        decoder = self._model.decoder(found.state if found else None)
        done = len(found.tokens) if found else 0
        logits = np.empty(0, np.float32) if found is None or found.logits is None else found.logits
        self.counts.cached = done
        kept = {*request.prompt.marks, *range(_STRIDE, len(ids), _STRIDE), len(ids)}
        while done < len(ids):
            end = min(done + PIECE, *(place for place in kept if place > done))
            logits = decoder.prefill(ids[done:end])
            if end in kept:
                self._prefixes.keep(Prefix(ids[:end].copy(), decoder.state(), logits.copy()))
            done = end
            yield None
        if request.begun:
            logits = decoder.prefill(request.begun)
            self._seen += request.begun
            yield None
        return decoder, logits

    def _write(self, decoder: Decoder, logits: np.ndarray) -> Iterator[Token]:
        request, stops = self._request, self._request.stops()
        reply = Reply(
            *(decoder, logits, Sampler(request.sampling, request.seed), self._model.tokenizer, self._seen),
            *(request.max_tokens, stops, (), self._model.manifest.chat.eos_token_ids, request.top_logprobs),
        )
        answer = ""
        for token in reply:
            # The space between "Assistant:" and an answer belongs to its first token, not to what is shown.
            shown = token.text.lstrip() if request.repeated and not answer else token.text
            answer += shown
            thought, thinks = "", False
            if isinstance(stops, ThoughtAndAnswer):
                thought, thinks = stops.take_thought(), stops.thinks and not answer
            self.counts.written += 1
            self.counts.thought += thinks
            if token.finish:
                self._keep_reply(decoder, answer)
            yield replace(token, text=shown, thought=thought)
            self._before_step(decoder, token.id)

    def _before_step(self, decoder: Decoder, token_id: int) -> None:
        """Before the decoder sees this token of the reply: now and then the state is held, to go back to."""
        if self._request.repeated and (len(self._seen) - len(self._request.prompt.ids)) % _BACK == _BACK - 1:
            self._back.append(self._now(decoder))
        self._seen.append(token_id)

    def _keep_reply(self, decoder: Decoder, answer: str) -> None:
        """Keep the latest state whose tokens are the beginning of what a later prompt repeats.

        A tokenizer may divide the answer otherwise than the model did, and a later prompt has no thought. The last
        token is one that the decoder has not seen.
        """
        if self._request.repeated is None:
            self._prefixes.keep(self._now(decoder))
            return
        later = [*self._request.prompt.ids, *self._request.repeated(answer)]
        same = next((i for i, (a, b) in enumerate(zip(self._seen, later)) if a != b), min(len(self._seen), len(later)))
        if same == len(self._seen):
            self._prefixes.keep(self._now(decoder))
        elif fitting := [prefix for prefix in self._back if len(prefix.tokens) <= same]:
            self._prefixes.keep(fitting[-1])

    def _now(self, decoder: Decoder) -> Prefix:
        return Prefix(np.array(self._seen, np.int64), decoder.state())
