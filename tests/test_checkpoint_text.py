"""The tokenizer and the chat format that go with a checkpoint."""

from __future__ import annotations

import json

import pytest
from checkpoint_files import ASSET, RWKV4, random_weights, write_blinkdl, write_rrwkv

from rrwkv_export.checkpoint import TokenizerFile, open_checkpoint
from rrwkv_export.config import ModelConfig
from rrwkv_export.errors import CheckpointError, ConfigError
from rrwkv_runtime.manifest import ChatFormat

LARGE = ModelConfig(vocab_size=4096, hidden_size=8, num_layers=1, ffn_size=8)
WORLD = "".join(f"{byte + 1} {bytes([byte])!r} 1\n" for byte in range(256)) + "257 'ab' 2\n"


@pytest.fixture
def folder(tmp_path):
    return write_rrwkv(tmp_path / "model", LARGE, random_weights(LARGE))


def test_none(folder):
    checkpoint = open_checkpoint(folder)
    assert checkpoint.tokenizer is None
    assert checkpoint.chat == ChatFormat(eos_token_id=0)


def test_own_tokenizer_and_the_one_that_was_asked_for(folder, tmp_path):
    own, other = folder / "tokenizer.json", tmp_path / "other.txt"
    own.write_bytes((ASSET / "tokenizer.json").read_bytes())
    other.write_text(WORLD)
    assert open_checkpoint(folder).tokenizer == TokenizerFile("tokenizer.json", own)
    assert open_checkpoint(folder, tokenizer=str(other)).tokenizer == TokenizerFile("rwkv-world", other)


def test_world_vocabulary_ends_a_text_with_token_0(tmp_path):
    path = write_blinkdl(tmp_path / "m.pth", LARGE, random_weights(LARGE))
    (tmp_path / "rwkv_vocab_v20230424.txt").write_text(WORLD)
    checkpoint = open_checkpoint(path)
    assert checkpoint.tokenizer.type == "rwkv-world"
    assert (checkpoint.chat.bos_token_id, checkpoint.chat.eos_token_id) == (None, 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.json", "{}"),
        ("t.json", "no"),
        ("t.txt", "hello\n"),
        ("t.txt", "1 __import__('os').getcwd() 1\n"),
        ("t.model", ""),
    ],
)
def test_unusable_tokenizers(folder, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=name) as caught:
        open_checkpoint(folder, tokenizer=tmp_path / name)
    assert "\n" not in str(caught.value)


def test_tokenizer_that_is_not_there(folder):
    with pytest.raises(CheckpointError, match="no such tokenizer"):
        open_checkpoint(folder, tokenizer="none.json")


@pytest.mark.parametrize("name", ["tokenizer.json", "world.txt"])
def test_tokenizer_of_another_model(tmp_path, name):
    folder = write_rrwkv(tmp_path / "model", RWKV4, random_weights(RWKV4), tokenizer=ASSET / "tokenizer.json")
    (tmp_path / "world.txt").write_text(WORLD)
    with pytest.raises(CheckpointError, match="the model only 40 tokens"):
        open_checkpoint(folder, tokenizer=None if name == "tokenizer.json" else tmp_path / name)


def test_chat_is_the_folders_or_the_one_that_was_asked_for(folder, tmp_path):
    (folder / "chat.json").write_text((ASSET / "chat.json").read_text())
    (tmp_path / "other.json").write_text('{"user": "Bob: ", "stop": ["x"]}')
    assert open_checkpoint(folder).chat.sampling == {"temperature": 0.8, "top_p": 0.7}
    assert open_checkpoint(folder, chat=tmp_path / "other.json").chat == ChatFormat(
        user="Bob: ", stop=("x",), eos_token_id=0
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"wings": 1},
        {"user": 1},
        {"stop": "x"},
        {"stop": [""]},
        {"bos_token_id": 4096},
        {"eos_token_id": -1},
        {"eos_token_id": True},
        {"sampling": {"top_p": "high"}},
        {"sampling": {"top_p": float("nan")}},
        [],
    ],
)
def test_unusable_chats(folder, fields):
    (folder / "chat.json").write_text(json.dumps(fields))
    with pytest.raises(ConfigError, match=r"chat\.json: \S"):
        open_checkpoint(folder)


def test_chat_that_is_not_there(folder):
    with pytest.raises(ConfigError, match="no such file"):
        open_checkpoint(folder, chat="none.json")


@pytest.mark.parametrize("sampling", [{"temprature": 0.8}, {"temperature": -5}])
def test_sampling_that_the_runtime_would_refuse_is_refused(tmp_path, sampling):
    folder = write_rrwkv(tmp_path / "model", RWKV4, random_weights(RWKV4))
    (folder / "chat.json").write_text(json.dumps({"sampling": sampling}))
    with pytest.raises(ConfigError, match="sampling must be options that the runtime knows"):
        open_checkpoint(folder)


def test_several_tokens_can_end_a_text(folder):
    (folder / "chat.json").write_text(json.dumps({"eos_token_id": [3, 1]}))
    assert open_checkpoint(folder).chat.eos_token_ids == {1, 3}
