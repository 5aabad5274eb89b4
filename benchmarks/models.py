"""Random checkpoints of real shapes. Speed and memory do not depend on what the weights are."""

from __future__ import annotations

from pathlib import Path

import torch

from rrwkv_export.config import MediumConfig, ModelConfig

SIZES = {
    "demo": ModelConfig(4096, 320, 8, 1280, medium=MediumConfig(32, "attention", 16, 16, 64)),
    "demo-plain": ModelConfig(4096, 320, 8, 1280),
    "169m": ModelConfig(50277, 768, 12, 3072),
    "169m-medium": ModelConfig(50277, 768, 12, 3072, medium=MediumConfig(32, "attention", 16, 16, 64)),
    "1.5b": ModelConfig(50277, 2048, 24, 8192),
}


def random_weight(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Magnitudes as in trained models: unit-variance products, mixes in [0, 1], decays from slow to fast."""
    kind = name.split(".")[-1]
    if len(shape) == 2:
        return torch.randn(shape, generator=generator) / shape[1] ** 0.5
    if "mix" in kind:
        return torch.rand(shape, generator=generator)
    if kind == "time_decay":
        return torch.linspace(-5, 1, shape[0])
    if kind == "weight":
        return torch.ones(shape)
    return 0.1 * torch.randn(shape, generator=generator)


def write_pth(path: Path, config: ModelConfig, dtype: torch.dtype, seed: int = 0) -> None:
    """A BlinkDL-style .pth with random weights; RWKV-4 only, since its sizes are inferred."""
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
