"""Files as token ids."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from checkpoint_files import RWKV4

from rrwkv_export.errors import TextError
from rrwkv_export.texts import Text, read_text
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.text import load_tokenizer

TURNS = [{"role": "user", "text": "Hello there!"}, {"role": "assistant", "text": "Hi."}]
DIALOGUE = json.dumps({"turns": TURNS})


@pytest.fixture
def write(tmp_path):
    def written(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


@pytest.fixture(scope="module")
def encode(demo_bundle):
    return load_tokenizer(demo_bundle, Manifest.load(demo_bundle)).encode


def test_plain_text_is_one_passage_after_the_beginning_of_text(write, demo_bundle, encode):
    text = read_text(write("a.txt", "Once upon a time\n"), demo_bundle)
    assert text.ids.tolist() == [0, *encode("Once upon a time\n")]
    assert (text.name, text.sha256) == ("a.txt", hashlib.sha256(b"Once upon a time\n").hexdigest())


def test_dialogues_are_in_the_bundles_chat_format(write, demo_bundle, encode):
    text = read_text(write("a.jsonl", f"{DIALOGUE}\n\n{DIALOGUE}\n"), demo_bundle)
    expected = [0, *encode("User: Hello there!\n\nAssistant: Hi.\n\n")]
    assert [ids.tolist() for ids in text.passages] == [expected, expected]
    assert text.ids.tolist() == 2 * expected
    assert text.ids.dtype == np.int64


def test_special_tokens_in_what_is_said_are_text_and_between_the_texts_of_a_corpus_tokens(write, demo_bundle, encode):
    said = [{"role": role, "text": "a<|endoftext|>b"} for role in ("user", "assistant")]
    (ids,) = read_text(write("a.jsonl", json.dumps({"turns": said})), demo_bundle).passages
    assert ids.tolist() == [0, *encode("User: a<|endoftext|>b\n\nAssistant: a<|endoftext|>b\n\n")]
    assert ids.tolist().count(0) == 1
    assert read_text(write("a.txt", "a<|endoftext|>b"), demo_bundle).ids.tolist().count(0) == 2


def test_ids_need_no_tokenizer(write, make_tiny):
    text = read_text(write("a.ids", "1, 2,3\n\n4 5\n"), make_tiny(RWKV4).path)
    assert [ids.tolist() for ids in text.passages] == [[1, 2, 3], [4, 5]]


def test_a_sample_keeps_the_files_order_and_repeats_with_its_seed():
    text = Text("a", "", tuple(np.array([i]) for i in range(20)))
    drawn = text.sample(5, seed=3)
    assert len(drawn.passages) == 5
    assert (np.diff(drawn.ids) > 0).all()
    assert drawn.ids.tolist() == text.sample(5, seed=3).ids.tolist() != text.sample(5, seed=4).ids.tolist()
    assert text.sample(20, seed=3) is text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "", "the text is empty; at least 2 tokens"),
        ("a.txt", " \n", "the text is empty"),
        ("a.jsonl", "\n\n", "the text is empty"),
        ("a.ids", "7", "has only 1 token"),
        ("a.txt", b"caf\xe9 au lait", "not UTF-8 text (byte 3)"),
        ("a.ids", "1 2 4096", "token id 4096 is outside 0..4095"),
        ("a.ids", "1 -2", "token id -2 is outside"),
        ("a.ids", "1 2\n3 x", "line 2 holds something that is not a token id"),
        ("a.jsonl", f"{DIALOGUE}\nnot json", "line 2 is not a dialogue such as"),
        ("a.jsonl", '{"turns": [{"role": "robot", "text": "beep"}]}', "line 1 is not a dialogue"),
        ("a.jsonl", '{"turns": [{"role": "user", "text": 5}]}', "line 1 is not a dialogue"),
        ("a.jsonl", '["turns"]', "line 1 is not a dialogue"),
        ("a.jsonl", '{"turns": 3}', "line 1 is not a dialogue"),
        ("a.jsonl", "[" * 100_000, "line 1 is not a dialogue"),
    ],
)
def test_a_text_that_cannot_be_used_says_why(write, demo_bundle, name, content, said):
    with pytest.raises(TextError) as raised:
        read_text(write(name, content), demo_bundle)
    assert said in str(raised.value)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_such_file(tmp_path, demo_bundle):
    with pytest.raises(TextError, match="no such file"):
        read_text(tmp_path / "nowhere.txt", demo_bundle)


def test_a_folder_is_no_text(tmp_path, demo_bundle):
    with pytest.raises(TextError, match="cannot be read"):
        read_text(tmp_path, demo_bundle)


def test_text_for_a_bundle_without_a_tokenizer(write, make_tiny):
    with pytest.raises(TextError, match=r"no tokenizer, so it takes token ids only; give a \.ids file"):
        read_text(write("a.txt", "Hello"), make_tiny(RWKV4).path)
