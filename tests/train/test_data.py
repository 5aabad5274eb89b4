"""What a step sees, what is held out, and the tokens of a new model."""

from __future__ import annotations

import lzma

import numpy as np
import pytest
from checkpoint_files import ASSET

from rrwkv_export.errors import RRWKVError, TextError
from rrwkv_export.texts import Encoding, encode_text
from rrwkv_export.train.data.corpus import read_corpus
from rrwkv_export.train.data.rows import Rows, windows
from rrwkv_export.train.data.vocabulary import found, made_of
from rrwkv_export.train.held_out import buckets
from rrwkv_export.train.settings import Settings

SENTENCES = "".join(f"The {number} birds sing again, and the king of {number} lands listens. " for number in range(400))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(SENTENCES)
    return path


def settings(path, **changes):
    return Settings(**{"texts": (str(path),), "steps": 1, "length": 16, **changes})


@pytest.mark.parametrize("tokens", [65, 66, 100, 1000])
def test_an_epoch_is_every_row_once_and_the_next_one_is_cut_elsewhere(tokens):
    rows = Rows(np.arange(tokens), 16, seed=3)
    first, second = (rows.step(i, rows.epoch) for i in (0, 1))
    for epoch in (first, second):
        starts = sorted(epoch[:, 0].tolist())
        assert np.diff(starts).tolist() == [16] * (rows.epoch - 1)
        assert (epoch == epoch[:, :1] + np.arange(17)).all()
        assert epoch.max() < tokens
    assert first.tolist() != second.tolist()
    assert Rows(np.arange(tokens), 16, seed=3).step(1, rows.epoch).tolist() == second.tolist()
    assert np.concatenate([rows.step(i, 1) for i in range(rows.epoch)]).tolist() == first.tolist()


def test_what_is_held_out_is_read_in_rows_from_its_beginning():
    assert windows(np.arange(100), 32, 1000)[:, [0, -1]].tolist() == [[0, 32], [32, 64], [64, 96]]
    assert windows(np.arange(100), 32, 64).shape == (2, 33)
    assert windows(np.arange(10), 32, 64).tolist() == [list(range(10))]
    assert windows(np.arange(1000), 10, 30)[:, 0].tolist() == [0, 330, 660]
    assert buckets(100) == [(0, 16), (16, 64), (64, 100)]


def test_what_is_held_out_is_measured_evenly_along_all_texts(tmp_path):
    texts = [tmp_path / f"{number}.ids" for number in (1, 2)]
    for path, number, count in zip(texts, (1, 2), (6000, 2000), strict=True):
        path.write_text(f"{number} " * count)
    corpus = read_corpus(settings(texts[0], texts=tuple(map(str, texts))), Encoding("model", None, None, 40))
    assert len(corpus.held_out) == 400
    assert windows(corpus.held_out, 16, 130)[:, 0].tolist() == [1] * 7 + [2]


def test_a_text_may_be_called_what_is_no_utf_8(tmp_path, no_utf8):
    path = tmp_path / f"a{no_utf8}.ids"
    path.write_text("1 2 3")
    assert encode_text(path, Encoding("model", None, None, 40)).name == r"a\udcff.ids"


def test_bpe_of_the_texts_knows_every_byte_and_begins_with_the_end(text, tmp_path):
    vocabulary = made_of([text], 300)
    vocabulary.write(tmp_path)
    tokenizer = vocabulary.encoding(tmp_path).tokenizer
    assert vocabulary.size == tokenizer.vocab_size == 300
    assert tokenizer.special == {0: "<|endoftext|>"}
    assert tokenizer.decode(tokenizer.encode("Ĝis — 再见 birds")) == "Ĝis — 再见 birds"
    assert len(tokenizer.encode(SENTENCES)) < len(SENTENCES) / 3
    assert vocabulary.chat.bos_token_id == vocabulary.chat.eos_token_id == 0


def test_a_tokenizer_that_is_there_brings_its_chat_and_the_token_that_ends_texts(tmp_path):
    own, world = found(str(ASSET / "tokenizer.json"), None, None), found("world", None, None)
    assert (own.size, own.chat.bos_token_id) == (4096, 0)
    assert (world.size, world.chat.bos_token_id, world.chat.system) == (65536, 0, "System: ")
    assert found(str(ASSET / "tokenizer.json"), 5000, None).size == 5000
    with pytest.raises(RRWKVError, match=r"--vocabulary 4000: .*tokenizer.json has 4,096 tokens"):
        found(str(ASSET / "tokenizer.json"), 4000, None)


@pytest.fixture
def encoding(text, tmp_path):
    vocabulary = made_of([text], 300)
    vocabulary.write(tmp_path)
    return vocabulary.encoding(tmp_path)


def test_the_last_twentieth_is_held_out_or_a_text_of_its_own(text, tmp_path, encoding):
    corpus, ids = read_corpus(settings(text), encoding), encode_text(text, encoding).ids
    assert np.concatenate([corpus.trained, corpus.held_out]).tolist() == ids.tolist()
    assert len(corpus.held_out) == len(ids) // 20
    (tmp_path / "other.md").write_text("Other birds.")
    corpus = read_corpus(settings(text, held_out=(str(tmp_path / "other.md"),)), encoding)
    assert corpus.trained.tolist() == ids.tolist()
    assert encoding.tokenizer.decode(corpus.held_out.tolist()) == "Other birds."
    assert len(corpus.sha256) == 2


def test_texts_may_be_compressed(text, tmp_path, encoding):
    packed = tmp_path / "TEXT.TXT.XZ"
    packed.write_bytes(lzma.compress(text.read_bytes()))
    assert encode_text(packed, encoding).ids.tolist() == encode_text(text, encoding).ids.tolist()
    for content, reason in ((packed.read_bytes()[:-40], "cut short"), (b"birds", "no whole .xz file")):
        packed.write_bytes(content)
        with pytest.raises(TextError, match=reason):
            encode_text(packed, encoding)


@pytest.mark.parametrize(
    ("name", "content", "changes", "reason"),
    [
        ("a.txt", "", {}, "the text is empty"),
        ("a.txt", "birds and kings", {}, r"tokens to train on and a row has 16; give more text, or a smaller --length"),
        ("a.ids", "1 2 300 " * 20, {}, "token id 300 is outside 0..299; the text belongs to another tokenizer"),
        ("a.pdf", "%PDF", {}, ".pdf is no text that is read"),
        ("a.jsonl", '{"turns": 3}', {}, "line 1"),
    ],
)
def test_texts_that_cannot_be_trained_on(tmp_path, encoding, name, content, changes, reason):
    (tmp_path / name).write_text(content)
    with pytest.raises(TextError, match=reason):
        read_corpus(settings(tmp_path / name, **changes), encoding)


def test_token_ids_make_no_tokenizer(tmp_path):
    (tmp_path / "a.ids").write_text("1 2 3")
    with pytest.raises(TextError, match="give it with --tokenizer"):
        made_of([tmp_path / "a.ids"], 300)
