"""What a public World or G1 file needs beside its weights: the vocabulary that comes along."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import rwkv
from checkpoint_files import ASSET, RWKV7, random_weights, write_blinkdl, write_huggingface, write_rrwkv

from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.checkpoint.beside.chat import usual_format
from rrwkv_export.checkpoint.beside.world import shipped_vocabulary
from rrwkv_export.commands import _run as run_command
from rrwkv_export.errors import CheckpointError
from rrwkv_runtime.manifest import ChatFormat, Manifest, Thinking
from rrwkv_runtime.text.world_vocabulary import parse_world_vocabulary
from rrwkv_runtime.tokenizer import WorldTokenizer, load_tokenizer

WORLD7 = replace(RWKV7, vocab_size=65536, hidden_size=8, num_layers=1, ffn_size=8)
WORLD4 = RWKV4Config(65536, 8, 1, 8)
# What the tokenizer of the package `rwkv` 0.8.32 makes of texts in many scripts.
IDS = {
    "User: What's RWKV?\n\nAssistant: <think>\n</think>\nA recurrent model.": [
        *(24281, 59, 30031, 460, 4171, 1184, 64, 261, 5585, 41693, 59, 295, 35762, 63, 11, 754, 35762, 63, 11, 66),
        *(60342, 39043, 47),
    ],
    "def f(x):\n        return {'a': x ** 2}  # 3.14\r\n\tpass": [
        *(7334, 337, 41, 121, 501, 54807, 42178, 4896, 98, 448, 355, 3448, 285, 126, 267, 36, 286, 47, 634, 3332),
        26651,
    ],
    "今天天气很好，我们去公园吧。": [
        *(10381, 11639, 11639, 13655, 12337, 11685, 19137, 12605, 10402, 10985, 10678, 11423, 11061, 10080)
    ],
    "日本語のトークナイザーを試します。カタカナも。": [
        *(13053, 13205, 16592, 10138, 10201, 43525, 10203, 10169, 10186, 10242, 10164, 16572, 58538, 10080, 10175),
        *(10194, 10175, 10203, 10152, 10080),
    ],
    "안녕하세요, 세계! 오늘은 목요일입니다.": [
        *(18815, 3266, 150, 19052, 18777, 18862, 45, 48275, 34, 23129, 18586, 18883, 23053, 18862, 18891, 58625, 47)
    ],
    "Привет, мир! Как дела?": [27858, 27950, 27930, 45, 32732, 2810, 34, 32593, 2804, 57689, 64],
    "مرحبا بالعالم، كيف حالك؟": [
        *(2949, 2934, 2930, 2925, 2924, 48211, 2942, 28211, 2949, 2918, 5152, 28243, 5142, 28211, 2947, 217, 160)
    ],
    "नमस्ते दुनिया, आप कैसे हैं?": [
        *(9473, 9477, 9484, 9495, 9469, 9492, 22877, 9490, 9473, 9488, 9478, 9487, 45, 22873, 9474, 22874, 9493),
        *(9484, 9492, 22886, 9493, 9458, 64),
    ],
    "สวัสดีชาวโลก": [9627, 9624, 9631, 9627, 9609, 9635, 9606, 9632, 9624, 9641, 9623, 9601],
    "Γειά σου Κόσμε — naïve café, Zoë’s œuvre": [
        *(2695, 27802, 2717, 5051, 27824, 5024, 2747, 2739, 27815, 22898, 46644, 37946, 45, 4360, 2505, 28309, 47852)
    ],
    "🙂🎉👩\u200d👩\u200d👧 ½ ∑∫ \u200b \x00\x7f": [
        *(3319, 2417, 3319, 143, 138, 3319, 146, 170, 9810, 3319, 146, 170, 9810, 3319, 146, 168, 4935, 22928, 9923),
        *(22895, 33, 1, 128),
    ],
}


@pytest.fixture(scope="module")
def vocabulary():
    return parse_world_vocabulary(shipped_vocabulary()[1].decode(), "it")


def test_the_shipped_vocabulary_is_blinkdls(vocabulary):
    path, data = shipped_vocabulary()
    digest = "e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89"
    assert hashlib.sha256(data).hexdigest() == digest
    assert digest in (path.parent / "README.md").read_text()
    assert path.stat().st_size < 150_000
    original = Path(rwkv.__path__[0]) / "rwkv_vocab_v20230424.txt"
    assert data == original.read_bytes().replace(b"\r\n", b"\n")
    assert (len(vocabulary), min(vocabulary), max(vocabulary)) == (65529, 1, 65529)
    assert len([token for token in vocabulary.values() if token.decode(errors="ignore").encode() != token]) == 486


def test_text_of_many_scripts_is_what_the_rwkv_package_makes_of_it(vocabulary):
    tokenizer = WorldTokenizer(vocabulary)
    for text, ids in IDS.items():
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == text
        stream = tokenizer.stream()
        assert "".join(map(stream.push, ids)) == text


def test_export_with_the_world_vocabulary_by_name(tmp_path, capsys):
    path = write_blinkdl(tmp_path / "rwkv7-g1-tiny.pth", WORLD7, random_weights(WORLD7))
    bundle = tmp_path / "bundle"
    assert run_command(["export", str(path), "-o", str(bundle), "--tokenizer", "world", "--tokens", "20"]) == 0
    said = capsys.readouterr().out
    assert "rwkv-world" in said
    assert "it may think first (--think), between '<think>' and '</think>', and later turns do not see it" in said
    assert run_command(["info", str(bundle)]) == 0
    assert re.search(r"thought .*between '<think>' and '</think>'", capsys.readouterr().out)
    manifest = Manifest.load(bundle)
    assert (manifest.tokenizer.type, manifest.chat.eos_token_id) == ("rwkv-world", 0)
    assert manifest.chat.thinking == Thinking()
    assert (bundle / manifest.tokenizer.file).read_bytes() == shipped_vocabulary()[1]
    assert load_tokenizer(bundle, manifest).encode("Hello") == [33155]


CHAT = {"temperature": 1.0, "top_p": 0.3, "presence_penalty": 0.5, "frequency_penalty": 0.5, "penalty_decay": 0.996}


@pytest.mark.parametrize(
    ("name", "thinks"),
    [
        ("rwkv7-g1a-0.1b-20250728-ctx4096.pth", True),
        ("RWKV7-G0.st", True),
        ("rwkv7-g1a3-7.2b", True),
        ("RWKV-x060-World-1B6-v2.1-20240328-ctx4096.pth", False),
        ("rwkv7-g1ant.pth", False),
        ("g1.pth", False),
    ],
)
def test_a_g1_model_is_known_by_its_name(tmp_path, name, thinks):
    assert usual_format(tmp_path / name, has_world_vocabulary=True) == ("g1" if thinks else "world")
    assert usual_format(tmp_path / name / "snapshots" / "0a1b", has_world_vocabulary=True) == (
        "g1" if thinks else "world"
    )
    assert usual_format(tmp_path / name, has_world_vocabulary=False) is None


def test_a_world_models_chat_format_is_its_own_unless_another_is_given(tmp_path):
    path = write_blinkdl(tmp_path / "rwkv7-g1-0.1b.pth", WORLD4, random_weights(WORLD4))
    world = ChatFormat(eos_token_id=0, system="System: ", sampling=CHAT)
    assert open_checkpoint(path).chat == ChatFormat(eos_token_id=0)  # ids have no words
    for given, thinking in ((None, Thinking()), ("g1", Thinking()), ("world", None)):
        assert open_checkpoint(path, tokenizer="world", chat=given).chat == replace(world, thinking=thinking)
    (tmp_path / "chat.json").write_text('{"user": "Bob: "}')
    assert open_checkpoint(path, tokenizer="world").chat == ChatFormat(user="Bob: ", eos_token_id=0)


@pytest.mark.parametrize(
    ("card", "thinks"),
    [
        ("---\nbase_model: BlinkDL/rwkv7-g1\n---\n", True),
        ("---\nbase_model:\n- BlinkDL/rwkv7-g1\n---\n", True),
        ('---\nlicense: apache-2.0\n---\n\n# RWKV7-G1 "GooseOne" pure RNN reasoning model\n', True),
        ("# RWKV-7 World\n\nNewer ones are called rwkv7-g1.\n", False),
    ],
)
def test_a_folders_card_says_what_its_model_is_called(tmp_path, card, thinks):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "README.md").write_text(card)
    assert usual_format(folder, has_world_vocabulary=True) == ("g1" if thinks else "world")


def test_without_a_tokenizer_a_world_model_is_told_of_its_own(tmp_path):
    path = write_blinkdl(tmp_path / "model.pth", WORLD4, random_weights(WORLD4))
    for others in ("", "20B_tokenizer.json"):  # of the Pile's models, in the same folder
        if others:
            (tmp_path / others).write_bytes((ASSET / "tokenizer.json").read_bytes())
        checkpoint = open_checkpoint(path)
        assert checkpoint.tokenizer is None
        (note,) = checkpoint.notes
        assert "works on token ids; a model of 65,536 is usually a World model: --tokenizer world" in note
    assert open_checkpoint(path, tokenizer="world").notes == ()


@pytest.mark.parametrize(
    "settings",
    [
        '{"tokenizer_class": "Rwkv5Tokenizer"}',
        '{"tokenizer_class": "RWKVWorldTokenizer", "auto_map": {}}',
        '{"auto_map": {"AutoTokenizer": ["hf_rwkv_tokenizer.RwkvTokenizer", null]}}',
    ],
)
def test_a_folder_that_names_the_world_tokenizer_gets_it(tmp_path, settings):
    folder = write_huggingface(tmp_path / "model", WORLD4, random_weights(WORLD4))
    (folder / "tokenizer_config.json").write_text(settings)
    for given in (None, folder):
        checkpoint = open_checkpoint(folder, tokenizer=given)
        assert checkpoint.tokenizer.content == shipped_vocabulary()[1]
        assert re.search(r"names '.*Tokenizer', .*: it is the World vocabulary", "".join(checkpoint.notes))
    other = open_checkpoint(folder, tokenizer=ASSET / "tokenizer.json").tokenizer
    assert other.type == "tokenizer.json"


def test_settings_of_another_tokenizer_or_of_another_size_do_not_get_it(tmp_path):
    folder = write_huggingface(tmp_path / "model", WORLD4, random_weights(WORLD4))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPTNeoXTokenizerFast"}')
    assert open_checkpoint(folder).tokenizer is None
    small = replace(WORLD4, vocab_size=4096)
    folder = write_rrwkv(tmp_path / "small", small, random_weights(small))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "Rwkv5Tokenizer"}')
    assert open_checkpoint(folder).tokenizer is None
    with pytest.raises(CheckpointError, match="has 65,530 tokens and the model only 4,096"):
        open_checkpoint(folder, tokenizer="world")


def test_a_file_of_that_name_is_given_as_a_path(tmp_path, monkeypatch):
    folder = write_rrwkv(tmp_path / "m", WORLD4, random_weights(WORLD4))
    (tmp_path / "world").write_bytes((ASSET / "tokenizer.json").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert open_checkpoint(folder, tokenizer="./world").tokenizer.type == "tokenizer.json"
    assert open_checkpoint(folder, tokenizer="world").tokenizer.type == "rwkv-world"
    with pytest.raises(CheckpointError, match="or the word world for the World vocabulary"):
        open_checkpoint(folder, tokenizer="World")
