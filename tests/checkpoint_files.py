"""Random tiny checkpoints, written in every format that `rrwkv_export.checkpoint` reads."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from rrwkv_export.architectures.config import MediumConfig, ModelConfig
from rrwkv_export.architectures.dialects import Transformers
from rrwkv_export.architectures.mediums import AdaptiveInterval
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.architectures.rwkv5 import RWKV5Config
from rrwkv_export.architectures.rwkv6 import RWKV6Config
from rrwkv_export.architectures.rwkv7 import RWKV7Config

RWKV4 = RWKV4Config(vocab_size=40, hidden_size=16, num_layers=2, ffn_size=48)
RRWKV = RWKV4Config(40, 16, 2, 48, medium=MediumConfig(interval=4, slots=2, key_size=8))
# Small, with the demo's vocabulary and tokenizer.
SMALL = RWKV4Config(4096, 16, 2, 32, medium=MediumConfig(interval=4, slots=2, key_size=8))
ADAPTIVE = MediumConfig(AdaptiveInterval(3, 7), slots=2, key_size=8)
RWKV52 = RWKV5Config(40, 16, 2, 48, head_size=8)
RWKV6 = RWKV6Config(40, 16, 2, 48, head_size=8, mix_rank=3, decay_rank=5)
RWKV7 = RWKV7Config(40, 16, 2, 48, head_size=8, decay_rank=5, rate_rank=3, value_rank=2, gate_rank=7)
ASSET = Path(__file__).parent.parent / "rrwkv_export" / "assets" / "rrwkv-chat"


def random_weights(config: ModelConfig, seed: int = 0) -> dict[str, Tensor]:
    """float32 weights by canonical name, of magnitudes with which the model computes sensible numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(name, shape, generator) for name, shape in config.shapes().items()}


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    normal = torch.randn(shape, generator=generator)
    uniform = torch.rand(shape, generator=generator)
    if name.startswith("medium.information"):
        return normal
    part = name.split(".")[-2]
    if part.startswith("ln"):
        return 0.1 * normal + (1 if name.endswith(".weight") else 0)
    if "time_mix" in name or re.search(r"\.(time_maa_.|x_.)$", name):
        return uniform
    if "medium_mix" in name:
        return 0.3 * normal
    if name.endswith("time_decay"):
        return 6 * uniform - 5
    if name.endswith(("time_first", "time_faaaa", ".r_k", ".k_k", ".k_a", ".w0", ".a0", ".v0")):
        return 0.5 * normal
    if re.search(r"[12]$", name):  # low-rank matrices, which are used as x m1 m2
        return normal / math.sqrt(shape[-2])
    return normal / math.sqrt(shape[-1])


def write_rrwkv(
    folder: Path, config: ModelConfig, weights: Mapping[str, Tensor], shards: int = 1, tokenizer: Path | None = None
) -> Path:
    """config.json, model.safetensors (or its shards and index) and, if one is given, tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    _write_weights(folder, dict(weights), shards, "model", "safetensors")
    if tokenizer:
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
    return folder


def write_blinkdl(
    path: Path, config: ModelConfig, weights: Mapping[str, Tensor], dtype: torch.dtype = torch.bfloat16
) -> Path:
    """A .pth with [1, 1, C] vectors where BlinkDL's have them, and no config; `write_config` puts one beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: _wide(name, tensor).to(dtype) for name, tensor in weights.items()}, path)
    return path


def write_config(folder: Path, fields: object) -> Path:
    """config.json of the fields, or of a ModelConfig."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    path.write_text(json.dumps(fields.to_json() if isinstance(fields, ModelConfig) else fields))
    return path


def write_huggingface(
    folder: Path, config: ModelConfig, weights: Mapping[str, Tensor], container: str = "safetensors", shards: int = 1
) -> Path:
    """A RwkvForCausalLM directory. container: "safetensors" or "bin"."""
    write_config(folder, huggingface_config(config))
    named = {Transformers().name_in_file(name): _wide(name, tensor) for name, tensor in weights.items()}
    _write_weights(folder, named, shards, "model" if container == "safetensors" else "pytorch_model", container)
    return folder


def huggingface_config(config: ModelConfig, **changes: object) -> dict[str, object]:
    """The fields of a RwkvForCausalLM's config.json."""
    return {
        "architectures": ["RwkvForCausalLM"],
        "model_type": "rwkv",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "attention_hidden_size": config.attention_width,
        "num_hidden_layers": config.num_layers,
        "intermediate_size": config.ffn_size,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "rescale_every": 6,
        "tie_word_embeddings": False,
        **changes,
    }


def _wide(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim == 1 and re.search(r"_mix_|time_maa_|\.(x_.|[wav]0|k_[ka])$", name):
        return tensor.reshape(1, 1, -1)
    return tensor


def _write_weights(folder: Path, weights: dict[str, Tensor], shards: int, stem: str, suffix: str) -> None:
    save = save_file if suffix == "safetensors" else torch.save
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    if shards == 1:
        save(weights, folder / f"{stem}.{suffix}")
        return
    places = {name: f"{stem}-{i % shards + 1:05d}-of-{shards:05d}.{suffix}" for i, name in enumerate(weights)}
    for shard in set(places.values()):
        save({name: tensor for name, tensor in weights.items() if places[name] == shard}, folder / shard)
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
