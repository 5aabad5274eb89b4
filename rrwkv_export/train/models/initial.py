"""What a model's weights are before its training.

Of BlinkDL/RWKV-LM: RWKV-4's as in RWKV-v4neo/src/model.py, RWKV-7's as in RWKV-v7/train_temp/src/model.py. From the
first layer to the last, and from the first channel to the last, mixes, decays and rates go from what sees near to what
sees far. Matrices whose results are added to x are 0, so that a layer begins as nothing.

Mediums are not mixed in at first (`medium_mix_*` 0): a model begins as the same one without them. The squeeze weighs
all tokens alike, and where the interval is adaptive they tell alike; down, up, query and key are normal, of the
variance that keeps that of their inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from rrwkv_export.architectures.base import Shape
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.matrices import HeadsConfig
from rrwkv_export.architectures.mediums import INFORMATION, is_mediums
from rrwkv_export.train.models.model import require_trained

_Rule = Callable[[ModelConfig, int, str, Shape, Generator], Tensor | None]
_ZEROS_4 = ("att.key", "att.receptance", "att.output", "ffn.value", "ffn.receptance")
_UNIFORM_7 = {"att.receptance": 0.5, "att.key": 0.05, "att.value": 0.5, "ffn.key": 0.5}
# x_q = 1 - (i / C) ^ (power · what is left of the layers)
_POWERS_7 = {"x_r": 0.2, "x_w": 0.9, "x_k": 0.7, "x_v": 0.7, "x_a": 0.9, "x_g": 0.2}


def initial_weights(config: ModelConfig, seed: int) -> dict[str, Tensor]:
    """float32 by canonical name, the same for the same seed. Raises TrainingError for what is not trained here."""
    require_trained(config.architecture)
    generator = torch.Generator().manual_seed(seed)
    rule = _rwkv7 if config.architecture == "rwkv7" else _rwkv4
    return {name: _weight(config, rule, name, shape, generator) for name, shape in config.shapes().items()}


def initial_mediums(config: ModelConfig, seed: int) -> dict[str, Tensor]:
    """Of the weights that only a model with mediums has, float32 by canonical name."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _medium(name, shape, generator) for name, shape in config.shapes().items() if is_mediums(name)}


def _weight(config: ModelConfig, rule: _Rule, name: str, shape: Shape, generator: Generator) -> Tensor:
    if is_mediums(name):
        return _medium(name, shape, generator)
    if name == "emb.weight":
        return nn.init.uniform_(torch.empty(shape), -1e-4, 1e-4, generator=generator)
    if name == "head.weight":
        return _orthogonal(shape, 0.5, generator)
    if name.startswith("blocks."):
        _, layer, short = name.split(".", 2)
        if (found := rule(config, int(layer), short.removesuffix(".weight"), shape, generator)) is not None:
            return found
    return torch.ones(shape) if name.endswith(".weight") else torch.zeros(shape)  # of a norm


def _medium(name: str, shape: Shape, generator: Generator) -> Tensor:
    if len(shape) < 2 or name == INFORMATION:
        return torch.zeros(shape)
    return torch.randn(shape, generator=generator) / math.sqrt(shape[1])


def _orthogonal(shape: Shape, scale: float, generator: Generator) -> Tensor:
    gain = math.sqrt(max(1, shape[0] / shape[1]))
    return nn.init.orthogonal_(torch.empty(shape), gain * scale, generator=generator)


def _along(channels: int) -> Tensor:
    """0 to 1 from the first channel to the last."""
    return torch.arange(channels) / max(1, channels - 1)


def _rwkv4(config: ModelConfig, layer: int, name: str, shape: Shape, generator: Generator) -> Tensor | None:
    """None for a norm."""
    L, late = config.num_layers, layer / max(1, config.num_layers - 1)
    if len(shape) == 2:
        return torch.zeros(shape) if name in _ZEROS_4 else _orthogonal(shape, 1.0, generator)
    if name == "att.time_decay":
        return -5 + 8 * _along(shape[0]) ** (0.7 + 1.3 * late)
    if name == "att.time_first":
        return math.log(0.3) + 0.5 * ((torch.arange(shape[0]) + 1) % 3 - 1)
    if "time_mix_" not in name:
        return None
    power = (0.5 if name == "att.time_mix_r" else 1.0) * (1 - layer / L)
    return (torch.arange(shape[0]) / shape[0]) ** power + (0.3 * late if name == "att.time_mix_v" else 0)


def _rwkv7(config: ModelConfig, layer: int, name: str, shape: Shape, generator: Generator) -> Tensor | None:
    """None for a norm."""
    left, short = 1 - layer / config.num_layers, name.partition(".")[2]
    if name in _UNIFORM_7:
        bound = _UNIFORM_7[name] / math.sqrt(config.hidden_size)
        return nn.init.uniform_(torch.empty(shape), -bound, bound, generator=generator)
    if name in ("att.output", "ffn.value") or short in ("w1", "a1", "v1", "g1"):
        return torch.zeros(shape)
    if short in ("w2", "a2", "v2", "g2"):
        return _orthogonal(shape, 0.1, generator)
    if short in _POWERS_7:
        power = left**4 if name == "ffn.x_k" else _POWERS_7[short] * left
        return 1 - (torch.arange(shape[0]) / shape[0]) ** power
    if name == "att.ln_x":
        return torch.full(shape, ((1 + layer) / config.num_layers) ** 0.7)
    assert isinstance(config, HeadsConfig)
    return _rates(config, layer, short, shape)


def _rates(config: HeadsConfig, layer: int, name: str, shape: Shape) -> Tensor | None:
    """RWKV-7's vectors of decay, of the rates, and of keys."""
    N, along = config.head_size, _along(config.hidden_size)
    centre = (N - 1) / 2
    zigzag = (torch.arange(config.hidden_size) % N - centre) / max(0.5, centre)
    zigzag, linear = zigzag * zigzag.abs(), along - 0.5
    late = layer / max(1, config.num_layers - 1)
    made = {
        "w0": -6 + 6 * along ** (1 + late**0.3) + 0.5 + 2.5 * zigzag,
        "a0": -0.19 + 0.3 * zigzag + 0.4 * linear,
        "v0": 0.73 - 0.4 * linear,
        "k_k": 0.71 - 0.1 * linear,
        "k_a": torch.full_like(along, 1.02),
        "r_k": torch.full(shape, -0.04),
    }
    return made.get(name)
