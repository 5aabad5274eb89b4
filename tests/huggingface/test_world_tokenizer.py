"""Tokens that are added to the World vocabulary in transformers."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")

from rrwkv_export.huggingface.model.tokenization_rrwkv import RrwkvWorldTokenizer

TEXT = "x<a>é你<b>z<end>"


@pytest.fixture
def tokenizer(tmp_path):
    """Each byte, two words, and an id between that none has."""
    tokens = {**{i + 1: bytes([i]) for i in range(256)}, 257: "你".encode(), 259: b"ab"}
    path = tmp_path / "rwkv_vocab.txt"
    path.write_text("".join(f"{i} {token!r} {len(token)}\n" for i, token in tokens.items()))
    tokenizer = RrwkvWorldTokenizer(str(path))
    assert tokenizer.add_tokens(["<a>", "<b>"]) == 2
    assert tokenizer.add_tokens(["<a>", "<é你>"]) == 1
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]}) == 1
    return tokenizer


@pytest.fixture(params=["made", "loaded"])
def added(request, tokenizer, tmp_path):
    """With tokens added; and saved and loaded again."""
    if request.param == "made":
        return tokenizer
    tokenizer.save_pretrained(tmp_path / "saved")
    return RrwkvWorldTokenizer.from_pretrained(tmp_path / "saved")


def test_each_has_an_id_of_its_own_after_the_vocabulary(added):
    assert added.vocab_size == 260
    assert added.convert_tokens_to_ids(["<a>", "<b>", "<é你>", "<end>"]) == [260, 261, 262, 263]
    assert len(added) == 264
    assert added.get_vocab()["<b>"] == 261
    assert added.convert_tokens_to_ids("€") is None


def test_they_are_read_and_written(added):
    ids = added(TEXT)["input_ids"]
    assert ids == [121, 260, 196, 170, 257, 261, 123, 263]
    assert added.decode(ids) == TEXT
    assert added.decode([*ids, 0], skip_special_tokens=True) == TEXT.removesuffix("<end>")
    assert added.decode([262, 0]) == "<é你><|endoftext|>"
    assert added.convert_tokens_to_string(added.convert_ids_to_tokens([262, *ids])) == f"<é你>{TEXT}"


def test_more_are_added_to_those_that_were_loaded(added):
    assert added.add_tokens(["<c>", "ab"]) == 1
    assert added.convert_tokens_to_ids(["<c>", "ab"]) == [264, 259]


def test_the_string_of_other_bytes_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"'é' stands for the bytes b'.xe9' of the vocabulary; add a token of ASCII"):
        tokenizer.add_tokens(["é"])
