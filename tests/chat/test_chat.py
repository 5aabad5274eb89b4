import itertools

import pytest
from fakes import EOS, TOKENIZER, FakeModel
from hypothesis import given, settings
from hypothesis import strategies as st

from rrwkv_runtime.chat import UNDO_TURNS, Chat
from rrwkv_runtime.errors import Cancelled, InputError, RRWKVError, StateError, TokenizerError

ASSISTANT = TOKENIZER.encode("Assistant:")
POOL = [*TOKENIZER.encode(" Yes\n no.\n\n"), 384, 199, 221, *TOKENIZER.encode("日🎉"), EOS]
END = TOKENIZER.encode("\n\nUser")[:2]


class Actor(FakeModel):
    """Answers the n-th reply it is asked for with the n-th script, then with its end token."""

    def __init__(self, *scripts, **chat):
        super().__init__(self._line, **chat)
        self.scripts, self.interrupt_at, self.allowed = [list(s) for s in scripts], None, None

    def load_state(self, path, allow_other_quantization=False):
        self.allowed = allow_other_quantization
        return super().load_state(path)

    def _line(self, ids):
        start = max((i for i in range(len(ids)) if ids[i - 1 : i + 1] == ASSISTANT), default=None)
        if start is None:
            return EOS
        said = len(ids) - start - 1
        if said and said == self.interrupt_at:
            self.interrupt_at = None
            raise KeyboardInterrupt
        asked = len([i for i in range(len(ids)) if ids[i - 1 : i + 1] == ASSISTANT])
        script = self.scripts[asked - 1] if asked <= len(self.scripts) else []
        return script[said] if said < len(script) else EOS


def words(*texts):
    return Actor(*[TOKENIZER.encode(text) for text in texts])


def say(chat, text, **options):
    return "".join(token.text for token in chat.send(text, **options))


def written(chat):
    return TOKENIZER.decode(chat._state)


def assert_canonical(chat):
    """The state's text is the turns in the chat format, `turn_end` exactly once after each reply, and no end token."""
    assert chat._state.count(EOS) == 1  # the beginning token has the same id
    parts = written(chat).split("\n\n")
    assert parts.pop() == ""
    assert len(parts) == 2 * len(chat.turns)
    for (user, reply), said, answered in zip(chat.turns, parts[::2], parts[1::2], strict=True):
        assert said == f"User: {user}"
        assert answered.removeprefix("Assistant:").strip() == reply


def test_a_turn_costs_only_its_new_tokens():
    chat = Chat(words(" Hello!\n\n", " Fine.\n\n"))
    assert say(chat, "hi") == "Hello!"
    first = chat.position
    assert say(chat, "how are you?") == "Fine."
    assert chat.turns == [("hi", "Hello!"), ("how are you?", "Fine.")]
    assert chat.stats.last.prompt_tokens < first
    assert written(chat) == "User: hi\n\nAssistant: Hello!\n\nUser: how are you?\n\nAssistant: Fine.\n\n"
    assert chat._state[0] == 0


script = st.lists(st.sampled_from(POOL), max_size=8)
turn = st.tuples(st.text("a \n日", min_size=1).filter(str.strip), script, st.integers(1, 9), st.sampled_from("cki"))


@given(st.lists(turn, max_size=4), st.integers(1, 8))
@settings(max_examples=300)
def test_after_every_turn_the_state_is_that_of_the_canonical_text(turns, max_tokens):
    actor = Actor(*[script for _, script, _, _ in turns])
    chat = Chat(actor, max_tokens=max_tokens)
    for user, _, left_at, how in turns:
        actor.interrupt_at = left_at if how == "k" else None
        reply = chat.send(user)
        try:
            for _ in itertools.islice(reply, left_at if how == "c" else None):
                pass
            reply.close()
        except KeyboardInterrupt:
            pass
        actor.interrupt_at = None
        assert_canonical(chat)


@given(script)
def test_a_reply_ended_by_the_model_keeps_its_own_tokens(body):
    script = [t for t in body if t != EOS] + END
    chat = Chat(Actor(script))
    tokens = [token.id for token in chat.send("hi")]
    prefix = [0, *TOKENIZER.encode("User: hi\n\nAssistant:")]
    if TOKENIZER.decode(tokens).index("\n\n") == len(TOKENIZER.decode(tokens)) - 2:
        assert list(chat._state) == prefix + tokens


@pytest.mark.parametrize(
    ("script", "max_tokens", "reply"),
    [
        (" Hello\n\n", 99, "Hello"),
        (" Hello\n\n\n", 99, "Hello"),
        (" Hello", 99, "Hello"),
        (" Hello\n", 99, "Hello"),
        (" Hello there my friend\n\n", 2, "Hello there"),
        (" 🎆", 4, ""),
        ("\n\n", 99, ""),
        ("", 99, ""),
    ],
)
def test_however_a_reply_ends_turn_end_comes_once(script, max_tokens, reply):
    chat = Chat(words(script), max_tokens=max_tokens)
    say(chat, "hi")
    assert chat.turns == [("hi", reply)]
    assert_canonical(chat)


def test_the_turn_is_complete_at_the_last_token():
    chat = Chat(words(" Hello\n\n"))
    reply = chat.send("hi")
    while next(reply).finish is None:
        assert chat.turns == []
    assert chat.turns == [("hi", "Hello")]
    assert_canonical(chat)


def test_a_reply_left_open_is_closed_by_what_comes_next():
    chat = Chat(words(" One two three\n\n", " Four\n\n"))
    reply = chat.send("hi")
    next(reply)
    say(chat, "and?")
    assert chat.turns == [("hi", "One"), ("and?", "Four")]
    assert list(reply) == []
    assert_canonical(chat)


def test_an_error_in_the_middle_leaves_the_conversation_as_it_was():
    chat = Chat(words(" Hello\n\n"))
    say(chat, "hi")
    before = chat._state
    chat._model.think = lambda ids: 1 / 0
    with pytest.raises(ZeroDivisionError):
        say(chat, "again")
    with pytest.raises(Cancelled):
        say(chat, "again", progress=lambda done, total: False)
    assert (chat._state, len(chat.turns)) == (before, 1)


def test_user_text_cannot_end_its_turn():
    chat = Chat(words(" a\n\n", " b\n\n"))
    say(chat, "  one\r\n\r\n \t\n  two\n\n\nBot: x \n")
    assert chat.turns == [("one\n  two\nBot: x", "a")]
    for text in ("", " \n\n "):
        with pytest.raises(InputError, match="the message is empty"):
            chat.send(text)
    with pytest.raises(InputError, match="lone surrogate"):
        chat.send("\ud800")


@pytest.mark.parametrize(("end", "text"), [("<|im_end|>", "a\nb"), ("\n", "a b"), ("\n\n\n", "a\nb")])
def test_other_turn_ends_are_kept_out_as_well(end, text):
    chat = Chat(Actor(turn_end=end))
    assert chat._normalise(f"a{end}b{end}") == text


def test_undo_goes_back_at_once():
    chat = Chat(words(" One\n\n", " Two\n\n"))
    say(chat, "first")
    state = chat._state
    say(chat, "second")
    assert chat.undo() == "second"
    assert (chat._state, chat.turns) == (state, [("first", "One")])
    chat.undo()
    assert (chat.position, chat.turns) == (0, [])
    with pytest.raises(InputError, match="no turn to go back to"):
        chat.undo()


def test_undo_reaches_back_a_bounded_number_of_turns():
    chat = Chat(words())
    for n in range(UNDO_TURNS + 3):
        say(chat, str(n))
    for _ in range(UNDO_TURNS):
        chat.undo()
    with pytest.raises(InputError, match="too long ago"):
        chat.undo()
    assert len(chat.turns) == 3


def test_retry_answers_anew_from_the_same_state():
    chat = Chat(words(" One\n\n", " Two\n\n"))
    say(chat, "first")
    say(chat, "second")
    state = chat._state
    chat._model.scripts[1] = TOKENIZER.encode(" Better\n\n")
    assert "".join(token.text for token in chat.retry()) == "Better"
    assert chat.turns == [("first", "One"), ("second", "Better")]
    assert chat._state != state
    assert_canonical(chat)


def test_a_cancelled_retry_leaves_the_old_reply():
    chat = Chat(words(" One\n\n"))
    say(chat, "first")
    with pytest.raises(Cancelled):
        next(chat.retry(lambda done, total: False))
    assert chat.turns == [("first", "One")]


def test_system_text_comes_first_and_survives_reset():
    chat = Chat(words(" One\n\n"), system="Be\n\nbrief.")
    say(chat, "hi")
    assert written(chat) == "Be\n\nbrief.\n\nUser: hi\n\nAssistant: One\n\n"
    chat.reset()
    assert (chat.system, chat.turns, chat.position) == ("Be\n\nbrief.", [], 0)
    chat.reset("")
    say(chat, "hi")
    assert written(chat).startswith("User: hi")


def test_a_saved_conversation_goes_on(tmp_path):
    chat = Chat(words(" One\n\n", " Two\n\n"))
    say(chat, "first")
    chat.save(tmp_path / "state")
    other = Chat(chat._model)
    other.load(tmp_path / "state", allow_other_quantization=True)
    assert chat._model.allowed is True
    say(other, "second")
    assert written(other).count("User:") == 2
    assert other.turns == [("second", "Two")]
    with pytest.raises(StateError):
        other.load(tmp_path / "none")


def test_sampling_is_the_bundles_preference_then_the_callers():
    model = Actor(sampling={"temperature": 0.8, "top_k": 40.0})
    assert Chat(model).sampling.temperature == 0.8
    assert Chat(model, temperature=0.1).sampling.changed({}) == Chat(model, temperature=0.1, top_k=40).sampling
    with pytest.raises(InputError, match="unknown sampling option"):
        Chat(Actor(sampling={"warmth": 1.0}))


def test_stats_count_last_and_total():
    chat = Chat(words(" One\n\n", " Two\n\n"))
    say(chat, "first")
    first = chat.stats.last
    say(chat, "second")
    assert chat.stats.total.generated_tokens == first.generated_tokens + chat.stats.last.generated_tokens
    assert chat.stats.total.prompt_tokens == first.prompt_tokens + chat.stats.last.prompt_tokens


def test_a_chat_needs_a_tokenizer_and_valid_options():
    with pytest.raises(TokenizerError, match="no tokenizer"):
        Chat(FakeModel(None, tokenizer=None))
    for options in ({"max_tokens": 0}, {"seed": -1}, {"top_p": 7}):
        with pytest.raises(RRWKVError):
            Chat(Actor(), **options)


class Recorded:
    """A real model whose decoders note what they were fed, so that it can be fed again in one go."""

    def __init__(self, model):
        self.model, self.fed = model, {}

    def __getattr__(self, name):
        return getattr(self.model, name)

    def decoder(self, state=None):
        return RecordedDecoder(self, self.model.decoder(state), self.fed.get(id(state), []))


class RecordedDecoder:
    def __init__(self, owner, decoder, ids):
        self.owner, self.decoder, self.ids = owner, decoder, list(ids)

    def prefill(self, ids, progress=None):
        self.ids += ids
        return self.decoder.prefill(ids, progress)

    def step(self, token_id):
        self.ids.append(token_id)
        return self.decoder.step(token_id)

    def state(self):
        state = self.decoder.state()
        self.owner.fed[id(state)] = list(self.ids)
        self.owner.fed[id(state), "alive"] = state
        return state


@pytest.mark.parametrize("left_at", [None, 1, 3])
def test_the_demo_state_is_that_of_the_text(demo_model, left_at):
    model = Recorded(demo_model)
    chat = Chat(model, seed=3, max_tokens=24)
    for text in ("Hello!", "What do you like?\n\nTell me.", "Why?"):
        reply = chat.send(text)
        list(itertools.islice(reply, left_at))
        reply.close()
    fed = model.fed[id(chat._state)]
    again = demo_model.decoder()
    again.prefill(fed)
    assert demo_model.tokenizer.decode(fed).count("\n\n") == 6
    for name, value in again.state().values.items():
        assert abs(value - chat._state.values[name]).max() <= 1e-3 * max(1, abs(value).max()), name
