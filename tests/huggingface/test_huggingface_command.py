"""`rrwkv huggingface`, and folders as it writes them: what is refused, what is read, what `rrwkv train` writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from checkpoint_files import ASSET, RRWKV, RWKV6, RWKV7, random_weights, write_blinkdl, write_rrwkv

from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import ConfigError
from rrwkv_export.huggingface import convert, folder, write_beside
from rrwkv_runtime.manifest import ChatFormat


@pytest.fixture
def checkpoint(tmp_path):
    return write_rrwkv(tmp_path / "from", RRWKV, random_weights(RRWKV))


def test_a_file_of_blinkdls_becomes_a_folder_that_is_read_the_same(rrwkv, tmp_path):
    path = write_blinkdl(tmp_path / "model.pth", RWKV7, random_weights(RWKV7))
    said = rrwkv("huggingface", path, "-o", tmp_path / "out").out
    assert "rwkv7, " in said
    made, before = open_checkpoint(tmp_path / "out"), open_checkpoint(path)
    assert made.config == before.config
    assert made.chat == before.chat
    assert all(torch.equal(made.weights[n], before.weights[n]) for n in before.weights)
    fields = json.loads((tmp_path / "out" / "config.json").read_text())
    assert fields["dtype"] == "bfloat16"
    assert {path.name for path in (tmp_path / "out").glob("*.py")} == set(folder.CODE)


def test_large_models_are_written_in_shards(checkpoint, tmp_path):
    names = convert(open_checkpoint(checkpoint), tmp_path / "out", largest_shard=20_000)
    assert len(names) > 1
    made, before = open_checkpoint(tmp_path / "out"), open_checkpoint(checkpoint)
    assert all(torch.equal(made.weights[n], before.weights[n]) for n in before.weights)
    assert convert(open_checkpoint(checkpoint), tmp_path / "out", overwrite=True) == ("model.safetensors",)
    assert not list((tmp_path / "out").glob("model-*"))


def test_what_is_there_stays_unless_it_is_to_be_replaced(rrwkv, checkpoint, tmp_path):
    out = tmp_path / "out"
    rrwkv("huggingface", checkpoint, "-o", out)
    assert "--force" in rrwkv("huggingface", checkpoint, "-o", out, status=1).err
    rrwkv("huggingface", checkpoint, "-o", out, "--force")
    (out / "notes.txt").write_text("mine")
    assert "also holds 'notes.txt'" in rrwkv("huggingface", checkpoint, "-o", out, "--force", status=1).err
    assert "will not be replaced" in rrwkv("huggingface", checkpoint, "-o", checkpoint, "--force", status=1).err
    assert {path.name for path in checkpoint.iterdir()} == {"config.json", "model.safetensors"}


def test_other_models_are_refused_by_name_before_anything_is_written(rrwkv, tmp_path):
    path = write_blinkdl(tmp_path / "model.pth", RWKV6, random_weights(RWKV6))
    said = rrwkv("huggingface", path, "-o", tmp_path / "out", status=1).err
    assert said.startswith("rrwkv: error: rwkv6: the code for transformers knows rwkv4, rrwkv, rwkv7; `rrwkv export`")
    damaged = random_weights(RWKV7)
    damaged["head.weight"][3] = torch.nan
    path = write_blinkdl(tmp_path / "model.pth", RWKV7, damaged)
    assert "holds NaN" in rrwkv("huggingface", path, "-o", tmp_path / "out", status=1).err
    assert not (tmp_path / "out").exists()


def test_words_of_transformers_are_passed_over_only_where_they_may_stand(checkpoint, tmp_path):
    fields = json.loads((checkpoint / "config.json").read_text())
    theirs = {"transformers_version": "5.0.0", "use_cache": True, "torch_dtype": "float32"}
    (checkpoint / "config.json").write_text(json.dumps({**fields, **theirs, "model_type": "rrwkv"}))
    assert open_checkpoint(checkpoint).config == RRWKV
    (checkpoint / "config.json").write_text(json.dumps({**fields, **theirs}))
    with pytest.raises(ConfigError, match="unknown field 'torch_dtype'"):
        _ = open_checkpoint(checkpoint).config
    (checkpoint / "config.json").write_text(json.dumps({**fields, "model_type": "rrwkv", "hidden_size": -1}))
    with pytest.raises(ConfigError, match="hidden_size"):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize("chat", [7, {"user": 3}, {"mystery": 1}, {"eos_token_id": 4096}])
def test_a_chat_format_in_a_config_is_held_to_the_same_rules(chat, checkpoint):
    fields = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**fields, "model_type": "rrwkv", "chat": chat}))
    with pytest.raises(ConfigError, match=r"config\.json: chat"):
        open_checkpoint(checkpoint)


def test_the_file_wins_over_what_the_config_says_of_chats(tmp_path):
    shutil.copytree(ASSET, tmp_path / "model")
    write_beside(tmp_path / "model", RRWKV, ChatFormat(user="Q: "), "float32")
    fields = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**fields, **open_checkpoint(ASSET).config.to_json()}))
    assert open_checkpoint(tmp_path / "model").chat.user == "Q: "
    (tmp_path / "model" / "chat.json").write_text('{"user": "A: ", "eos_token_id": 0}')
    assert open_checkpoint(tmp_path / "model").chat.user == "A: "
    Path(tmp_path / "model" / "chat.json").unlink()
    assert open_checkpoint(tmp_path / "model").chat.user == "Q: "


def test_jinja_in_a_chat_format_stays_text():
    pytest.importorskip("jinja2", reason="jinja2 is not installed: it comes with transformers")
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from rrwkv_export.huggingface.chat_template import chat_template

    hostile = ChatFormat(user="\"}}{{ 7 * 7 }}'\\ ", assistant="{% raw %}😀:", turn_end="#}\n")
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
        chat_template(hostile, begins=False)
    )
    written = template.render(messages=[{"role": "user", "content": "{{ 1 }}"}], add_generation_prompt=True)
    assert written == "\"}}{{ 7 * 7 }}'\\ {{ 1 }}#}\n{% raw %}😀:"
