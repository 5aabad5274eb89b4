"""Tasks: how continuations are scored, what counts as right, and the files that come along."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from rrwkv_export.divergence import log_softmax
from rrwkv_export.errors import TextError
from rrwkv_export.evaluate.answers import Answers, Estimate, difference
from rrwkv_export.evaluate.pairs import Encoder, Pair
from rrwkv_export.evaluate.run import evaluate
from rrwkv_export.evaluate.scoring import Score, rolling, score
from rrwkv_export.evaluate.tasks import FOLDER, LAST_WORD, NEXT_REPLY, TASKS, Item
from rrwkv_runtime.errors import InputError, TokenizerError
from rrwkv_runtime.model import Model

REPOSITORY = Path(__file__).resolve().parents[2]
LONG = tuple(range(1, 301))  # longer than a chunk


@pytest.fixture(scope="module")
def model(small_bundle):
    """With a beginning token."""
    model = Model.load(small_bundle, threads=1)
    chat = dataclasses.replace(model.manifest.chat, bos_token_id=0)
    model.manifest = dataclasses.replace(model.manifest, chat=chat)
    return model


def by_hand(model, pair):
    logits, _ = model.forward([*pair.context, *pair.continuation], num_logits=len(pair.continuation) + 1)
    log_p, ids = log_softmax(logits[:-1]), np.array(pair.continuation)
    return Score(float(log_p[np.arange(len(ids)), ids].sum()), bool((log_p.argmax(axis=-1) == ids).all()))


def test_scores_are_those_of_the_whole_text(model):
    likeliest = int(model.forward(LONG)[0].argmax())
    pairs = [
        Pair(LONG, (likeliest,)),
        Pair(LONG, (7, 8, 9)),
        Pair(LONG[:256], (4,)),
        Pair((5,), (6, 7)),
        Pair(LONG, (3,)),
    ]
    for pair, found in zip(pairs, score(model, pairs), strict=True):
        wanted = by_hand(model, pair)
        assert found.log_p == pytest.approx(wanted.log_p, rel=1e-5)
        assert found.greedy == wanted.greedy
    assert score(model, pairs)[0].greedy


def test_a_figure_does_not_depend_on_what_else_is_asked(model):
    pairs = [Pair(LONG[:n], (n % 90, 3)) for n in (1, 2, 255, 256, 257, 300)] + [Pair(LONG, (9,)), Pair((5, 6), (7,))]
    assert score(model, pairs) == [score(model, [pair])[0] for pair in pairs]


def test_a_shared_context_is_read_once(model, monkeypatch):
    read = []

    class Counting:
        def __init__(self, decoder):
            self._decoder = decoder

        def run(self, ids, *options):
            read.append(len(ids))
            return self._decoder.run(ids, *options)

        def take_state(self):
            return self._decoder.take_state()

    decoder = model.decoder
    monkeypatch.setattr(model, "decoder", lambda state=None: Counting(decoder(state)))
    score(model, [Pair(LONG, (1, 2)), Pair(LONG, (3, 4, 5)), Pair(LONG, (6,)), Pair((*LONG[:280], 9), (1,))])
    assert sorted(read) == [1, 2, 25, 44, 256]


def test_a_rolling_score_is_that_of_every_token(model):
    ids = [0, *LONG, *LONG]
    log_p = log_softmax(model.forward(ids, num_logits=len(ids))[0][:-1])
    every = log_p[np.arange(len(ids) - 1), np.array(ids[1:])]
    assert rolling(model, ids, 1) == pytest.approx(every.sum(), rel=1e-5)
    assert rolling(model, ids, 300) == pytest.approx(every[299:].sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("context", "continuation"),
    [
        ("I like", " pizza"),
        ("I like ", "pizza"),
        ("", "Hello"),
        ("  ", "Hello"),
        ("some", "thing else"),
        ("a\n\n", "b"),
    ],
)
def test_a_pair_is_the_text_cut_at_tokens(model, context, continuation):
    pair = Encoder(model).pair(context, continuation)
    assert pair.context[0] == 0  # the beginning token
    assert [*pair.context[1:], *pair.continuation] == model.tokenizer.encode(context + continuation)
    assert model.tokenizer.decode(pair.continuation).lstrip().endswith(continuation.lstrip())


def test_what_nothing_stands_before_needs_a_beginning_token(small_bundle):
    bare = Model.load(small_bundle, threads=1)
    chat = dataclasses.replace(bare.manifest.chat, bos_token_id=None, eos_token_id=None)
    bare.manifest = dataclasses.replace(bare.manifest, chat=chat)
    encoder = Encoder(bare)
    assert encoder.pair("I like", " pizza").context == tuple(encoder.ids("I like"))
    with pytest.raises(InputError, match="names no token that begins a text, so a text needs a context before it"):
        encoder.pair("", "Hello")


def test_special_tokens_are_text_unless_said(model):
    written = model.tokenizer.special[0]
    assert Encoder(model).pair("a", written).continuation != (0,)
    assert Encoder(model, special=True).pair("a", written).continuation == (0,)


def test_a_bundle_without_a_tokenizer_is_asked_nothing(conformance_model):
    bare = Model.load(conformance_model.path)
    bare.tokenizer = None
    with pytest.raises(TokenizerError, match="has no tokenizer, and tasks are text; export it with --tokenizer"):
        evaluate(bare)


def test_what_is_right_by_hand():
    items = [Item("a", ("bb", "c"), 0), Item("d", ("ee", "f"), 1)]
    found = Answers.of(NEXT_REPLY, items, [Score(-3, False), Score(-2, True), Score(-3, False), Score(-2, True)])
    assert (found.right.tolist(), found.right_by_character.tolist()) == ([False, True], [True, False])
    assert (found.log_p.tolist(), found.perplexity) == ([-3, -2], None)
    guessed = Answers.of(LAST_WORD, [Item("a", ("b",), 0)] * 2, [Score(-1, True), Score(-3, False)])
    assert guessed.accuracy == Estimate(0.5, 0.5)
    assert guessed.perplexity == Estimate(pytest.approx(np.exp(2)), pytest.approx(np.exp(2)))
    assert guessed.accuracy_by_character is None


def test_a_difference_is_of_the_same_items():
    first = Answers(LAST_WORD, np.array([True, True, False, False]), None, np.array([-1.0, -2, -3, -4]))
    second = dataclasses.replace(first, right=np.array([True, False, False, True]), log_p=first.log_p - 0.1)
    found = difference(second, first)
    assert (found.lost, found.won, found.accuracy.mean) == (1, 1, 0)
    assert (found.log_p.mean, found.log_p.error) == (pytest.approx(-0.1), pytest.approx(0, abs=1e-12))
    assert found.accuracy.error == pytest.approx(np.std([0, -1, 0, 1], ddof=1) / 2)


def test_the_files_are_made_of_the_dialogues_that_come_along(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    importlib.import_module("benchmarks.quality.task_files").main(tmp_path)
    for task in TASKS:
        assert (tmp_path / task.file).read_bytes() == (FOLDER / task.file).read_bytes()


def test_every_item_is_whole():
    assert {task.name: len(task.items()) for task in TASKS} == {NEXT_REPLY.name: 128, LAST_WORD.name: 152}
    assert all(len(set(item.choices)) == 4 for item in NEXT_REPLY.items())
    said = [item.context.partition("\n\n")[0] + item.context.partition("\n\n")[2] for item in LAST_WORD.items()]
    assert all(item.choices[0].lower() in text.lower() for item, text in zip(LAST_WORD.items(), said))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"context": "a"}',
        '{"context": "a", "choices": ["b"], "answer": 1}',
        '{"context": 1}',
        '{"context": "a", "choices": ["b", "c"], "answer": true}',
        '{"context": "a", "choices": "bc", "answer": 1}',
    ],
)
def test_a_damaged_file_is_refused(tmp_path, line):
    (tmp_path / NEXT_REPLY.file).write_text(f"{json.dumps({'context': 'a', 'choices': ['b'], 'answer': 0})}\n{line}\n")
    with pytest.raises(TextError, match="line 2 is no item of rrwkv_next_reply; get the file anew"):
        NEXT_REPLY.items(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\xfe"])
def test_a_file_without_items_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / NEXT_REPLY.file).write_bytes(content)
    with pytest.raises(TextError, match=rf"{NEXT_REPLY.file}: .*; get the file anew$"):
        NEXT_REPLY.items(tmp_path)
