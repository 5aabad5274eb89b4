"""Every refusal is one line that names the file and the remedy."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from checkpoint_files import (
    RRWKV,
    RWKV4,
    RWKV6,
    RWKV7,
    huggingface_config,
    random_weights,
    write_blinkdl,
    write_config,
    write_huggingface,
    write_rrwkv,
)
from safetensors.torch import save_file

from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError

WEIGHTS = random_weights(RWKV4)


def refusal(path, kind=CheckpointError, **options) -> str:
    with pytest.raises(kind) as caught:
        open_checkpoint(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message.replace(os.path.dirname(path), "")) < 300
    return message


class Evil:
    def __reduce__(self):
        return (os.system, ("touch /tmp/rrwkv-was-here",))


def cut(path, part=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    return path


def test_nothing_there(tmp_path):
    assert "no such file" in refusal(tmp_path / "none")
    assert "empty" in refusal(tmp_path)
    write_config(tmp_path, RWKV4)
    assert "has no weights" in refusal(tmp_path)
    torch.save(WEIGHTS, tmp_path / "RWKV-4.pth")
    assert "give the path of RWKV-4.pth itself" in refusal(tmp_path)


def test_directory_with_mediums_and_without_config(tmp_path):
    save_file(random_weights(RRWKV), tmp_path / "model.safetensors")
    assert "config.json" in refusal(tmp_path)
    assert open_checkpoint(tmp_path, config=RRWKV).config == RRWKV


@pytest.mark.parametrize("part", [0.9, 0.5, 0.01, 0.0002])
def test_truncated(tmp_path, part):
    folder = cut(write_rrwkv(tmp_path / "d", RWKV4, WEIGHTS) / "model.safetensors", part).parent
    assert "copy, download or save it again" in refusal(folder)
    assert "copy, download or save it again" in refusal(cut(write_blinkdl(tmp_path / "m.pth", RWKV4, WEIGHTS), part))


def test_truncated_legacy_pth(tmp_path):
    torch.save(WEIGHTS, tmp_path / "m.pth", _use_new_zipfile_serialization=False)
    assert "copy, download or save it again" in refusal(cut(tmp_path / "m.pth"))


TOPS = {
    "a list": ([1, 2], "holds a list, not a dict"),
    "a list among tensors": ({**WEIGHTS, "steps": [3]}, "'steps' is of type list"),
    "nested without tensors": ({"state_dict": {"emb": [1]}}, "'emb' is of type list"),
    "nested too deep": ({"model": {"model": {"model": {"model": {"model": WEIGHTS}}}}}, "nested too deep"),
    "an optimizer": ({"state": {0: {"step": 1}}, "param_groups": []}, "an optimizer's state"),
    "DeepSpeed's optimizer": ({"optimizer_state_dict": {"zero_stage": 2}}, "an optimizer's state"),
    "ZeRO-3": ({"module": {**WEIGHTS, "emb.weight": torch.zeros(0)}}, "zero_to_fp32.py"),
    "converted": ({**WEIGHTS, "_strategy": "cuda fp16"}, "give the original .pth"),
    "nothing": ({}, "it holds no tensor"),
    "another model": ({"tok_embeddings.weight": torch.zeros(4, 4)}, "begins with 'tok_embeddings.weight'"),
    "code": ({**WEIGHTS, "x": Evil()}, "refused, its pickle asks to run"),
    "a module": (torch.nn.Linear(2, 2), "asks to run torch.nn.modules.linear.Linear"),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", TOPS)
def test_pth_of_something_else(tmp_path, name, legacy):
    content, expected = TOPS[name]
    torch.save(content, tmp_path / "m.pth", _use_new_zipfile_serialization=not legacy)
    assert expected in refusal(tmp_path / "m.pth")
    assert not os.path.exists("/tmp/rrwkv-was-here")


# Of each: a model that it is more than, and the name that shows it.
VERSIONS = {
    "RWKV-7a": (RWKV7, "blocks.0.ffn.s_emb.weight"),
    "RWKV-7b": (RWKV7, "blocks.1.qkv.qq.weight"),
    "RWKV-6 (flash-linear-attention)": (RWKV6, "blocks.0.att.x_proj.0.mu"),
    "RWKV-8": (RWKV4, "blocks.0.rosa.q.weight"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_other_versions_are_named(tmp_path, version, suffix):
    path = tmp_path / f"m.{suffix}"
    config, sign = VERSIONS[version]
    save = save_file if suffix == "safetensors" else torch.save
    save(random_weights(config) | {sign: torch.zeros(16, 16)}, path)
    message = refusal(path)
    assert f"an {version} checkpoint (it has {sign!r})" in message
    assert "RRWKV, RWKV-4, 5, 6 and 7 are what is supported" in message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model_type": "rwkv8"}, "is RWKV-8"),
        ({"architectures": ["RWKV7bForCausalLM"]}, "is RWKV-7b"),
        ({"model_type": "rwkv7_hybrid"}, "is another architecture"),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "'llama' is another architecture"),
    ],
)
def test_other_architectures_are_named(tmp_path, fields, expected):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    write_config(tmp_path, fields)
    assert expected in refusal(tmp_path)


SWAPS = {
    "missing": (None, "is missing"),
    "misshapen": (torch.zeros(16, 15), r"is [16, 15], expected [16, 16]"),
    "wide": (torch.zeros(1, 1, 16, 16), "is [1, 1, 16, 16], expected [16, 16]"),
    "integers": (torch.zeros(16, 16, dtype=torch.int64), "I64"),
    "bool": (torch.zeros(16, 16, dtype=torch.bool), "BOOL"),
    "float8": (torch.zeros(16, 16).to(torch.float8_e4m3fn), "F8_E4M3"),
}


@pytest.mark.parametrize("name", SWAPS)
def test_tensors_that_do_not_fit(tmp_path, name):
    tensor, expected = SWAPS[name]
    weights = {key: value for key, value in WEIGHTS.items() if key != "blocks.1.att.key.weight"}
    if tensor is not None:
        weights["blocks.1.att.key.weight"] = tensor
    message = refusal(write_rrwkv(tmp_path / "own", RWKV4, weights), TensorError)
    assert "'blocks.1.att.key.weight'" in message
    assert expected in message
    message = refusal(write_huggingface(tmp_path / "hf", RWKV4, weights), TensorError)
    assert "'rwkv.blocks.1.attention.key.weight'" in message


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.zeros(16, 16, dtype=torch.complex64), "complex64"),
        (torch.zeros(16, 16).to_sparse(), "sparse_coo"),
        (torch.zeros(16, 16, device="meta"), "meta"),
        (torch.zeros(1).expand(1 << 20, 1 << 20), "less data than its shape"),
    ],
)
def test_pth_tensors_of_odd_kinds(tmp_path, tensor, expected):
    path = write_blinkdl(tmp_path / "m.pth", RWKV4, WEIGHTS)
    torch.save(torch.load(path) | {"blocks.1.att.key.weight": tensor}, path)
    assert expected in refusal(path, TensorError)


def test_quantized_pth(tmp_path, recwarn):
    quantized = torch.quantize_per_tensor(torch.zeros(16, 16), 1.0, 0, torch.qint8)
    torch.save(WEIGHTS | {"blocks.1.att.key.weight": quantized}, tmp_path / "m.pth")
    assert "quantized" in refusal(tmp_path / "m.pth", TensorError)


def test_extra_tensor(tmp_path):
    path = write_rrwkv(tmp_path, RWKV4, WEIGHTS | {"blocks.0.att.extra": torch.zeros(3)})
    assert "'blocks.0.att.extra'" in refusal(path, TensorError)


@pytest.mark.parametrize("layers", [1, 3, 1 << 12])
def test_config_of_another_number_of_layers(tmp_path, layers):
    write_rrwkv(tmp_path, RWKV4, WEIGHTS)
    write_config(tmp_path, RWKV4.to_json() | {"num_layers": layers})
    assert ("'blocks.1." if layers == 1 else "'blocks.2.ln1.weight'") in refusal(tmp_path, TensorError)


def test_config_that_disagrees_with_a_pth(tmp_path):
    path = write_blinkdl(tmp_path / "m.pth", RWKV4, WEIGHTS)
    other = write_config(tmp_path, RWKV4.to_json() | {"hidden_size": 8})
    assert "expected [40, 8]" in refusal(path, TensorError, config=other)
    path = write_blinkdl(tmp_path / "m.pth", RRWKV, random_weights(RRWKV))
    assert "expected [40, 8]" in refusal(path, TensorError)


def test_mediums_need_a_config(tmp_path):
    path = write_blinkdl(tmp_path / "m.pth", RRWKV, random_weights(RRWKV))
    assert "interval and slots" in refusal(path)
    assert open_checkpoint(path, config=RRWKV).config == RRWKV


@pytest.mark.parametrize(
    "fields", [[], {"vocab_size": 4}, RWKV4.to_json() | {"wings": 2}, RWKV4.to_json() | {"medium": 1}]
)
def test_invalid_config(tmp_path, fields):
    write_rrwkv(tmp_path, RWKV4, WEIGHTS)
    write_config(tmp_path, fields)
    assert "config.json" in refusal(tmp_path, ConfigError)


@pytest.mark.parametrize("text", ["{", '{"vocab_size": ' + "9" * 5000 + "}"])
def test_config_that_is_no_json(tmp_path, text):
    write_rrwkv(tmp_path, RWKV4, WEIGHTS)
    (tmp_path / "config.json").write_text(text)
    assert "not valid JSON" in refusal(tmp_path, ConfigError)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"attention_hidden_size": "16"}, "attention_size must be an integer"),
        ({"hidden_size": "16"}, "hidden_size must be an integer"),
        ({"num_hidden_layers": None}, "num_hidden_layers must be an integer"),
    ],
)
def test_huggingface_configs_that_are_refused(tmp_path, change, expected):
    write_huggingface(tmp_path, RWKV4, WEIGHTS)
    write_config(tmp_path, huggingface_config(RWKV4, **change))
    assert expected in refusal(tmp_path, ConfigError)


def test_no_head_and_nothing_that_says_it_is_tied(tmp_path):
    write_huggingface(tmp_path, RWKV4, {name: value for name, value in WEIGHTS.items() if name != "head.weight"})
    assert "has no head.weight" in refusal(tmp_path, TensorError)


@pytest.mark.parametrize(
    "shard", ["../out.safetensors", "/etc/passwd", "C:\\x.safetensors", "a\\..\\..\\x", "link", "a\0b"]
)
def test_index_that_leads_out(tmp_path, shard):
    folder = write_rrwkv(tmp_path / "m", RWKV4, WEIGHTS, shards=2)
    shutil.move(folder / "model-00001-of-00002.safetensors", tmp_path / "out.safetensors")
    (folder / "link").symlink_to(tmp_path / "out.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(WEIGHTS, shard)}))
    assert "out of the folder" in refusal(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"emb.weight": 1}}'])
def test_index_that_is_none(tmp_path, content):
    folder = write_rrwkv(tmp_path, RWKV4, WEIGHTS, shards=2)
    (folder / "model.safetensors.index.json").write_text(content)
    assert "index.json" in refusal(folder)


def test_shards_and_index_that_disagree(tmp_path):
    folder = write_rrwkv(tmp_path, RWKV4, WEIGHTS, shards=2)
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": places | {"more": places["emb.weight"]}}))
    assert "'more' should be there" in refusal(folder, TensorError)
    del places["emb.weight"]
    index.write_text(json.dumps({"weight_map": places}))
    assert "'emb.weight' is not there" in refusal(folder, TensorError)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "is missing" in refusal(folder)
