"""The tokenizer and the chat format that go with a checkpoint."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from checkpoint_files import ASSET, RWKV4, random_weights, write_blinkdl, write_rrwkv
from hypothesis import given
from hypothesis import strategies as st

from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.checkpoint import TokenizerFile, open_checkpoint
from rrwkv_export.checkpoint.beside.tokenizer import find_tokenizer
from rrwkv_export.errors import CheckpointError, ConfigError
from rrwkv_export.export import export
from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.manifest import ChatFormat, Manifest
from rrwkv_runtime.text.world_vocabulary import parse_world_vocabulary
from rrwkv_runtime.tokenizer import load_tokenizer, open_tokenizer

LARGE = RWKV4Config(vocab_size=4096, hidden_size=8, num_layers=1, ffn_size=8)
WORLD = "".join(f"{byte + 1} {bytes([byte])!r} 1\n" for byte in range(256)) + "257 'ab' 2\n"


TOKENS = {257: b"ab", **{byte + 1: bytes([byte]) for byte in range(256)}}


def as_json(token):
    return token.decode() if token < b"\x80" else list(token)


LAYOUTS = {
    "rwkv_vocab_v20230424.txt": WORLD,
    "b_rwkv_vocab.txt": "\ufeff" + "".join(f"{i} {token!r} {len(token)}\r\n" for i, token in TOKENS.items()),
    "vocab.txt": "".join(f"{token!r}\n" for _, token in sorted({**TOKENS, 0: b"<s>"}.items())),
    "rwkv_vocab_v20230424.json": json.dumps({str(i): as_json(token) for i, token in TOKENS.items()}, indent=4),
    "Vocab.JSON": json.dumps({"0": "<|endoftext|>", **{str(i): list(token) for i, token in TOKENS.items()}}),
    "vocab_inverted.json": json.dumps(
        {repr(as_text)[1:-1] if isinstance(as_text := as_json(t), str) else repr(t): i for i, t in TOKENS.items()}
    ),
}


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
    ("name", "content", "said"),
    [
        ("t.json", "{}", "not a tokenizer.json, which has a model"),
        ("t.json", "no", "neither a tokenizer.json nor the World vocabulary"),
        ("t.json", '{"model"', "not valid JSON"),
        (
            "t.jsonl",
            '{"text": "a"}\n{"text": "b"}\n',
            "several JSON values, as JSON lines; give",
        ),
        ("t.json", '{"a":' * 10_000, "nested too deeply"),
        ("t.json", '{"model": {"type": "BPE"}}', "not a usable tokenizer.json"),
        ("t.json", '{"a": 0, "b": 1}', "the vocabulary of a tokenizer without its rules"),
        ("tokenizer_config.json", '{"tokenizer_class": "X"}', "the settings of a tokenizer, not the tokenizer"),
        ("t.txt", "", "the file is empty"),
        ("t.txt", "hello\n", "neither a tokenizer.json nor"),
        ("t.txt", "1 __import__('os').getcwd() 1\n", "line 1: not a literal"),
        ("t.txt", "1 'a' 1\n2 {[]: 1} 1\n", "line 2: not a literal"),
        ("t.txt", "1 '\\d' 2\n", "no token for the byte"),
        ("t.txt", "'a'\n", "no token for the byte"),
        ("t.txt", "".join(f"{bytes([byte])!r}\n" for byte in range(256)), "token 0 is b'.x00', but it ends a text"),
        ("t.txt", "version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (
            "t.model",
            b"\n\x0e\x00\xff",
            "a SentencePiece model is not read: save it as tokenizer.json with transformers",
        ),
    ],
)
def test_unusable_tokenizers(folder, tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=f"{name}: .*{said}") as caught:
        open_checkpoint(folder, tokenizer=tmp_path / name)
    assert "\n" not in str(caught.value)


@given(
    st.text(max_size=40)
    | st.sampled_from(sorted(LAYOUTS)).flatmap(
        lambda name: st.tuples(
            st.integers(0, len(LAYOUTS[name])), st.text("0179'\"\\\n {}[]b,:x\x85\u2028", max_size=4)
        ).map(lambda cut: LAYOUTS[name][: cut[0]] + cut[1] + LAYOUTS[name][cut[0] + len(cut[1]) :])
    )
)
def test_any_file_is_a_tokenizer_or_one_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "hostile"
    path.write_text(content, encoding="utf-8", newline="")
    with contextlib.suppress(RRWKVError):
        assert find_tokenizer(path, path.parent, 4096).content


def test_tokenizer_that_is_not_there(folder):
    wrong = {"none.json": "no such tokenizer", "/dev/null": "a pipe or a device", str(folder): "is in this folder"}
    for path, said in wrong.items():
        with pytest.raises(CheckpointError, match=said):
            open_checkpoint(folder, tokenizer=path)


@pytest.mark.parametrize("name", ["tokenizer.json", "world.txt"])
def test_tokenizer_of_another_model(tmp_path, name):
    folder = write_rrwkv(tmp_path / "model", RWKV4, random_weights(RWKV4), tokenizer=ASSET / "tokenizer.json")
    (tmp_path / "world.txt").write_text(WORLD)
    with pytest.raises(CheckpointError, match=r"the model only 40 tokens, so it is another model's; .*--tokenizer"):
        open_checkpoint(folder, tokenizer=None if name == "tokenizer.json" else tmp_path / name)


def test_a_model_without_the_unknown_token_is_another_tokenizers(tmp_path):
    folder = write_rrwkv(tmp_path, RWKV4, random_weights(RWKV4))
    fields = json.loads(words(count=40, added=[(40, "[UNK]")], vocab=[("[UNK]", 40)]))
    fields["model"]["unk_token"] = "[UNK]"
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match="has 41 tokens and the model only 40 tokens"):
        open_checkpoint(folder)


def test_a_tokenizer_of_letters_that_no_english_has(folder):
    """As of DNA: its alphabet, and no token for anything else."""
    fields = {"model": {"type": "BPE", "vocab": {"A": 0, "C": 1, "G": 2, "T": 3}, "merges": []}}
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    assert open_checkpoint(folder).tokenizer.path == folder / "tokenizer.json"
    fields["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Removed", "invert": False}
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match="makes no tokens of any text"):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_world_vocabulary_in_every_layout(folder, tmp_path, name):
    for place in (folder, tmp_path):
        (place / name).write_text(LAYOUTS[name], encoding="utf-8")
    (tmp_path / "any name").write_text(LAYOUTS[name], encoding="utf-8")
    for tokenizer in (None, tmp_path / name, tmp_path / "any name", folder):
        checkpoint = open_checkpoint(folder, tokenizer=tokenizer)
        assert checkpoint.tokenizer.type == "rwkv-world"
        assert parse_world_vocabulary(checkpoint.tokenizer.content.decode(), "it") == TOKENS
        assert open_tokenizer("rwkv-world", checkpoint.tokenizer.path).encode("abc<s>") == [257, 100, 61, 116, 63]
        assert checkpoint.chat.eos_token_id == 0


def test_a_world_vocabulary_that_lost_its_bytes_is_named(folder, tmp_path):
    lossy = {token.decode("utf-8", "ignore"): i for i, token in TOKENS.items()}
    (tmp_path / "v.json").write_text(json.dumps(lossy))
    with pytest.raises(CheckpointError, match=r"not UTF-8 were lost when it was made; use rwkv_vocab_v20230424\.txt"):
        open_checkpoint(folder, tokenizer=tmp_path / "v.json")


def words(*, count=0, added=(), vocab=()):
    """A tokenizer.json of `count` words, with added tokens (id, text), and more words of the vocabulary."""
    names = {**{f"w{i}": i for i in range(count)}, **dict(vocab)}
    tokens = [
        {"id": i, "content": text, **dict.fromkeys(("single_word", "lstrip", "rstrip"), False)} for i, text in added
    ]
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [{**token, "normalized": False, "special": True} for token in tokens],
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "vocab": names, "unk_token": "w0"},
        }
    )


def test_added_tokens_that_the_model_lacks_are_left_out(tmp_path):
    folder = write_rrwkv(tmp_path / "model", RWKV4, random_weights(RWKV4))
    added = [(3, "w3"), (40, "[PAD]"), (41, "<|user|>")]
    (folder / "tokenizer.json").write_text(words(count=40, added=added, vocab=[("[PAD]", 40)]))
    checkpoint = open_checkpoint(folder)
    (note,) = checkpoint.notes
    assert "2 added tokens that the model has no rows for are left out of the bundle's copy: '[PAD]' (40), '<|u" in note
    export(checkpoint, tmp_path / "bundle")
    tokenizer = load_tokenizer(tmp_path / "bundle", Manifest.load(tmp_path / "bundle"))
    assert tokenizer.vocab_size == 40
    assert tokenizer.encode("w7 [PAD] w8") == [7, 0, 8]


def test_words_that_the_model_lacks_are_another_models(tmp_path):
    folder = write_rrwkv(tmp_path / "model", RWKV4, random_weights(RWKV4))
    (folder / "tokenizer.json").write_text(words(count=41, added=[(41, "[PAD]")]))
    with pytest.raises(CheckpointError, match=r"has 41 tokens and the model only 40 .* or take this file away"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("tokens", "model", "note"),
    [
        (50277, 50277, ""),
        (50277, 50304, ""),  # a multiple of 128
        (50277, 50432, ""),  # of 256
        (50254, 50277, ""),  # without the added tokens
        (50277, 51200, ""),  # of 1024
        (65530, 65536, ""),
        (20095, 20096, ""),
        (40, 128, ""),
        (
            50277,
            65536,
            "has 50,277 tokens and the model 65,536; .* is usually a World model: --tokenizer world",
        ),
        (20095, 50277, "has 20,095 tokens and the model 50,277; .* trained on the Pile, with 20B_tokenizer.json"),
        (257, 4096, "has 257 tokens and the model 4,096; if the model was not trained with it, all text is gibberish"),
    ],
)
def test_a_model_of_many_more_tokens_is_noted(tmp_path, tokens, model, note):
    (tmp_path / "any.json").write_text(words(count=tokens))
    notes = find_tokenizer(tmp_path / "any.json", tmp_path, model).notes
    assert len(notes) == bool(note)
    assert re.search(note, "".join(notes))


SETTINGS = '{"tokenizer_class": "%s", "auto_map": {}}'


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"20B_tokenizer.json": words(count=9)}, "20B_tokenizer.json is not read, as it may be another model's"),
        (
            {"tokenizer.model": "\n\x0e\n\x05<unk>"},
            r"tokenizer.model in .*; save it as tokenizer.json with transformers",
        ),
        ({"vocab.json": '{"a": 0}', "merges.txt": "#version"}, "merges.txt, vocab.json in .*: not read"),
        ({"tokenizer_config.json": SETTINGS % "Rwkv5Tokenizer"}, "'Rwkv5Tokenizer', whose vocabulary is not in"),
        ({"tokenizer_config.json": SETTINGS % "GPTNeoXTokenizerFast"}, "but its tokenizer.json is not there"),
        ({"tokenizer_config.json": "["}, None),
        ({"vocabulary notes.txt": "hello", "README.md": "hi"}, "vocabulary notes.txt"),
        ({"README.md": "hi"}, None),
    ],
)
def test_a_tokenizer_that_is_not_read_is_mentioned(folder, files, said):
    for name, content in files.items():
        (folder / name).write_text(content)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.tokenizer is None
    assert len(checkpoint.notes) == (said is not None)
    assert re.search(said or "", "".join(checkpoint.notes))


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
        {"system": None},
        {"thinking": True},
        {"thinking": {"start": "<t>"}},
        {"thinking": {"kept": 1}},
        {"thinking": {"open": 1}},
        {"thinking": {"end": " "}},
        {"thinking": {"begin": "<t>"}},  # which is not what `open` opens
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
