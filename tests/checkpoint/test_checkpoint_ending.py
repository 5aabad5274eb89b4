"""What ends a text: by what weights and files say, the same from every container."""

from __future__ import annotations

import json

import pytest
import torch
from checkpoint_files import (
    ASSET,
    RRWKV,
    RWKV4,
    huggingface_config,
    random_weights,
    write_blinkdl,
    write_config,
    write_huggingface,
    write_rrwkv,
)
from safetensors.torch import save_file

from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.checkpoint import TokenizerFile, open_checkpoint, spelled
from rrwkv_export.commands.shared.endings import describe_ending
from rrwkv_export.errors import ConfigError
from rrwkv_runtime.manifest import ChatFormat

WEIGHTS = random_weights(RWKV4)
LARGE = RWKV4Config(vocab_size=4096, hidden_size=8, num_layers=1, ffn_size=8)


def write(path, fields):
    path.write_text(json.dumps(fields))


def test_every_container_of_blinkdls_names_ends_with_token_0(tmp_path):
    write_blinkdl(tmp_path / "m.pth", RWKV4, WEIGHTS)
    save_file(WEIGHTS, tmp_path / "m.st")
    write_rrwkv(tmp_path / "folder", RWKV4, WEIGHTS)
    write_rrwkv(tmp_path / "mediums", RRWKV, random_weights(RRWKV))
    for name in ("m.pth", "m.st", "folder", "mediums"):
        chat = open_checkpoint(tmp_path / name).chat
        assert (chat.eos_token_id, chat.bos_token_id) == (0, None)


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ({}, None, 0),  # RwkvConfig's own default
        ({"eos_token_id": 7}, None, 7),
        ({"eos_token_id": [7, 3, 7]}, None, (7, 3)),
        ({"eos_token_id": [7]}, None, 7),
        ({"eos_token_id": None}, None, None),
        ({"eos_token_id": 0}, {"eos_token_id": [0, 9]}, (0, 9)),
        ({"eos_token_id": 7}, {"eos_token_id": 9}, 9),
        ({"eos_token_id": None}, {"eos_token_id": 9}, 9),
        ({"eos_token_id": 7}, {"bos_token_id": 1}, 7),
        ({"eos_token_id": 7}, {"eos_token_id": None}, 7),
        ({"eos_token_id": 7}, {"eos_token_id": []}, 7),
    ],
)
@pytest.mark.parametrize("container", ["safetensors", "bin"])
def test_hugging_faces_configs(tmp_path, config, generation, expected, container):
    write_huggingface(tmp_path, RWKV4, WEIGHTS, container)
    write_config(tmp_path, huggingface_config(RWKV4, bos_token_id=0) | config)
    if generation is not None:
        write(tmp_path / "generation_config.json", generation)
    file = tmp_path / ("model.safetensors" if container == "safetensors" else "pytorch_model.bin")
    for path in (tmp_path, file):
        chat = open_checkpoint(path).chat
        assert (chat.eos_token_id, chat.bos_token_id) == (expected, None)


@pytest.mark.parametrize("wrong", [40, [0, 40], -1, True, "0", 1.5, {}, [[0]], "\x1b[31m" * 50])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_no_token_is_refused_and_a_chat_json_helps(tmp_path, name, wrong):
    write_huggingface(tmp_path, RWKV4, WEIGHTS)
    write(tmp_path / name, huggingface_config(RWKV4, eos_token_id=wrong))
    with pytest.raises(ConfigError, match=r"eos_token_id .* is no token id below 40") as caught:
        open_checkpoint(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert str(caught.value).isprintable()
    write(tmp_path / "chat.json", {"eos_token_id": [3, 5]})
    assert open_checkpoint(tmp_path).chat.eos_token_id == (3, 5)


def test_a_chat_json_that_does_not_say_it_leaves_it_to_the_others(tmp_path):
    write_huggingface(tmp_path, RWKV4, WEIGHTS)
    write_config(tmp_path, huggingface_config(RWKV4, eos_token_id=[7, 3]))
    write(tmp_path / "chat.json", {"user": "Bob: "})
    assert open_checkpoint(tmp_path).chat == ChatFormat(user="Bob: ", eos_token_id=(7, 3))
    write(tmp_path / "chat.json", {"eos_token_id": None})
    assert open_checkpoint(tmp_path).chat.eos_token_id is None


@pytest.mark.parametrize(
    ("name", "token", "expected"),
    [
        ("tokenizer_config.json", "<|endoftext|>", 0),
        ("tokenizer_config.json", {"content": "!", "lstrip": False}, "!"),
        ("special_tokens_map.json", "!", "!"),
        ("tokenizer_config.json", "<not there>", 0),
        ("tokenizer_config.json", None, 0),
    ],
)
def test_the_tokenizers_own_end_where_no_config_says_one(tmp_path, name, token, expected):
    folder = write_rrwkv(tmp_path, LARGE, random_weights(LARGE), tokenizer=ASSET / "tokenizer.json")
    vocabulary = json.loads((ASSET / "tokenizer.json").read_text())["model"]["vocab"]
    write(folder / name, {"eos_token": token})
    assert open_checkpoint(folder).chat.eos_token_id == vocabulary.get(expected, 0)
    write(folder / "generation_config.json", {"eos_token_id": 5})
    assert open_checkpoint(folder).chat.eos_token_id == 5


def test_files_beside_a_plain_file_are_not_its_own(tmp_path):
    torch.save(WEIGHTS, tmp_path / "m.pth")
    write(tmp_path / "generation_config.json", {"eos_token_id": 9})
    write_config(tmp_path, {"model_type": "llama", "eos_token_id": 9})
    assert open_checkpoint(tmp_path / "m.pth").chat.eos_token_id == 0


def test_it_is_said_in_words():
    tokenizer = TokenizerFile("tokenizer.json", ASSET / "tokenizer.json")
    said = describe_ending(ChatFormat(eos_token_id=0), lambda token_id: spelled(tokenizer, token_id))
    assert said == "a text ends with token 0 ('<|endoftext|>'), a reply also with '\\n\\n'"
    assert describe_ending(ChatFormat(eos_token_id=(5, 3), turn_end="")) == "a text ends with token 3 or token 5"
    assert describe_ending(ChatFormat(turn_end="")).startswith("nothing ends a text: export it with --chat")
    assert "but no token ends a text" in describe_ending(ChatFormat())
