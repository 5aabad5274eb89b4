"""What a model is verified with: text that its tokenizer knows, every special token, and ids at random."""

from __future__ import annotations

import dataclasses
import json

import pytest
from checkpoint_files import ASSET, RRWKV, RWKV4
from hypothesis import given
from hypothesis import strategies as st

from rrwkv_export.checkpoint import TokenizerFile, open_checkpoint
from rrwkv_export.texts import poverty
from rrwkv_export.verify import draw_sample, verification_length


def tokenizer_of(folder, words, added=(), unknown="<pad>"):
    """A tokenizer.json of whole words: the added tokens first, what it does not know is the unknown one."""
    names = [unknown, *added, *words]
    tokens = [{"id": i, "content": name, "special": True} for i, name in enumerate(names[: 1 + len(added)])]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    model = {"type": "WordLevel", "vocab": {name: i for i, name in enumerate(names)}, "unk_token": unknown}
    fields = {"model": model, "pre_tokenizer": {"type": "WhitespaceSplit"}, "added_tokens": [t | flags for t in tokens]}
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(fields))
    return TokenizerFile("tokenizer.json", path)


def large(V):
    return dataclasses.replace(RWKV4, vocab_size=V)


def neighbours(ids, token):
    at = [i for i, other in enumerate(ids) if other == token]
    return {ids[i - 1] for i in at if i}, {ids[i + 1] for i in at if i + 1 < len(ids)}


def test_half_is_text_where_the_tokenizer_makes_something_of_it(small_checkpoint):
    checkpoint = open_checkpoint(small_checkpoint)
    sample = draw_sample(checkpoint.config, checkpoint.tokenizer)
    count = verification_length(checkpoint.config)
    assert (sample.text, sample.random, len(sample.special)) == (count - count // 2, count // 2, 8)
    assert len(sample.ids) == count + 2 * 8
    assert sample == draw_sample(checkpoint.config, checkpoint.tokenizer)
    assert (
        str(sample)
        == f"{count + 16} tokens ({sample.text} of text, {sample.random} at random, 8 special ones, each twice)"
    )


def test_a_tokenizer_that_knows_no_english_is_compared_on_random_ids(tmp_path):
    sample = draw_sample(large(4000), tokenizer_of(tmp_path, [f"w{i}" for i in range(3990)], ["<start>", "<end>"]))
    assert sample.text == 0
    assert len(set(sample.ids)) > 150
    assert set(range(7)) - {4, 5, 6} <= set(sample.ids)


def test_every_special_token_meets_ordinary_ones_and_another(tmp_path):
    added = [f"<s{i}>" for i in range(20)]
    sample = draw_sample(large(500), tokenizer_of(tmp_path, [f"w{i}" for i in range(400)], added), ends=[499])
    special = set(sample.special)
    assert special == {*range(21), *range(496, 500)}
    for token in special:
        before, after = neighbours(sample.ids, token)
        assert all(near & special and near - special for near in (before, after)), token


def test_thousands_of_added_tokens_are_bounded_and_counted(tmp_path):
    added = [f"<s{i}>" for i in range(3000)]
    sample = draw_sample(large(4000), tokenizer_of(tmp_path, ["w"], added), ends=[3999])
    assert len(sample.special) == 256
    assert len(sample.special) + sample.left_out == 3001 + 4
    assert sample.special[:2] == (3999, 0)
    assert max(sample.special[2:]) > 2900
    assert "256 of 3005 special ones" in str(sample)


def test_a_large_model_is_compared_on_few():
    config = dataclasses.replace(RWKV4, vocab_size=50277, hidden_size=4096, num_layers=32, ffn_size=16384)
    assert len(draw_sample(config, None).ids) == 48 + 16


@given(st.integers(1, 60), st.integers(1, 300), st.sampled_from([RWKV4, RRWKV]))
def test_so_many_as_were_asked_for_and_all_in_the_vocabulary(V, tokens, config):
    config = dataclasses.replace(config, vocab_size=V)
    ids = draw_sample(config, None, tokens=tokens).ids
    assert len(ids) == tokens
    assert all(0 <= i < V for i in ids)
    assert set(draw_sample(config, None).ids) >= {0, V - 1}


def test_added_tokens_beyond_the_vocabulary_are_not_compared():
    demo = TokenizerFile("tokenizer.json", ASSET / "tokenizer.json")
    sample = draw_sample(large(300), demo, ends=[299, 4095])
    assert max(sample.ids) < 300
    assert 299 in sample.special


@pytest.mark.parametrize(
    ("ids", "unknown", "says"),
    {
        "English": (list(range(20)) * 3, 0, None),
        "one token": ([7] * 30, None, "of its 30 tokens 1 are distinct, and 100% are token 7"),
        "mostly one": ([7] * 90 + list(range(20)), None, "of its 110 tokens 20 are distinct, and 83% are token 7"),
        "unknown": ([0] * 30 + list(range(70)), 0, "31% of its 100 tokens are the unknown token (0)"),
        "nothing": ([], None, "it has no tokens"),
    }.values(),
    ids=lambda value: "",
)
def test_what_a_text_shows_of_a_model(ids, unknown, says):
    assert poverty(ids, 4096, unknown) == says


def test_four_letters_are_all_that_a_vocabulary_of_eight_can_have():
    assert poverty([0, 1, 2, 3] * 50, 8) is None
    assert poverty([0, 1, 2, 3] * 50, 4096) is not None
