"""Every format gives the same model, lazily."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from checkpoint_files import (
    ASSET,
    RRWKV,
    RWKV4,
    random_weights,
    write_blinkdl,
    write_config,
    write_huggingface,
    write_rrwkv,
)
from safetensors.torch import load_file, save_file

from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.checkpoint import Weights, open_checkpoint
from rrwkv_export.checkpoint.containers.entries import Entry
from rrwkv_export.errors import TensorError

WRITERS = {
    "rrwkv": lambda folder, *model: write_rrwkv(folder / "m", *model),
    "rrwkv shards": lambda folder, *model: write_rrwkv(folder / "m", *model, shards=3),
    "blinkdl": lambda folder, *model: write_blinkdl(folder / "m.pth", *model, torch.float32),
    "huggingface": lambda folder, *model: write_huggingface(folder / "m", *model),
    "huggingface shards": lambda folder, *model: write_huggingface(folder / "m", *model, shards=2),
    "huggingface bin": lambda folder, *model: write_huggingface(folder / "m", *model, "bin"),
    "huggingface bin shards": lambda folder, *model: write_huggingface(folder / "m", *model, "bin", shards=2),
}


def assert_same(found: Weights, expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        array = found.array(name)
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, tensor.to(torch.float32).numpy(), err_msg=name)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rwkv4(tmp_path, name):
    weights = random_weights(RWKV4)
    checkpoint = open_checkpoint(WRITERS[name](tmp_path, RWKV4, weights))
    assert checkpoint.format == name.split()[0]
    assert checkpoint.config == RWKV4
    assert all(file.is_file() for file in checkpoint.files)
    assert len(checkpoint.files) == {"rrwkv shards": 3}.get(name, 2 if name.endswith("shards") else 1)
    assert_same(checkpoint.weights, weights)


@pytest.mark.parametrize("name", ["rrwkv", "rrwkv shards", "blinkdl"])
def test_mediums_come_with_their_config(tmp_path, name):
    weights = random_weights(RRWKV)
    path = WRITERS[name](tmp_path, RRWKV, weights)
    if name == "blinkdl":
        write_config(tmp_path, RRWKV)
    checkpoint = open_checkpoint(path)
    assert checkpoint.config == RRWKV
    assert_same(checkpoint.weights, weights)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("legacy", [False, True])
def test_pth_keeps_its_dtype(tmp_path, dtype, legacy):
    weights, path = random_weights(RWKV4), tmp_path / "m.pth"
    write_blinkdl(path, RWKV4, weights, dtype)
    if legacy:
        torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)
    found = open_checkpoint(path).weights
    assert found.dtype("emb.weight") == str(dtype).removeprefix("torch.")
    assert found["emb.weight"].dtype == dtype
    assert_same(found, {name: tensor.to(dtype) for name, tensor in weights.items()})


@pytest.mark.parametrize("sharded", [False, True])
def test_transformers_own_files_are_read(tmp_path, sharded):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "attention_hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 40}
    model = transformers.RwkvForCausalLM(transformers.RwkvConfig(**sizes))
    model.save_pretrained(tmp_path, max_shard_size="8KB" if sharded else "5GB")
    checkpoint = open_checkpoint(tmp_path)
    assert (len(checkpoint.files) > 1) == sharded
    assert checkpoint.config == RWKV4Config(40, 16, 2, 64)
    ours, theirs = checkpoint.weights, dict(model.named_parameters())
    pairs = {
        "emb.weight": "rwkv.embeddings.weight",
        "blocks.0.ln0.bias": "rwkv.blocks.0.pre_ln.bias",
        "blocks.1.att.time_mix_r": "rwkv.blocks.1.attention.time_mix_receptance",
        "blocks.1.ffn.key.weight": "rwkv.blocks.1.feed_forward.key.weight",
    }
    assert len(ours) == len(theirs)
    for name, their_name in pairs.items():
        assert torch.equal(ours[name], theirs[their_name].detach().reshape(ours.shape(name)))


def test_shipped_checkpoint():
    checkpoint = open_checkpoint(str(ASSET))
    assert checkpoint.config.parameters() == 13_745_920
    assert checkpoint.config.medium.slots == 16
    assert checkpoint.weights.dtype("emb.weight") == "float16"
    assert checkpoint.tokenizer.type == "tokenizer.json"
    assert (checkpoint.chat.stop, checkpoint.chat.bos_token_id) == (("\n\n",), 0)
    stored = load_file(ASSET / "model.safetensors")
    assert all(torch.equal(checkpoint.weights[name], stored[name]) for name in checkpoint.weights)


def test_weights_are_a_mapping_of_the_configs_shapes(tmp_path):
    found = open_checkpoint(write_blinkdl(tmp_path / "m.pth", RWKV4, random_weights(RWKV4))).weights
    assert list(found) == list(RWKV4.shapes())
    assert all(found[name].shape == found.shape(name) == shape for name, shape in RWKV4.shapes().items())
    assert "emb.weight" in found
    assert "blocks.0.medium.squeeze" not in found
    with pytest.raises(KeyError):
        found["blocks.0.medium.squeeze"]


@pytest.mark.parametrize("name", WRITERS)
def test_not_finite_is_found_when_read_and_not_before(tmp_path, name):
    weights = random_weights(RWKV4)
    weights["blocks.1.att.time_mix_k"][3] = torch.nan
    weights["emb.weight"][5, 5] = -torch.inf
    found = open_checkpoint(WRITERS[name](tmp_path, RWKV4, weights)).weights
    assert found["head.weight"].isfinite().all()
    with pytest.raises(TensorError, match=r"m\S*: '\S*time_mix_k(ey)?' holds NaN"):
        found["blocks.1.att.time_mix_k"]
    with pytest.raises(TensorError, match=r"'\S*emb\S*\.weight' holds NaN"):
        found.array("emb.weight")


def test_float64_beyond_float32_is_not_finite_as_an_array(tmp_path):
    weights = random_weights(RWKV4)
    weights["ln_out.bias"] = weights["ln_out.bias"].double() * 1e200
    found = open_checkpoint(write_rrwkv(tmp_path, RWKV4, weights)).weights
    assert found["ln_out.bias"].isfinite().all()
    with pytest.raises(TensorError, match=r"ln_out\.bias"):
        found.array("ln_out.bias")


@pytest.mark.parametrize("name", WRITERS)
def test_tensors_are_new_each_time(tmp_path, name):
    found = open_checkpoint(WRITERS[name](tmp_path, RWKV4, random_weights(RWKV4))).weights
    first = copy.deepcopy(found["ln_out.bias"])
    found["ln_out.bias"].zero_()
    found.array("ln_out.bias")[:] = 0
    assert torch.equal(found["ln_out.bias"], first)


def test_single_safetensors_needs_a_config_only_for_mediums(tmp_path):
    file = tmp_path / "any.safetensors"
    save_file(random_weights(RWKV4), file)
    assert open_checkpoint(file).config == RWKV4
    write_config(tmp_path, {"model_type": "llama"})
    assert open_checkpoint(file).config == RWKV4
    save_file(random_weights(RRWKV), file)
    assert open_checkpoint(file, config=RRWKV).config == RRWKV
    write_config(tmp_path, RRWKV)
    assert open_checkpoint(file).config == RRWKV


def test_foreign_config_beside_a_plain_pth_is_left_alone(tmp_path):
    path = write_blinkdl(tmp_path / "m.pth", RWKV4, random_weights(RWKV4))
    write_config(tmp_path, {"model_type": "llama"})
    assert open_checkpoint(path).config == RWKV4


def test_given_config_wins_over_the_directorys(tmp_path):
    write_rrwkv(tmp_path / "m", RWKV4, random_weights(RWKV4))
    other = write_config(tmp_path, RWKV4.to_json() | {"layer_norm_epsilon": 1e-3})
    assert open_checkpoint(tmp_path / "m", config=other).config.layer_norm_epsilon == 1e-3


def test_huggingface_defaults(tmp_path):
    config = RWKV4Config(40, 16, 2, 64)
    write_huggingface(tmp_path, config, random_weights(config))
    fields = json.loads((tmp_path / "config.json").read_text())
    for name in ("attention_hidden_size", "intermediate_size"):
        fields[name] = None
    del fields["layer_norm_epsilon"], fields["model_type"]
    write_config(tmp_path, fields)
    assert open_checkpoint(tmp_path).config == config


def test_shards_in_the_hugging_face_cache_are_links_to_its_blobs(tmp_path):
    real = write_huggingface(tmp_path / "blobs", RWKV4, random_weights(RWKV4), shards=2)
    snapshot = tmp_path / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    for file in real.iterdir():
        (snapshot / file.name).symlink_to(file)
    assert_same(open_checkpoint(snapshot).weights, random_weights(RWKV4))


def test_opening_reads_no_tensor(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(Entry, "__init__", counting(Entry.__init__, read))
    found = open_checkpoint(write_rrwkv(tmp_path, RWKV4, random_weights(RWKV4))).weights
    assert read == []
    found["emb.weight"], found.array("emb.weight")
    assert read == ["emb.weight", "emb.weight"]


def counting(make, read):
    """Entry's constructor, whose `load` notes the names it is called for."""

    def wrapped(self, file, name, shape, dtype, load):
        make(self, file, name, shape, dtype, lambda: read.append(name) or load())

    return wrapped
