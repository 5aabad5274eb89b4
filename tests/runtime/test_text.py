import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import rwkv
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

from rrwkv_runtime.errors import DamagedBundle, InputError, NoTokens, TokenizerError
from rrwkv_runtime.manifest import TokenizerEntry
from rrwkv_runtime.text.text_stream import WindowStream
from rrwkv_runtime.text.world_vocabulary import load_world_vocabulary
from rrwkv_runtime.tokenizer import JsonTokenizer, WorldTokenizer, load_tokenizer

DEMO = Path(__file__).parents[2] / "rrwkv_export/assets/rrwkv-chat/tokenizer.json"
WORLD = Path(rwkv.__path__[0]) / "rwkv_vocab_v20230424.txt"

GROWTH = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100}

json_tokenizer = JsonTokenizer.from_file(DEMO)
world_tokenizer = WorldTokenizer.from_file(WORLD)
reference = TRIE_TOKENIZER(str(WORLD))
both = pytest.mark.parametrize("tokenizer", [json_tokenizer, world_tokenizer], ids=["json", "world"])
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\té日🎉aeiou"))


def streamed(stream, ids):
    return "".join([stream.push(i) for i in ids]) + stream.flush()


def small_vocabulary(path, *lines):
    path.write_text("\n".join([f"{n + 1} {bytes([n])!r} 1" for n in range(256)] + list(lines)), encoding="utf-8")
    return path


@both
@given(text=texts)
def test_text_survives_encoding(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert streamed(tokenizer.stream(), ids) == text
    assert all(0 <= i < tokenizer.vocab_size for i in ids)


@given(texts)
def test_world_gives_the_reference_tokens(text):
    assert world_tokenizer.encode(text) == reference.encode(text)


@pytest.mark.parametrize("text", [" " * 3000, "\n" * 777, "#" * 500, "日本語🎉" * 99, "x = [1]\n\n\n    y" * 50])
def test_world_gives_the_reference_tokens_of_runs(text):
    assert world_tokenizer.encode(text) == reference.encode(text)


def test_world_vocabulary_is_the_reference_one():
    assert load_world_vocabulary(WORLD) == reference.idx2token


@both
@given(ids=st.lists(st.integers(-3, 70000)))
def test_stream_of_any_ids_equals_decode(tokenizer, ids):
    assert streamed(tokenizer.stream(), ids) == tokenizer.decode(ids)


@both
@given(text=texts)
@settings(max_examples=30)
def test_window_stream_equals_decode(tokenizer, text):
    ids = tokenizer.encode(text)
    assert streamed(WindowStream(tokenizer.decode), ids) == text


@given(st.lists(st.integers(0, 2)))
def test_window_stream_keeps_what_a_decoder_drops_at_the_start_only(ids):
    def decode(ids):  # as sentencepiece: the text's first space is not shown
        return "".join((" a", "", "b")[i] for i in ids).removeprefix(" ")

    assert streamed(WindowStream(decode), ids) == decode(ids)


@given(st.lists(st.integers(0, 5), max_size=40), st.lists(st.integers(0, 5)))
def test_a_stream_shows_what_comes_after_the_given_text(before, ids):
    package = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({t: i for i, t in enumerate(["a", "b", "##c", "##d", "e", "."])})
    )
    package.decoder = tokenizers.decoders.WordPiece(cleanup=False)
    tokenizer = JsonTokenizer(package)
    assert tokenizer.decode(before) + streamed(tokenizer.stream(after=before), ids) == tokenizer.decode(before + ids)


def test_after_half_a_character_a_stream_begins_anew():
    halves = json_tokenizer.encode("🎆")
    assert streamed(WindowStream(json_tokenizer.decode, halves[:1]), json_tokenizer.encode("hi")) == "hi"


def test_a_text_that_the_tokenizer_has_no_tokens_for_is_an_error_of_one_line():
    tokenizer = JsonTokenizer(tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="[UNK]")))
    with pytest.raises(NoTokens, match="no token for some of this text"):
        tokenizer.encode("b")


@both
def test_stream_never_splits_a_character(tokenizer):
    stream = tokenizer.stream()
    pieces = [stream.push(i) for i in tokenizer.encode("naïve 🎉!")]
    assert "�" not in "".join(pieces)
    assert not stream.pending
    assert stream.flush() == ""


@both
def test_broken_tail_is_replaced_at_the_end(tokenizer):
    stream = tokenizer.stream()
    first, *_ = tokenizer.encode("🎆")
    assert stream.push(first) == ""
    assert stream.pending
    assert (stream.flush(), stream.pending, stream.flush()) == ("�", False, "")


@both
def test_lone_surrogate_is_an_input_error(tokenizer):
    with pytest.raises(InputError, match="lone surrogate at character 2"):
        tokenizer.encode("ab\ud800")


def test_special_tokens_have_no_text():
    assert json_tokenizer.encode("a<|endoftext|>b", special=True)[1] == 0
    assert json_tokenizer.decode([0]) == json_tokenizer.stream().push(0) == ""


def test_long_texts_are_encoded_in_linear_time():
    started = time.process_time()
    world_tokenizer.encode("  \n" * 200_000)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "line",
    [
        "300 'a' 1",  # a second time
        "1 'ab' 2",  # the id a second time
        "300 'ab' 3",
        "300 '' 0",
        "300 ['ab'] 2",
        "x 'ab' 2",
        "-1 'ab' 2",
        "300 'ab'",
        "300 __import__('os').getcwd() 4",
        "300 'a'b' 3",
        "300 " + "(" * 4000 + " 1",
        "300 " + "9" * 5000 + " 1",
    ],
)
def test_a_wrong_vocabulary_line_is_named(tmp_path, line):
    with pytest.raises(TokenizerError, match=r"vocab.txt: line 257: "):
        load_world_vocabulary(small_vocabulary(tmp_path / "vocab.txt", line))


def test_a_vocabulary_needs_every_byte(tmp_path):
    (tmp_path / "vocab.txt").write_text("1 'a' 1\n")
    with pytest.raises(TokenizerError, match="every byte"):
        WorldTokenizer.from_file(tmp_path / "vocab.txt")


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"model": {"type": "BPE"}}'])
def test_a_damaged_tokenizer_json_is_an_error_of_one_line(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(TokenizerError) as caught:
        JsonTokenizer.from_file(tmp_path / "tokenizer.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": []}, "it has no model"),
        ({"model": {"vocab": {"a": 2**40}}}, "the id 1099511627776 of a token"),
        ({"model": {"vocab": {"a": -1}}}, "the id -1"),
        ({"added_tokens": [{"id": "x"}]}, "the id x"),
        ({"model": {"vocab": [["", 0]] * (2**20 + 1)}}, "1,048,577 tokens are more than any model has"),
        (
            {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}] * 99}},
            "its normalizer has 100 parts",
        ),
        ({"normalizer": {"type": "Sequence", "normalizers": [GROWTH] * 3}}, "may make a text 1,000,000 times as long"),
        ({"decoder": {"type": "Strip", "content": "x" * 20_000}}, "its decoder has a content of 20,000 characters"),
    ],
)
def test_a_tokenizer_json_that_asks_for_too_much_is_refused_unread(tmp_path, change, message):
    (tmp_path / "tokenizer.json").write_text(json.dumps({**json.loads(DEMO.read_text()), **change}))
    with pytest.raises(TokenizerError, match=f"tokenizer.json: .*{message}"):
        JsonTokenizer.from_file(tmp_path / "tokenizer.json")


def manifest(kind, vocab_size=4096):
    entry = TokenizerEntry(kind, "tokenizer.json") if kind else None
    return SimpleNamespace(tokenizer=entry, vocab_size=vocab_size)


def test_load_tokenizer_takes_the_bundles(tmp_path):
    assert load_tokenizer(tmp_path, manifest(None)) is None
    assert load_tokenizer(DEMO.parent, manifest("tokenizer.json")).vocab_size == 4096
    small_vocabulary(tmp_path / "tokenizer.json", "300 'hello' 5")
    assert load_tokenizer(tmp_path, manifest("rwkv-world")).encode("hello!") == [300, 34]


def test_load_tokenizer_refuses_what_does_not_fit(tmp_path):
    with pytest.raises(TokenizerError, match="4096 ids, but the model only 100"):
        load_tokenizer(DEMO.parent, manifest("tokenizer.json", 100))
    with pytest.raises(TokenizerError, match="unknown tokenizer type"):
        load_tokenizer(DEMO.parent, manifest("spm"))
    with pytest.raises(DamagedBundle):
        load_tokenizer(tmp_path, manifest("tokenizer.json"))


def test_importing_does_not_load_tokenizers():
    code = "import sys, rrwkv_runtime.chat, rrwkv_runtime.terminal.repl; sys.exit('tokenizers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
