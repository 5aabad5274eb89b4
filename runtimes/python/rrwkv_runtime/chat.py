"""A conversation that lives in the model's state, so that a turn costs its new tokens only, however long the talk.

Written in the bundle's chat format (`ChatFormat`): {bos}{user}{text}{turn_end}{assistant}, to which the model answers
` reply{turn_end}`. After every turn the state is that of exactly this text, `turn_end` once after each reply, whether
the model ended the reply itself or was stopped. A thought that a reply begins with is not part of this text, unless
the format keeps thoughts: the state is then set back to before the reply, and the answer read without it.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Literal, Unpack, get_args

from rrwkv_runtime.common.checks import check_max_tokens
from rrwkv_runtime.draft import Draft, Turn
from rrwkv_runtime.errors import InputError, NoTokens, TokenizerError
from rrwkv_runtime.generate import Reply, Timing, Token
from rrwkv_runtime.manifest import Thinking
from rrwkv_runtime.sampling import Sampler, Sampling, SamplingOptions, generator
from rrwkv_runtime.text.dialogue import Dialogue, tidied
from rrwkv_runtime.text.stopping import StopStrings, written_text
from rrwkv_runtime.text.thinking import ThoughtAndAnswer

if TYPE_CHECKING:
    from rrwkv_runtime.execution.decoder import Progress
    from rrwkv_runtime.model import Model
    from rrwkv_runtime.state import State

UNDO_TURNS = 64
Think = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class Stats:
    """Timing of the last turn, and of all turns of this Chat, undone ones included."""

    last: Timing = field(default_factory=Timing)
    total: Timing = field(default_factory=Timing)


class Chat:
    """A conversation with a model that has a tokenizer.

    system      text put before the first turn, as it is: it may hold examples of turns, and special tokens in it are
                tokens, so it should be the program's own text and not that of the people who talk
    special     special tokens in what users say are tokens too; else they are text like any other
    think       "on": the model is made to think before it answers, in the format's words or, where that has none, in
                RWKV's usual ones; "off": made not to; "auto": as it comes
    max_tokens  most tokens of a reply, its thought included; None for no limit
    seed        of one random stream for the whole conversation; setting it starts the stream again
    sampling    fields of `Sampling`; what is not given is the bundle's preference, then `Sampling`'s default

    `sampling`, `think`, `max_tokens` and `seed` may be set between turns. Raises TokenizerError, InputError.
    """

    def __init__(
        self,
        model: Model,
        *,
        system: str | None = None,
        special: bool = False,
        think: Think = "auto",
        max_tokens: int | None = 512,
        seed: int | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> None:
        if model.tokenizer is None:
            raise TokenizerError("this bundle has no tokenizer, and a chat needs one; export it with its tokenizer")
        self._model, self._tokenizer, self._format = model, model.tokenizer, model.manifest.chat
        self.sampling = Sampling().changed({**self._format.sampling, **sampling})
        self.think = think
        self.max_tokens = max_tokens
        self.seed = seed
        self.stats = Stats()
        try:
            self._dialogue = Dialogue(self._tokenizer, self._format, special)
        except NoTokens:
            raise NoTokens("it is the chat format's: export with --chat and a chat.json in words that it has") from None
        self._active: weakref.ref[Generator[Token, None, None]] | None = None
        self._turns: list[Turn] = []
        self.system = ""
        self.reset(system)

    @property
    def think(self) -> Think:
        return self._think

    @think.setter
    def think(self, value: Think) -> None:
        if value not in get_args(Think):
            raise InputError(f"think must be auto, on or off, not {value!r}")
        self._think = value

    @property
    def max_tokens(self) -> int | None:
        return self._max_tokens

    @max_tokens.setter
    def max_tokens(self, value: int | None) -> None:
        self._max_tokens = check_max_tokens(value)

    @property
    def seed(self) -> int | None:
        return self._seed

    @seed.setter
    def seed(self, value: int | None) -> None:
        self._random, self._seed = generator(value), value

    @property
    def turns(self) -> list[tuple[str, str]]:
        """(user text, reply) of each turn since the start, the last reset or the last load."""
        return [(turn.user, turn.reply) for turn in self._turns]

    @property
    def position(self) -> int:
        """Tokens in the conversation's state."""
        return self._state.position

    def send(self, text: str, progress: Progress | None = None) -> Generator[Token, None, None]:
        """Say something and stream the reply; the turn is part of the conversation once its last Token is out.

        A thought comes in the tokens' `thought`, and is no part of the reply that `turns` has.

        Blank lines in the text become line breaks, since a blank line ends a turn in the usual format. Closing the
        iterator, or KeyboardInterrupt within it, ends the reply: what there is of it stays as the turn. Any other
        error, or an interrupt before the reply's first token, leaves the conversation as it was. A reply still open is
        closed.
        progress: as in `generate`. Raises InputError, Cancelled.
        """
        self._settle()
        return self._start(text, self._state, self._turns, progress)

    def retry(self, progress: Progress | None = None) -> Generator[Token, None, None]:
        """Answer the last user text anew, with fresh random draws; until that is done, the old reply stands."""
        turn, before = self._last()
        return self._start(turn.user, before, self._turns[:-1], progress)

    def undo(self) -> str:
        """Go back to before the last turn, at once; gives its user text. Reaches back 64 turns (UNDO_TURNS)."""
        turn, before = self._last()
        self._state, self._turns = before, self._turns[:-1]
        return turn.user

    def reset(self, system: str | None = None) -> None:
        """Start anew; system None keeps the present one, "" removes it."""
        self._settle()
        self.system = self.system if system is None else tidied(system)
        self._state, self._turns = self._model.initial_state(), []

    def save(self, path: str | Path) -> None:
        """Write the state, from which `load` continues. Raises StateError, OSError."""
        self._settle()
        self._state.save(Path(path))

    def load(self, path: str | Path, allow_other_quantization: bool = False) -> None:
        """Continue from a saved state; the turns before it cannot be shown or undone. Raises StateError, OSError."""
        self._settle()
        self._state, self._turns = self._model.load_state(Path(path), allow_other_quantization), []

    def _settle(self) -> None:
        reply = self._active() if self._active else None
        if reply is not None:
            reply.close()

    def _last(self) -> tuple[Turn, State]:
        self._settle()
        if not self._turns:
            raise InputError("there is no turn to go back to")
        turn = self._turns[-1]
        if turn.before is None:
            raise InputError(f"that turn is too long ago; the last {UNDO_TURNS} turns can be undone")
        return turn, turn.before

    def _start(
        self, text: str, before: State, base: list[Turn], progress: Progress | None
    ) -> Generator[Token, None, None]:
        user = self._normalise(text)
        if not user:
            raise InputError("the message is empty")
        ids = self._user_ids(user, first=before.position == 0)
        reply = self._generate(user, ids, before, base, progress)
        self._active = weakref.ref(reply)
        return reply

    def _generate(
        self, user: str, ids: list[int], before: State, base: list[Turn], progress: Progress | None
    ) -> Generator[Token, None, None]:
        """One turn. It works on a decoder of its own, so that giving up at any point changes nothing."""
        decoder = self._model.decoder(before)
        started = perf_counter()
        logits = decoder.prefill(ids, progress)
        prefix, (thinking, begun) = decoder.state(), self._begun()
        if opening := self._dialogue.begun(begun) if begun else []:
            logits = decoder.prefill(opening)
        kept = thinking is not None and thinking.kept
        if opening and kept:
            prefix = decoder.state()
        timing = Timing(len(ids) + len(opening), perf_counter() - started)
        dialogue, sampler, eos = self._dialogue, Sampler(self.sampling, self._random), self._format.eos_token_ids
        stops = (
            ThoughtAndAnswer(thinking, begun, dialogue.stops, dialogue.within, dialogue.ends)
            if thinking
            else StopStrings(dialogue.stops, dialogue.ends)
        )
        reply = Reply(decoder, logits, sampler, self._tokenizer, [*ids, *opening], self.max_tokens, stops, (), eos)
        draft = Draft(user, before, base, decoder, prefix, reply, stops, kept, timing)
        try:
            yield from self._stream(draft)
        except (GeneratorExit, KeyboardInterrupt) as reason:
            draft.certain = draft.certain and isinstance(reason, GeneratorExit)
            if draft.open:
                self._close(draft)
            raise

    def _begun(self) -> tuple[Thinking | None, str]:
        """How a thought is told, if there may be one, and what the reply is made to begin with."""
        thinking = self._format.thinking or (Thinking() if self.think == "on" else None)
        if thinking is None or self.think == "auto":
            return thinking, ""
        return thinking, thinking.open if self.think == "on" else thinking.skip

    def _stream(self, draft: Draft) -> Generator[Token, None, None]:
        tokens = iter(draft.reply)
        while draft.open:
            started = perf_counter()
            token = next(tokens)
            draft.timing += Timing(0, 0.0, 1, perf_counter() - started)
            # The space between "Assistant:" and the reply belongs to the reply's first token, not to what is shown.
            shown = token.text.lstrip() if draft.blank else token.text
            draft.ids.append(token.id)
            draft.pieces.append(token.text)
            draft.blank = draft.blank and not shown
            if token.finish:
                self._close(draft)
            thought = draft.stops.take_thought() if isinstance(draft.stops, ThoughtAndAnswer) else ""
            yield replace(token, text=shown, thought=thought)

    def _close(self, draft: Draft) -> None:
        """End the turn with `turn_end`, feeding what the model has not written of it, and make it part of the chat."""
        decoder, whole = draft.decoder, draft.text
        ids, text = self._kept(draft) if draft.certain and not draft.drops else (None, "")
        if ids is None:
            text = whole.rstrip("\ufffd").rstrip()
            decoder = self._model.decoder(draft.prefix)
            ids = self._dialogue.answered(self._dialogue.led(text.lstrip()) if draft.drops else text)
        said = draft.answer[: max(0, len(draft.answer) - (len(whole) - len(text)))]
        draft.certain = False  # from here on, should an interrupt lead here again
        if ids:
            decoder.prefill(ids)
        turns = [*draft.base, Turn(draft.user, said.strip(), draft.before)]
        if len(turns) > UNDO_TURNS:
            turns[-UNDO_TURNS - 1] = replace(turns[-UNDO_TURNS - 1], before=None)
        self._state, self._turns = decoder.state(), turns
        self.stats = Stats(draft.timing, self.stats.total + draft.timing)
        draft.open = False

    def _kept(self, draft: Draft) -> tuple[list[int] | None, str]:
        """What is to be fed after the model's own tokens, None if they cannot stay, and the reply's text."""
        reply, text = draft.reply, draft.text
        pending = [] if reply.pending is None else [reply.pending]
        if end := reply.ended_with(self._dialogue.ends):
            return pending, text.removesuffix(end.removesuffix(reply.matched or ""))
        begun = self._dialogue.begun_turn_end(draft.ids if pending else draft.ids[:-1])
        written = written_text(begun, self._tokenizer)
        beyond = reply.matched is not None and (reply.rest or len(reply.matched) > len(written))
        if beyond or not reply.whole or text != text.rstrip():
            return None, text
        text = text.removesuffix(self._tokenizer.decode(begun))
        return [*pending, *self._dialogue.turn_end_ids[len(begun) :]], text

    def _user_ids(self, user: str, first: bool) -> list[int]:
        return [*(self._dialogue.opening(self.system) if first else ()), *self._dialogue.asked(user)]

    def _normalise(self, text: str) -> str:
        return self._dialogue.normalised(text)
