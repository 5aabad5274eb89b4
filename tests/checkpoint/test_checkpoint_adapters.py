"""LoRA weights are merged as they were trained: against W + scale * B A worked out here, in PyTorch."""

from __future__ import annotations

import json
import math

import pytest
import torch
from checkpoint_files import RWKV4, huggingface_config, random_weights, write_config, write_huggingface
from safetensors.torch import save_file

from rrwkv_export.architectures.dialects import Transformers
from rrwkv_export.bundle import compute_model_id
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.commands import cli
from rrwkv_export.errors import CheckpointError, ConfigError, ParityError, TensorError
from rrwkv_export.export import export

WEIGHTS = random_weights(RWKV4)
KEY, VALUE = "blocks.0.att.key", "blocks.1.ffn.value"
R, ALPHA = 4, 13


def half_pair(module, rank=R, seed=1):
    """A [r, in] and B [out, r] of a module, by canonical name."""
    generator = torch.Generator().manual_seed(seed)
    out, inner = WEIGHTS[f"{module}.weight"].shape
    return torch.randn(rank, inner, generator=generator), torch.randn(out, rank, generator=generator)


def blinkdl_lora(*modules, **options):
    made = {}
    for module in modules:
        made[f"{module}.lora_A"], made[f"{module}.lora_B"] = half_pair(module, **options)
    return made


def peft_name(module):
    return "base_model.model." + Transformers().name_in_file(f"{module}.weight").removesuffix(".weight")


def write_peft(folder, pairs, others=None, **config):
    """A PEFT folder of pairs by module, and whole tensors by canonical name."""
    folder.mkdir()
    tensors = {}
    for module, (a, b) in pairs.items():
        tensors[f"{peft_name(module)}.lora_A.weight"], tensors[f"{peft_name(module)}.lora_B.weight"] = a, b
    tensors |= {
        f"base_model.model.{Transformers().name_in_file(name)}": tensor for name, tensor in (others or {}).items()
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    fields = {"peft_type": "LORA", "r": R, "lora_alpha": ALPHA, "bias": "none", **config}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    return folder


def assert_merged(checkpoint, scales, replaced=None):
    """scales: module -> (A, B, scale). Every other weight is the base's, to the bit."""
    expected = {**WEIGHTS, **(replaced or {})}
    for module, (a, b, scale) in scales.items():
        total = expected[f"{module}.weight"].double() + scale * (b.double() @ a.double())
        expected[f"{module}.weight"] = total.float()
    for name, tensor in expected.items():
        assert torch.equal(checkpoint.weights[name], tensor.reshape(checkpoint.weights.shape(name))), name
        assert torch.equal(torch.from_numpy(checkpoint.weights.array(name)), checkpoint.weights[name])


@pytest.fixture
def base(tmp_path):
    torch.save(WEIGHTS, tmp_path / "base.pth")
    return tmp_path / "base.pth"


def refusal(base, *adapters, kind=CheckpointError, alphas=()):
    with pytest.raises(kind) as caught:
        open_checkpoint(base, adapters=adapters, adapter_alphas=alphas)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rwkv_lm_loras_files(base, tmp_path):
    norm = torch.randn(16)
    mix = torch.rand(1, 1, 16)
    others = {"blocks.0.ln1.weight": norm, "blocks.1.att.time_mix_k": mix}
    torch.save(blinkdl_lora(KEY, VALUE) | others, tmp_path / "lora.pth")
    found = open_checkpoint(base, adapters=[tmp_path / "lora.pth"], adapter_alphas=[32])
    assert_merged(found, {module: (*half_pair(module), 32 / R) for module in (KEY, VALUE)}, others)
    assert found.weights.dtype(f"{KEY}.weight") == "float32"
    assert found.adapters[0].files == (tmp_path / "lora.pth",)
    assert found.adapters[0].alpha == 32


def test_bfloat16_is_added_in_full_precision(tmp_path):
    half = {name: tensor.bfloat16() for name, tensor in WEIGHTS.items()}
    torch.save(half, tmp_path / "base.pth")
    torch.save({n: t.bfloat16() for n, t in blinkdl_lora(KEY).items()}, tmp_path / "lora.pth")
    found = open_checkpoint(tmp_path / "base.pth", adapters=[tmp_path / "lora.pth"], adapter_alphas=[8])
    a, b = (part.bfloat16().double() for part in half_pair(KEY))
    expected = (half[f"{KEY}.weight"].double() + 2 * (b @ a)).float()
    assert torch.equal(found.weights[f"{KEY}.weight"], expected)


@pytest.mark.parametrize("names", ["huggingface", "blinkdl"])
def test_pefts_folder(base, tmp_path, names):
    if names == "huggingface":
        base = write_huggingface(tmp_path / "hf", RWKV4, WEIGHTS)
    pairs = {KEY: half_pair(KEY), VALUE: half_pair(VALUE, rank=2)}
    adapter = write_peft(
        tmp_path / "peft",
        pairs,
        {"head.weight": WEIGHTS["head.weight"] + 1},
        alpha_pattern={"feed_forward.value": 7, "tention.key": 99, "^blocks.0.attention.key": 98},
        fan_in_fan_out=True,  # which peft, too, leaves aside for such layers
        modules_to_save=["head"],
    )
    found = open_checkpoint(base, adapters=[adapter])
    scales = {KEY: (*pairs[KEY], ALPHA / R), VALUE: (*pairs[VALUE], 7 / 2)}
    assert_merged(found, scales, {"head.weight": WEIGHTS["head.weight"] + 1})
    assert {file.name for file in found.adapters[0].files} == {"adapter_model.safetensors", "adapter_config.json"}
    by_file = open_checkpoint(base, adapters=[adapter / "adapter_model.safetensors"])
    assert_merged(by_file, scales, {"head.weight": WEIGHTS["head.weight"] + 1})


def test_rank_stabilized(base, tmp_path):
    adapter = write_peft(tmp_path / "peft", {KEY: half_pair(KEY)}, use_rslora=True)
    assert_merged(open_checkpoint(base, adapters=[adapter]), {KEY: (*half_pair(KEY), ALPHA / math.sqrt(R))})


def test_of_the_embedding(base, tmp_path):
    folder = write_peft(tmp_path / "peft", {})
    a, b = torch.randn(R, 40), torch.randn(16, R)
    prefix = peft_name("emb")
    save_file({f"{prefix}.lora_embedding_A": a, f"{prefix}.lora_embedding_B": b}, folder / "adapter_model.safetensors")
    assert_merged(open_checkpoint(base, adapters=[folder]), {"emb": (b.T, a.T, ALPHA / R)})


def test_several_one_after_the_other(base, tmp_path):
    torch.save(blinkdl_lora(KEY), tmp_path / "one.pth")
    torch.save(blinkdl_lora(VALUE, rank=2), tmp_path / "two.pth")
    adapter = write_peft(tmp_path / "peft", {"blocks.1.att.output": half_pair("blocks.1.att.output")})
    given = [tmp_path / "one.pth", adapter, tmp_path / "two.pth"]
    scales = {
        KEY: (*half_pair(KEY), 8 / R),
        VALUE: (*half_pair(VALUE, rank=2), 6 / 2),
        "blocks.1.att.output": (*half_pair("blocks.1.att.output"), ALPHA / R),
    }
    assert_merged(open_checkpoint(base, adapters=given, adapter_alphas=[8, 6]), scales)
    scales[VALUE] = (*half_pair(VALUE, rank=2), 8 / 2)
    assert_merged(open_checkpoint(base, adapters=given, adapter_alphas=[8]), scales)
    message = refusal(base, *given, kind=ConfigError, alphas=[1, 2, 3])
    assert "3 times for 2 adapters" in message


def test_unmerged_in_the_checkpoint_itself(tmp_path):
    torch.save(WEIGHTS | blinkdl_lora(KEY), tmp_path / "both.pth")
    assert "give the one that they were trained with as --adapter-alpha" in refusal(
        tmp_path / "both.pth", kind=ConfigError
    )
    found = open_checkpoint(tmp_path / "both.pth", adapter_alphas=[8])
    assert_merged(found, {KEY: (*half_pair(KEY), 2)})


def test_a_whole_model_of_pefts(tmp_path):
    names = {name: "base_model.model." + Transformers().name_in_file(name) for name in WEIGHTS}
    names[f"{KEY}.weight"] = f"{peft_name(KEY)}.base_layer.weight"
    a, b = half_pair(KEY)
    pair = {f"{peft_name(KEY)}.lora_A.default.weight": a, f"{peft_name(KEY)}.lora_B.default.weight": b}
    torch.save({names[name]: tensor for name, tensor in WEIGHTS.items()} | pair, tmp_path / "m.pth")
    assert "adapter_config.json" in refusal(tmp_path / "m.pth", kind=ConfigError)
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 6, "use_rslora": true}')
    assert_merged(open_checkpoint(tmp_path / "m.pth"), {KEY: (a, b, 6 / math.sqrt(R))})


def test_exported_with_its_hashes(base, tmp_path):
    torch.save(blinkdl_lora(KEY), tmp_path / "lora.pth")
    merged = open_checkpoint(base, adapters=[tmp_path / "lora.pth"], adapter_alphas=[8])
    manifest, _ = export(merged, tmp_path / "merged")
    (adapter,) = manifest.provenance["checkpoint"]["adapters"]
    assert adapter["alpha"] == 8
    assert adapter["files"][0]["name"] == "lora.pth"
    torch.save({name: merged.weights[name] for name in merged.weights}, tmp_path / "whole.pth")
    ids = [compute_model_id(RWKV4, open_checkpoint(path).weights.array) for path in (base, tmp_path / "whole.pth")]
    assert manifest.model_id == ids[1] != ids[0]


def test_alone_it_is_no_model(base, tmp_path):
    torch.save(blinkdl_lora(KEY) | {"blocks.0.ln1.weight": torch.ones(16)}, tmp_path / "lora.pth")
    assert "--adapter lora.pth --adapter-alpha ALPHA" in refusal(tmp_path / "lora.pth")
    folder = write_peft(tmp_path / "peft", {KEY: half_pair(KEY)})
    assert f"rrwkv export BASE --adapter {folder}" in refusal(folder)
    assert "--adapter adapter_model.safetensors`" in refusal(folder / "adapter_model.safetensors")
    save_file({"base_model.model.model.layers.0.q_proj.lora_A.weight": torch.ones(2, 2)}, tmp_path / "other.st")
    assert "of another architecture" in refusal(tmp_path / "other.st")


WRONG = {
    "no pairs": ({"emb.weight": torch.zeros(40, 16)}, "holds no LoRA weights"),
    "of another size": ({f"{KEY}.lora_A": torch.ones(4, 8), f"{KEY}.lora_B": torch.ones(8, 4)}, "make no [16, 16]"),
    "ranks that differ": ({f"{KEY}.lora_A": torch.ones(4, 16), f"{KEY}.lora_B": torch.ones(16, 2)}, "make no"),
    "rank 0": ({f"{KEY}.lora_A": torch.ones(0, 16), f"{KEY}.lora_B": torch.ones(16, 0)}, "make no"),
    "one half": ({f"{KEY}.lora_A": torch.ones(4, 16)}, "has no other half"),
    "scalars": ({f"{KEY}.lora_A": torch.ones(()), f"{KEY}.lora_B": torch.ones(())}, "make no"),
    "integers": ({f"{KEY}.lora_A": torch.ones(4, 16, dtype=torch.int8), f"{KEY}.lora_B": torch.ones(16, 4)}, "int8"),
    "a layer too many": (blinkdl_lora(KEY) | {"blocks.9.ln1.weight": torch.ones(16)}, "fits no weight"),
    "unknown": ({"blocks.9.att.key.lora_A": torch.ones(4, 16)}, "fits no weight"),
    "misshapen": (blinkdl_lora(KEY) | {"blocks.0.ln1.weight": torch.ones(8)}, "expected [16]"),
    "bone": ({f"{KEY}.bone": torch.ones(4, 16)}, "no plain LoRA"),
    "dora": (blinkdl_lora(KEY) | {f"{KEY}.lora_magnitude_vector": torch.ones(16)}, "no plain LoRA"),
    "loha": ({f"{KEY}.hada_w1_a": torch.ones(16)}, "no plain LoRA"),
    "two": (
        {f"{KEY}.lora_A.one.weight": torch.ones(4, 16), f"{KEY}.lora_A.two.weight": torch.ones(4, 16)},
        "holds several adapters (one, two)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_do_not_fit(base, tmp_path, name):
    tensors, expected = WRONG[name]
    torch.save(tensors, tmp_path / "lora.pth")
    message = refusal(base, tmp_path / "lora.pth", alphas=[8])
    assert expected in message
    assert message.startswith(str(tmp_path / "lora.pth"))


def test_an_alpha_of_0_merges_nothing(base, tmp_path):
    torch.save(blinkdl_lora(KEY), tmp_path / "lora.pth")
    said = refusal(base, tmp_path / "lora.pth", kind=ConfigError, alphas=[0])
    assert said.startswith("--adapter-alpha of 0 merges nothing; give the one that ")
    folder = write_peft(tmp_path / "peft", {KEY: half_pair(KEY)}, lora_alpha=0)
    said = refusal(base, folder, kind=ConfigError)
    assert said.startswith(f"{folder / 'adapter_config.json'}: a lora_alpha of 0 merges nothing")


def test_what_is_no_adapter_is_told_from_one(base, tmp_path):
    (tmp_path / "pic").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(90))
    assert refusal(base, tmp_path / "pic").endswith("pic: a picture; give the adapter that was meant")


def test_not_finite_is_found_when_read(base, tmp_path):
    lora = blinkdl_lora(KEY)
    lora[f"{KEY}.lora_B"][3, 1] = torch.nan
    torch.save(lora, tmp_path / "lora.pth")
    found = open_checkpoint(base, adapters=[tmp_path / "lora.pth"], adapter_alphas=[8])
    with pytest.raises(TensorError, match=r"lora\.pth: .* holds NaN"):
        found.weights.array(f"{KEY}.weight")


def test_an_alpha_that_float32_does_not_bear_is_the_adapters_fault(base, tmp_path):
    torch.save(blinkdl_lora(KEY), tmp_path / "lora.pth")
    checkpoint = open_checkpoint(base, adapters=[tmp_path / "lora.pth"], adapter_alphas=[1e39])
    with pytest.raises(TensorError, match=r"lora\.pth: .* 2\.5e\+38, alpha / rank, is more than float32 holds"):
        checkpoint.weights.array(f"{KEY}.weight")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "LOHA"}, "an adapter of type 'LOHA'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "alpha_pattern"),
        ({"alpha_pattern": [1]}, "alpha_pattern"),
        ({"lora_alpha": "16"}, "lora_alpha must be a number"),
        ({"lora_alpha": True}, "lora_alpha must be a number"),
        ({"lora_alpha": None}, "has no lora_alpha"),
    ],
)
def test_peft_configs_that_are_refused(base, tmp_path, config, expected):
    folder = write_peft(tmp_path / "peft", {KEY: half_pair(KEY)}, **config)
    message = refusal(base, folder, kind=(CheckpointError, ConfigError))
    assert expected in message
    assert message.startswith(str(folder / "adapter_config.json"))


def test_alpha_where_it_is_said_already(base, tmp_path):
    folder = write_peft(tmp_path / "peft", {KEY: half_pair(KEY)})
    assert "omit it" in refusal(base, folder, kind=ConfigError, alphas=[8])
    assert "omit it" in refusal(base, kind=ConfigError, alphas=[8])
    torch.save(blinkdl_lora(KEY), tmp_path / "lora.pth")
    assert "--adapter-alpha nan" in refusal(base, tmp_path / "lora.pth", kind=ConfigError, alphas=[math.nan])


def test_one_of_two_tied_tensors_is_ambiguous(tmp_path):
    folder = write_huggingface(tmp_path / "hf", RWKV4, {n: t for n, t in WEIGHTS.items() if n != "head.weight"})
    write_config(folder, huggingface_config(RWKV4, tie_word_embeddings=True))
    adapter = write_peft(tmp_path / "head", {"head": half_pair("head")})
    assert "a copy of the embedding" in refusal(folder, adapter)
    open_checkpoint(folder, adapters=[write_peft(tmp_path / "key", {KEY: half_pair(KEY)})])


def test_what_two_adapters_replace(base, tmp_path):
    for name in ("one.pth", "two.pth"):
        torch.save(blinkdl_lora(KEY) | {"ln_out.weight": torch.ones(16)}, tmp_path / name)
    message = refusal(base, tmp_path / "one.pth", tmp_path / "two.pth", alphas=[8])
    assert "two.pth: replaces 'ln_out.weight'" in message


def test_one_in_the_models_own_folder_is_not_left_out_silently(tmp_path):
    folder = write_huggingface(tmp_path / "model", RWKV4, WEIGHTS)
    for file in write_peft(tmp_path / "peft", {KEY: half_pair(KEY)}).iterdir():
        file.rename(folder / file.name)
    (note,) = open_checkpoint(folder).notes
    assert f"--adapter {folder}" in note
    found = open_checkpoint(folder, adapters=[folder])
    assert found.notes == ()
    assert_merged(found, {KEY: (*half_pair(KEY), ALPHA / R)})


def test_by_the_command_line(base, tmp_path, capsys):
    torch.save(blinkdl_lora(KEY), tmp_path / "lora.pth")
    bundle, options = str(tmp_path / "bundle"), ["--adapter", str(tmp_path / "lora.pth"), "--adapter-alpha", "8"]

    def run(*arguments: str) -> str:
        cli.main(["--debug", *arguments], standalone_mode=False)
        return capsys.readouterr().out

    said = run("export", str(base), "-o", bundle, *options)
    assert said.endswith("a text ends with token 0, a reply also with '\\n\\n'\n")
    assert json.loads(run("verify", bundle, "--against", str(base), *options, "--json"))["passed"]
    assert "a text ends with token 0" in run("info", bundle)
    with pytest.raises(ParityError):
        run("verify", bundle, "--against", str(base))
