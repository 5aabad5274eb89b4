"""Stop strings of characters and of special tokens, and the state after what they stopped."""

import itertools

import pytest
from fakes import EOS, FakeModel, words_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from test_chat import Actor, say
from test_special_tokens import END, START, bytes_tokenizer

from rrwkv_runtime.chat import Chat
from rrwkv_runtime.generate import generate
from rrwkv_runtime.text.stopping import StopStrings, written_text

HIDDEN = bytes_tokenizer.special
A, B, BREAK = (bytes_tokenizer.encode(c)[0] for c in "ab\n")
IDS = [A, B, BREAK, START, END]
PIECES = ["a", "b", "\n", "<|im_end|>", "<|im_start|>", "<|im", "end|>"]
stops = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)


def saying(*ids):
    return FakeModel(lambda seen: ids[len(seen) - 1] if len(seen) <= len(ids) else EOS, tokenizer=bytes_tokenizer)


@given(st.lists(st.sampled_from(IDS), max_size=12), st.lists(stops, min_size=1, max_size=3))
@settings(max_examples=300)
def test_the_text_ends_before_the_first_stop_string_special_tokens_written_out(ids, stops):
    tokens = list(generate(saying(*ids), "x", stop=stops, max_tokens=None))
    written = [HIDDEN.get(i) or bytes_tokenizer.decode([i]) for i in ids]
    ends = [n for n in range(1, len(ids) + 1) if any(stop in "".join(written[:n]) for stop in stops)]
    shown = "".join(token.text for token in tokens)
    if not ends:
        assert (shown, tokens[-1].finish) == (bytes_tokenizer.decode(ids), "eos")
        return
    assert (len(tokens), tokens[-1].finish) == (ends[0], "stop")
    text = "".join(written[: ends[0]])
    at = min(text.index(stop) for stop in stops if stop in text)
    places = list(itertools.accumulate(map(len, written), initial=0))
    assert shown == "".join(w[: max(0, at - p)] for w, p, i in zip(written, places, ids) if i not in HIDDEN)


@given(st.lists(st.sampled_from(IDS), max_size=9), stops)
def test_no_more_is_held_than_may_become_a_stop_string(ids, stop):
    matcher, seen = StopStrings([stop]), ""
    for i in ids:
        matcher.push(bytes_tokenizer.decode([i]), HIDDEN.get(i, ""))
        seen += written_text([i], bytes_tokenizer)
        if matcher.matched:
            break
        longest = max(n for n in range(len(stop)) if seen.endswith(stop[:n]))
        assert matcher._text == stop[:longest]


def test_what_is_remembered_is_bounded():
    matcher = StopStrings(["x<|im_end|>"], ["ab"])
    for _ in range(1000):
        matcher.push("x" * 50, "<|im_end")
    assert (len(matcher._text) + len(matcher._shown) + len(matcher.tail)) < 30


def test_a_tokenizer_that_leaves_out_spaces_beside_special_tokens():
    tokenizer = words_tokenizer("<pad>", "<end>", "<|im_end|>", "a", "b")
    model = FakeModel(lambda seen: [3, 2][len(seen) - 1], tokenizer=tokenizer)
    for stop in ("<|im_end|>", " <|im_end|>", "a <|im_end|>"):
        tokens = list(generate(model, "a", stop=stop, max_tokens=2))
        assert ([token.id for token in tokens], tokens[-1].finish) == ([3, 2], "stop")


FORMATS = [
    {"turn_end": "<|im_end|>\n", "stop": ("<|im_end|>",)},
    {"turn_end": "<|im_end|>\n"},
    {"turn_end": "\n<|im_end|>", "stop": ("<|im_end|>",)},
    {"turn_end": "<|im_end|>", "stop": ("<|im_end|>", "<|im_start|>", "b\n")},
    {"turn_end": "<|im_end|>\n", "eos_token_id": (EOS, END)},
    {"turn_end": "\n\n", "stop": ("\n\nab",)},
    {"turn_end": "\n\n", "stop": ("<|im_end|>",)},
    {"turn_end": "<|endoftext|>"},
]


@pytest.mark.parametrize("form", FORMATS, ids=str)
@given(st.lists(st.sampled_from([A, B, BREAK, BREAK, END, END, START]), max_size=8), st.sampled_from([1, 3, 99]))
def test_after_a_reply_the_state_is_that_of_the_formats_text(form, script, max_tokens):
    form = {"user": "<|im_start|>user\n", "assistant": "<|im_start|>assistant\n", **form}
    model = Actor(tokenizer=bytes_tokenizer, **form)
    asked = bytes_tokenizer.encode("<|im_start|>user\nhi" + form["turn_end"] + "<|im_start|>assistant\n", special=True)
    model.think = lambda ids: (
        [*script, EOS, EOS][len(ids) - len(asked) - 1] if len(ids) <= len(asked) + len(script) else EOS
    )
    chat = Chat(model, max_tokens=max_tokens)
    shown = say(chat, "hi")
    written = written_text(chat._state, bytes_tokenizer).removeprefix("<|endoftext|>")
    before = written_text(asked, bytes_tokenizer)
    assert written.startswith(before)
    assert written.endswith(form["turn_end"])
    reply = written.removeprefix(before).removesuffix(form["turn_end"])
    assert not any(stop in reply for stop in form.get("stop") or [form["turn_end"]])
    # special tokens that the model wrote within its reply stay, but none that ended it
    for token in ("<|im_start|>", "<|im_end|>"):
        reply = reply.replace(token, "")
    assert reply.strip() == chat.turns[0][1].strip()
    assert shown.strip().startswith(chat.turns[0][1])


def test_replies_may_hold_blank_lines_where_the_format_says_so():
    form = {"user": "User: ", "assistant": "Assistant:", "turn_end": "\n\n", "stop": ("\n\nUser:",)}
    script = bytes_tokenizer.encode(" a\n\nb\n\nUser: more")
    chat = Chat(Actor(tokenizer=bytes_tokenizer, **form))
    start = len(bytes_tokenizer.encode("User: hi\n\nAssistant:")) + 1
    chat._model.think = lambda ids: script[len(ids) - start]
    assert say(chat, "hi") == "a\n\nb"
    assert written_text(chat._state[1:], bytes_tokenizer) == "User: hi\n\nAssistant: a\n\nb\n\n"
