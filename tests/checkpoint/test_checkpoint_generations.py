"""RWKV-5, 6 and 7 in every container and dialect, told by their tensors; what does not fit is named."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from checkpoint_files import (
    RRWKV,
    RWKV4,
    RWKV6,
    RWKV7,
    RWKV52,
    random_weights,
    write_blinkdl,
    write_config,
    write_rrwkv,
)
from safetensors.torch import load_file, save_file

from rrwkv_export.architectures.dialects import FlashLinearAttention, Transformers
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError

GENERATIONS = {"5.2": RWKV52, "rwkv6": RWKV6, "rwkv7": RWKV7}
MEDIUMS = dataclasses.replace(RWKV7, medium=RRWKV.medium)


def assert_whole(path, config, weights, given=None):
    found = open_checkpoint(path, config=given)
    assert found.config == config
    assert list(found.weights) == list(config.shapes())
    assert all(torch.equal(found.weights[name], weights[name]) for name in config.shapes())


def refusal(path, kind=CheckpointError, **options) -> str:
    with pytest.raises(kind) as caught:
        open_checkpoint(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def huggingface_fields(config, **changes):
    name = config.architecture
    fields = {"model_type": name, "vocab_size": config.vocab_size, "hidden_size": config.hidden_size}
    return {**fields, "num_hidden_layers": config.num_layers, "intermediate_size": config.ffn_size, **changes}


def write_fla(folder, config, weights, fused=False, **changes):
    """RWKV7ForCausalLM's folder: low-rank matrices transposed, mixes one by one or as one tensor."""
    dialect, found = FlashLinearAttention(), {}
    for name, tensor in weights.items():
        (part, *_) = dialect.parts(dialect.name_in_file(name))
        found[dialect.name_in_file(name)] = tensor.T.contiguous() if part.transposed else tensor
    if fused:
        for i in range(config.num_layers):
            start = f"model.layers.{i}.attn"
            found[f"{start}.x_x"] = torch.stack([found.pop(f"{start}.x_{q}").reshape(1, 1, -1) for q in "rwkvag"])
    write_config(folder, huggingface_fields(config, norm_eps=1e-5, **changes))
    save_file(found, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("name", GENERATIONS)
def test_a_pth_says_what_it_is(tmp_path, name, dtype):
    weights = {key: tensor.to(dtype) for key, tensor in random_weights(GENERATIONS[name]).items()}
    assert_whole(write_blinkdl(tmp_path / "m.pth", GENERATIONS[name], weights, dtype), GENERATIONS[name], weights)
    save_file(weights, tmp_path / "m.st")
    write_config(tmp_path, RWKV4)  # of another model, which a file alone does not need
    assert_whole(tmp_path / "m.st", GENERATIONS[name], weights)


@pytest.mark.parametrize("config", [RWKV52, RWKV6, RWKV7, MEDIUMS], ids=["5.2", "rwkv6", "rwkv7", "mediums"])
def test_a_folder_of_our_own(tmp_path, config):
    weights = random_weights(config)
    assert_whole(write_rrwkv(tmp_path, config, weights, shards=2), config, weights)


def test_mediums_on_rwkv7_need_a_config(tmp_path):
    weights = random_weights(MEDIUMS)
    path = write_blinkdl(tmp_path / "m.pth", MEDIUMS, weights, torch.float32)
    assert "interval and slots" in refusal(path)
    assert_whole(path, MEDIUMS, weights, given=write_config(tmp_path, MEDIUMS))


@pytest.mark.parametrize("fused", [False, True])
def test_flash_linear_attentions_folder(tmp_path, fused):
    weights = random_weights(RWKV7)
    assert_whole(write_fla(tmp_path, RWKV7, weights, fused), RWKV7, weights)
    (tmp_path / "config.json").unlink()
    assert_whole(tmp_path / "model.safetensors", RWKV7, weights)


@pytest.mark.parametrize("config", [RWKV52, RWKV6], ids=["5.2", "rwkv6"])
def test_hugging_faces_folders_of_rwkv5_and_6(tmp_path, config):
    weights = random_weights(config)
    save_file({Transformers().name_in_file(n): t for n, t in weights.items()}, tmp_path / "model.safetensors")
    write_config(tmp_path, huggingface_fields(config, intermediate_size=None, attention_hidden_size=16))
    assert_whole(tmp_path, config, weights)


@pytest.mark.parametrize("config", [RWKV4, RWKV52, RWKV6, RWKV7], ids=["rwkv4", "5.2", "rwkv6", "rwkv7"])
def test_every_name_comes_back_from_hugging_faces(config):
    dialect = FlashLinearAttention() if config is RWKV7 else Transformers()
    for name in config.shapes():
        assert [part.name for part in dialect.parts(dialect.name_in_file(name))] == [name]


def test_layer_0_may_have_a_mix_of_values_that_it_does_not_use(tmp_path):
    weights = random_weights(RWKV7)
    more = {f"blocks.0.att.v{i}": weights[f"blocks.1.att.v{i}"] for i in range(3)}
    torch.save({**weights, **more}, tmp_path / "m.pth")
    assert_whole(tmp_path / "m.pth", RWKV7, weights)


DAMAGE = {
    "missing": ("blocks.1.att.w1", None, "is missing from this rwkv7 of 2 layers"),
    "missing, and needed for its sizes": ("blocks.0.att.w1", None, "is missing; give the whole file"),
    "misshapen": ("blocks.1.att.g2", torch.zeros(7, 15), "is [7, 15], expected [7, 16]"),
    "transposed": ("blocks.1.att.a1", torch.zeros(3, 16), "is [3, 16], expected [16, 3]"),
    "flat": ("blocks.0.att.r_k", torch.zeros(16), "is [16], expected two dimensions"),
    "extra": ("blocks.0.att.time_state", torch.zeros(2, 8, 8), "is no weight of this rwkv7"),
    "integers": ("blocks.1.att.w0", torch.zeros(16, dtype=torch.int64), "is int64"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_tensors_that_do_not_fit_are_named(tmp_path, name):
    tensor, value, expected = DAMAGE[name]
    weights = {key: weight for key, weight in random_weights(RWKV7).items() if key != tensor}
    torch.save(weights if value is None else {**weights, tensor: value}, tmp_path / "m.pth")
    message = refusal(tmp_path / "m.pth", TensorError)
    assert repr(tensor) in message
    assert expected in message


def test_a_tensor_of_hugging_faces_is_named_as_its_file_has_it(tmp_path):
    weights = random_weights(RWKV7)
    del weights["blocks.1.att.w1"]
    message = refusal(write_fla(tmp_path / "a", RWKV7, weights), TensorError)
    assert "'model.layers.1.attn.w_lora.lora.0.weight' is missing" in message
    weights = random_weights(RWKV7)
    weights["blocks.1.att.x_a"][3] = torch.nan
    found = open_checkpoint(write_fla(tmp_path / "b", RWKV7, weights, fused=True)).weights
    with pytest.raises(TensorError, match=r"'model\.layers\.1\.attn\.x_x' holds NaN"):
        found["blocks.1.att.x_a"]


def test_configs_that_disagree_with_the_tensors(tmp_path):
    weights = random_weights(RWKV7)
    fla = write_fla(tmp_path / "a", RWKV7, weights, num_hidden_layers=3)
    assert "'model.layers.2.attn_norm.weight' is missing" in refusal(fla, TensorError)
    assert "hidden_size must be an integer" in refusal(write_fla(fla, RWKV7, weights, hidden_size="16"), ConfigError)
    path = write_blinkdl(tmp_path / "m.pth", RWKV7, weights)
    message = refusal(path, config=RWKV4)
    assert "'blocks.0.att.r_k' is RWKV-7's, and the config says rwkv4" in message
    assert "is missing from this rwkv7" in refusal(write_blinkdl(path, RWKV4, random_weights(RWKV4)), config=RWKV7)
    odd = {**weights, "blocks.0.att.r_k": torch.zeros(5, 7)}
    torch.save(odd, path)
    assert "sizes that no model has" in refusal(path)


def test_an_adapter_is_merged_onto_flash_linear_attentions_folder(tmp_path):
    weights, name = random_weights(RWKV7), "blocks.1.att.receptance.weight"
    A, B = torch.randn(4, 16), torch.randn(16, 4)
    module = "base_model.model.model.layers.1.attn.r_proj"
    (tmp_path / "lora").mkdir()
    save_file({f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}, tmp_path / "lora/adapter_model.safetensors")
    (tmp_path / "lora/adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')
    assert "merge it onto the model" in refusal(tmp_path / "lora/adapter_model.safetensors")
    found = open_checkpoint(write_fla(tmp_path / "m", RWKV7, weights), adapters=[tmp_path / "lora"]).weights
    torch.testing.assert_close(found[name], (weights[name].double() + 2 * B.double() @ A.double()).float())


@pytest.mark.parametrize("wrapper", ["model.", "module._orig_mod."])
def test_what_training_puts_around_flash_linear_attentions_names_is_taken_off(tmp_path, wrapper):
    weights = random_weights(RWKV7)
    path = write_fla(tmp_path, RWKV7, weights) / "model.safetensors"
    torch.save({f"{wrapper}{name}": tensor for name, tensor in load_file(path).items()}, tmp_path / "m.ckpt")
    assert_whole(tmp_path / "m.ckpt", RWKV7, weights)


def test_a_base_model_of_flash_linear_attentions_has_no_head(tmp_path):
    weights = random_weights(RWKV7)
    tied = {**weights, "head.weight": weights["emb.weight"]}
    del weights["head.weight"]
    message = refusal(write_fla(tmp_path, RWKV7, weights), TensorError)
    assert "a base model (RWKV7Model) has none; give the whole model (RWKV7ForCausalLM)" in message
    assert_whole(write_fla(tmp_path, RWKV7, weights, tie_word_embeddings=True), RWKV7, tied)
