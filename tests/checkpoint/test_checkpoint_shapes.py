"""Files under any name, as trainers and converters write them; what is no checkpoint is named for what it is."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from checkpoint_files import (
    RRWKV,
    RWKV4,
    huggingface_config,
    random_weights,
    write_config,
    write_huggingface,
    write_rrwkv,
)
from safetensors.torch import save, save_file

from rrwkv_export.architectures.dialects import Transformers
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError

WEIGHTS = random_weights(RWKV4)
THEIRS = {Transformers().name_in_file(name): tensor for name, tensor in WEIGHTS.items()}


def refusal(path, kind=CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def assert_whole(path, weights=WEIGHTS):
    found = open_checkpoint(path).weights
    assert list(found) == list(weights)
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


def prefixed(prefix, weights=WEIGHTS):
    return {prefix + name: tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("name", ["m.st", "m.PTH", "m.ckpt", "m", "m.safetensors", "m.pth", "m.onnx"])
@pytest.mark.parametrize("writer", [save_file, torch.save])
def test_the_first_bytes_tell_the_container(tmp_path, name, writer):
    writer(WEIGHTS, tmp_path / name)
    assert_whole(tmp_path / name)


WRAPPED = {
    "lightning": {"state_dict": prefixed("model."), "epoch": 3, "optimizer_states": [1], "hyper_parameters": {"a": 1}},
    "deepspeed": {"module": prefixed("_forward_module."), "dtype": torch.bfloat16, "ds_version": "0.9"},
    "trainer": {"model": prefixed("module."), "optimizer": {"state": {}}, "step": 7},
    "twice": {"model": {"state_dict": WEIGHTS}},
    "compiled": prefixed("_orig_mod."),
    "compiled and parallel": prefixed("module._orig_mod."),
    "compiled parts": {name.replace("blocks.1.", "blocks.1._orig_mod."): t for name, t in WEIGHTS.items()},
    "fsdp": {name.replace("att.", "_fsdp_wrapped_module.att."): t for name, t in prefixed("model.").items()},
    "an attribute's name": prefixed("net."),
    "the attribute is called rwkv": prefixed("rwkv."),
    "hugging face's names": prefixed("model.", THEIRS),
    "numbers beside": {**WEIGHTS, "step": 3, "name": "mine", "best": None},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_training_puts_around_names_is_taken_off(tmp_path, name):
    torch.save(WRAPPED[name], tmp_path / "m.ckpt")
    assert_whole(tmp_path / "m.ckpt")


def test_a_prefix_is_taken_off_over_all_shards(tmp_path):
    folder = write_rrwkv(tmp_path, RWKV4, prefixed("model."), shards=3)
    assert_whole(folder)


MIXED = {
    "two models": ({**prefixed("model."), **prefixed("ema.")}, "holds two models"),
    "some without it": ({**prefixed("model."), "loss.scale": torch.ones(1)}, "'loss.scale' stands beside a model"),
    "a part without it": ({**prefixed("model."), "emb.weight": WEIGHTS["emb.weight"]}, "'emb.weight' stands beside"),
    "one name twice": ({**WEIGHTS, "_orig_mod.emb.weight": WEIGHTS["emb.weight"]}, "has both 'emb.weight' and"),
    "with and without rwkv": ({**THEIRS, "ln_out.bias": WEIGHTS["ln_out.bias"]}, "has both 'rwkv.ln_out.bias' and"),
}


@pytest.mark.parametrize("name", MIXED)
def test_names_are_never_stripped_one_by_one(tmp_path, name):
    content, expected = MIXED[name]
    torch.save(content, tmp_path / "m.pth")
    assert expected in refusal(tmp_path / "m.pth")


@pytest.mark.parametrize("container", ["safetensors", "bin"])
def test_variants_of_a_folders_weights(tmp_path, container):
    write_huggingface(tmp_path, RWKV4, WEIGHTS, container)
    plain = tmp_path / ("model.safetensors" if container == "safetensors" else "pytorch_model.bin")
    stem, suffix = plain.name.split(".")
    plain.rename(tmp_path / f"{stem}.fp16.{suffix}")
    assert_whole(tmp_path)
    (tmp_path / f"{stem}.bf16.{suffix}").write_bytes((tmp_path / f"{stem}.fp16.{suffix}").read_bytes())
    assert f"several variants ({stem}.bf16.{suffix}, {stem}.fp16.{suffix})" in refusal(tmp_path)
    assert_whole(tmp_path / f"{stem}.bf16.{suffix}")


def test_shards_of_a_variant_and_an_index_by_its_path(tmp_path):
    write_huggingface(tmp_path, RWKV4, WEIGHTS, shards=2)
    for shard in tmp_path.glob("*-of-*"):
        shard.rename(tmp_path / shard.name.replace("model-", "model.fp16-"))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-", "model.fp16-"))
    named = index.rename(tmp_path / "model.safetensors.index.fp16.json")
    assert_whole(tmp_path)
    assert_whole(named)
    assert "one of 2 shards" in refusal(tmp_path / "model.fp16-00001-of-00002.safetensors")


def test_hugging_faces_file_is_read_with_and_without_its_config(tmp_path):
    write_huggingface(tmp_path, RWKV4, WEIGHTS, "bin")
    assert_whole(tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").unlink()
    assert_whole(tmp_path / "pytorch_model.bin")
    assert open_checkpoint(tmp_path).format == "huggingface"


def test_config_of_hugging_face_is_taken_by_option(tmp_path):
    save_file(WEIGHTS, tmp_path / "m.st")
    config = write_config(tmp_path / "other", huggingface_config(RWKV4, layer_norm_epsilon=1e-3))
    assert open_checkpoint(tmp_path / "m.st", config=config).config.layer_norm_epsilon == 1e-3


def without(name, weights):
    return {key: tensor for key, tensor in weights.items() if key != name}


TIED = {**WEIGHTS, "head.weight": WEIGHTS["emb.weight"]}


@pytest.mark.parametrize("dropped", ["head.weight", "emb.weight", None])
@pytest.mark.parametrize("container", ["safetensors", "bin"])
def test_tied_embeddings_are_one_tensor(tmp_path, dropped, container):
    weights = {name: tensor.clone() for name, tensor in without(dropped, TIED).items()}
    write_huggingface(tmp_path, RWKV4, weights, container)
    write_config(tmp_path, huggingface_config(RWKV4, tie_word_embeddings=True))
    assert_whole(tmp_path, TIED)


def test_transformers_own_tied_files(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 40, "tie_word_embeddings": True}
    transformers.RwkvForCausalLM(transformers.RwkvConfig(**sizes)).save_pretrained(tmp_path)
    found = open_checkpoint(tmp_path).weights
    assert torch.equal(found["head.weight"], found["emb.weight"])


def test_tied_embeddings_of_our_own_names(tmp_path):
    folder = write_rrwkv(tmp_path, RRWKV, without("head.weight", random_weights(RRWKV)))
    assert "has no head.weight" in refusal_of_head(folder)
    write_config(folder, RRWKV.to_json() | {"tie_word_embeddings": False})
    assert "has no head.weight" in refusal_of_head(folder)
    write_config(folder, RRWKV.to_json() | {"tie_word_embeddings": True})
    found = open_checkpoint(folder)
    assert torch.equal(found.weights["head.weight"], found.weights["emb.weight"])
    assert found.config == RRWKV


def refusal_of_head(folder):
    with pytest.raises(TensorError) as caught:
        open_checkpoint(folder)
    return str(caught.value)


def test_a_head_of_its_own_is_used_whatever_the_config_says_as_in_transformers(tmp_path):
    write_huggingface(tmp_path, RWKV4, WEIGHTS)
    write_config(tmp_path, huggingface_config(RWKV4, tie_word_embeddings=True))
    assert_whole(tmp_path)


def test_a_base_model_has_no_head(tmp_path):
    base = {name.removeprefix("rwkv."): t for name, t in without("head.weight", THEIRS).items()}
    save_file(base, tmp_path / "model.safetensors")
    write_config(tmp_path, huggingface_config(RWKV4, architectures=["RwkvModel"]))
    message = refusal_of_head(tmp_path)
    assert "a base model (RwkvModel)" in message
    assert "RwkvForCausalLM" in message
    write_config(tmp_path, huggingface_config(RWKV4, architectures=["RwkvModel"], tie_word_embeddings=True))
    assert_whole(tmp_path, TIED)


def zipped(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))
    return stream.getvalue()


def numpy_file():
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(2))
    return stream.getvalue()


STRANGERS = {
    "gguf": (b"GGUF\x03\0\0\0" + bytes(90), "a GGUF file"),
    "rwkv.cpp": (b"fmgg\x65\0\0\0" + bytes(90), "a ggml file, of rwkv.cpp"),
    "onnx": (b"\x08\x08\x12\x07pytorch" + bytes(90), "an ONNX graph"),
    "ort": (b"\x20\0\0\0ORTM" + bytes(90), "onnxruntime's own format"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(90), "TensorFlow Lite"),
    "h5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file"),
    "npz": (numpy_file(), "NumPy arrays"),
    "npy": (b"\x93NUMPY\x01\0" + bytes(90), "one NumPy array"),
    "zip": (zipped(**{"folder/model.pth": b"x"}), "a zip archive of other files; unpack it"),
    "torchscript": (zipped(**{"m/data.pkl": b"x", "m/constants.pkl": b"x"}), "a TorchScript program"),
    "gzip": (gzip.compress(b"x" * 99), "compressed by gzip; unpack it"),
    "tar": (tarred(), "a tar archive; unpack it"),
    "web page": (b"\n<!DOCTYPE html><html>not found</html>", "a web page and not the weights"),
    "json": (b'{"architectures": ["RwkvForCausalLM"]}', "a JSON file and not the weights"),
    "not found": (b"Entry not found", "a server's refusal"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(90), "a picture; give the checkpoint that was meant"),
    "text": (b"hello there\n" * 9, "text and not the weights"),
    "short": (b"PK\x03\x04", "only 4 bytes long"),
    "empty": (b"", "the file is empty"),
    "zeros": (bytes(4096), "zeros where it begins"),
    "noise": (bytes(range(128, 256)), "neither safetensors nor torch.save wrote it"),
    "header too long": (b"\xff" * 8 + b"{" + bytes(99), "neither safetensors nor torch.save wrote it"),
    "cut": (save(WEIGHTS)[:3000], "cut short or damaged"),
}


@pytest.mark.parametrize("name", ["model.onnx.data", "model.onnx_data", "model.onnx.data.1"])
@pytest.mark.parametrize("content", [bytes(range(128, 256)), bytes(4096)])
def test_the_weights_of_a_graph_are_told_by_their_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "the weights of an ONNX graph; give the PyTorch or safetensors checkpoint" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("file", ["m.pth", "m.safetensors", "m"])
def test_other_files_are_named(tmp_path, name, file):
    content, expected = STRANGERS[name]
    (tmp_path / file).write_bytes(content)
    message = refusal(tmp_path / file)
    assert expected in message
    assert ";" in message


def folder_of(tmp_path, *files):
    for name in files:
        path = tmp_path / "f" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if name.endswith("json") else "x")
    return tmp_path / "f"


FOLDERS = {
    "deepspeed": (("latest", "zero_to_fp32.py", "global_step1/mp_rank_00_model_states.pt"), "zero_to_fp32.py"),
    "deepspeed's inner": (("mp_rank_00_model_states.pt",), "join them with its zero_to_fp32.py"),
    "distributed": ((".metadata", "__0_0.distcp"), "dcp_to_torch"),
    "gguf": (("model-q4.gguf",), "a GGUF file, of llama.cpp (model-q4.gguf)"),
    "onnx": (("model.onnx",), "an ONNX graph (model.onnx)"),
    "onnx within": (("sub/model.onnx",), "an ONNX graph (sub/model.onnx)"),
    "onnx in both": (("a/model.onnx", "z.onnx"), "an ONNX graph (z.onnx)"),
    "runs and bundles": (("a/model.onnx", "b/config.json"), "such as "),
    "flax": (("flax_model.msgpack",), "Flax weights"),
    "runs": (("checkpoint-500/config.json", "checkpoint-500/model.safetensors"), "such as "),
    "loose": (("RWKV-4.PTH",), "give the path of RWKV-4.PTH itself"),
    "other": (("README.md",), "has no weights"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_other_folders_are_named(tmp_path, name):
    files, expected = FOLDERS[name]
    assert expected in refusal(folder_of(tmp_path, *files))


def test_a_bundle_is_no_checkpoint(small_bundle):
    assert "a bundle already" in refusal(small_bundle)


def test_a_folder_above_a_bundle_names_it(bundle):
    message = refusal(bundle.parent)
    assert "holds a bundle (bundle/) and no model.safetensors" in message
    assert f"use it as it is (`rrwkv chat {bundle}`)" in message


def test_a_manifest_of_something_else_does_no_harm(tmp_path):
    write_rrwkv(tmp_path, RWKV4, WEIGHTS)
    for content in ("{", "[]", json.dumps({"format": "other"})):
        (tmp_path / "manifest.json").write_text(content)
        assert_whole(tmp_path)


def test_the_caches_folder_of_a_model_points_to_its_snapshot(tmp_path):
    folder = write_rrwkv(tmp_path / "models--a--b" / "snapshots" / "0123", RWKV4, WEIGHTS)
    assert f"give {folder} in it" in refusal(tmp_path / "models--a--b")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe")


def test_names_of_absurd_depth(tmp_path):
    save_file({"a." * 200_000 + "b": torch.ones(1)}, tmp_path / "m.st")
    assert "no RWKV checkpoint" in refusal(tmp_path / "m.st")


@pytest.mark.parametrize(
    "fields",
    [huggingface_config(RWKV4, hidden_size=0, attention_hidden_size=None), RWKV4.to_json() | {"hidden_size": 0}],
)
def test_sizes_out_of_range_name_their_file(tmp_path, fields):
    write_rrwkv(tmp_path, RWKV4, WEIGHTS)
    path = write_config(tmp_path, fields)
    with pytest.raises(ConfigError, match="hidden_size must be an integer") as caught:
        open_checkpoint(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
