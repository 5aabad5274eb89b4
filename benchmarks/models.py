"""Random checkpoints of real shapes, and bundles of them. Speed and memory do not depend on what the weights are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rrwkv_export.architectures.config import MediumConfig, ModelConfig
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.architectures.rwkv7 import RWKV7Config
from rrwkv_export.bundle import GraphOptions, write_graph, write_manifest
from rrwkv_export.checkpoint import Checkpoint
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_runtime.manifest import Manifest

CALIBRATION_TOKENS = 1024


def rwkv7(
    vocab_size: int, hidden_size: int, layers: int, ffn_size: int, ranks: tuple[int, int, int, int]
) -> RWKV7Config:
    """Heads of 64 channels; ranks: of decay, rate, value and gate."""
    w, a, v, g = ranks
    low_rank = {"decay_rank": w, "rate_rank": a, "value_rank": v, "gate_rank": g}
    return RWKV7Config(vocab_size, hidden_size, layers, ffn_size, head_size=64, **low_rank)


SIZES = {
    "demo": RWKV4Config(4096, 320, 8, 1280, medium=MediumConfig(32, "attention", 16, 16, 64)),
    "demo-plain": RWKV4Config(4096, 320, 8, 1280),
    "169m": RWKV4Config(50277, 768, 12, 3072),
    "169m-medium": RWKV4Config(50277, 768, 12, 3072, medium=MediumConfig(32, "attention", 16, 16, 64)),
    # the setting that recalls best: the most slots, and mediums made most often
    "169m-recall": RWKV4Config(50277, 768, 12, 3072, medium=MediumConfig(8, "mean", 16, 64, 64)),
    "430m": RWKV4Config(50277, 1024, 24, 4096),
    "1.5b": RWKV4Config(50277, 2048, 24, 8192),
    "rwkv7-0.19b": rwkv7(65536, 768, 12, 3072, ranks=(64, 64, 32, 128)),
    "rwkv7-1.5b": rwkv7(65536, 2048, 24, 8192, ranks=(96, 96, 64, 256)),
    # small enough for simulated and emulated processors
    "rwkv7-small": RWKV7Config(
        *(1024, 128, 2, 512),
        medium=MediumConfig(16, "attention", 16, 4, 32),
        head_size=64,
        decay_rank=16,
        rate_rank=16,
        value_rank=8,
        gate_rank=32,
    ),
}


def random_weight(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Magnitudes as in trained models: unit-variance products, mixes in [0, 1], decays from slow to fast."""
    kind = name.split(".")[-1]
    if len(shape) == 2:  # a low-rank one is [in, out]
        return torch.randn(shape, generator=generator) / shape[kind[-1] not in "12"] ** 0.5
    if "mix" in kind or kind.startswith("x_"):
        return torch.rand(shape, generator=generator)
    if kind == "time_decay":
        return torch.linspace(-5, 1, shape[0])
    if kind == "w0":
        return torch.linspace(-6, 1, shape[0])
    if kind == "weight":
        return torch.ones(shape)
    return 0.1 * torch.randn(shape, generator=generator)


def write_pth(path: Path, config: ModelConfig, dtype: torch.dtype, seed: int = 0) -> None:
    """A BlinkDL-style .pth with random weights, without mediums, since its sizes are inferred."""
    generator = torch.Generator().manual_seed(seed)
    weights = {name: random_weight(name, shape, generator).to(dtype) for name, shape in config.shapes().items()}
    torch.save(weights, path)


def write_directory(folder: Path, config: ModelConfig, seed: int = 0) -> None:
    """An RRWKV directory with random float32 weights."""
    import json

    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: random_weight(name, shape, generator) for name, shape in config.shapes().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_json()))


def write_bundle(bundle: Path, checkpoint: Checkpoint) -> Path:
    """A float32 bundle for CPU; not verified, since only its speed matters here. Its tokens are ids."""
    bundle.mkdir(parents=True)
    options = GraphOptions("plain")
    write_graph(bundle, checkpoint.config, checkpoint.weights.array, options)
    write_manifest(
        bundle,
        checkpoint.config,
        options,
        model_id="0" * 64,
        tokenizer=None,
        chat=checkpoint.chat,
        provenance={"random": bundle.name},
    )
    return bundle


def write_quantized(source: Path, bundle: Path, scheme: str, vocab_size: int) -> Path:
    """A bundle quantized by the recipe that comes along, calibrated on random ids."""
    text = source.with_name("random.ids")
    architecture = Manifest.load(source).config["architecture"]
    ids = np.random.default_rng(0).integers(0, vocab_size, (4, CALIBRATION_TOKENS // 4))
    text.write_text("\n".join(" ".join(map(str, passage)) for passage in ids))
    quantize(source, bundle, shipped_recipe(scheme, architecture), Calibration.read([text], source))
    return bundle
