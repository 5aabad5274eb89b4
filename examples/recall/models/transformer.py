"""A causal Transformer: LayerNorm first, GELU, rotary positions on half of a head's channels, as GPT-NeoX and Phi have.

What is not rotated compares contents whatever the distance is; so it sees further beyond the lengths that it was
trained on than one that rotates everything, or has learned positions, which end with them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

_BASE = 10000.0


class Transformer(nn.Module):
    """V tokens, C channels, L layers, F the width between, N channels a head, `rotated` of them by position."""

    def __init__(self, V: int, C: int, L: int, F: int, N: int, rotated: int | None = None) -> None:
        super().__init__()
        self.emb = nn.Embedding(V, C)
        self.layers = nn.ModuleList(_Layer(C, F, N, N // 2 if rotated is None else rotated) for _ in range(L))
        self.norm = nn.LayerNorm(C)
        self.head = nn.Linear(C, V, bias=False)
        for name, value in self.named_parameters():
            if value.ndim == 2:  # as GPT-2's, but by the width: its 0.02 is for 768 channels and more
                last = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(value, std=value.shape[1] ** -0.5 / ((2 * L) ** 0.5 if last else 1))

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]."""
        x = self.emb(ids)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


class _Layer(nn.Module):
    def __init__(self, C: int, F: int, N: int, rotated: int) -> None:
        super().__init__()
        self.heads, self.rotated = C // N, rotated
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.output = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        self.up, self.down = nn.Linear(C, F), nn.Linear(F, C)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.rotated:
            q, k = rotate(q, self.rotated), rotate(k, self.rotated)
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(y.transpose(1, 2).reshape(B, T, C))
        after: Tensor = x + self.down(gelu(self.up(self.norm2(x))))
        return after


class TransformerStep(nn.Module):
    """One token of it, for export: state is keys and values [L, H, n, N] of the n tokens before, rotated already."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [1, V] of token [1], and keys and values with its own."""
        x, kept = self.model.emb(token), list[Tensor]()
        for i, layer in enumerate(self.model.layers):
            assert isinstance(layer, _Layer)
            q, k, v = layer.qkv(layer.norm1(x)).view(3, layer.heads, 1, -1)
            position = torch.zeros_like(keys[0, 0, :, 0]).sum() + keys.shape[2]
            q, k = (_turned(each, layer.rotated, position[None]) for each in (q, k))
            k, v = torch.cat([keys[i], k], dim=1), torch.cat([values[i], v], dim=1)
            weights = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1)
            x = x + layer.output((weights @ v).reshape(1, -1))
            x = x + layer.down(gelu(layer.up(layer.norm2(x))))
            kept += [k, v]
        return self.model.head(self.model.norm(x)), torch.stack(kept[::2]), torch.stack(kept[1::2])

    def past(self, tokens: int) -> list[Tensor]:
        """Keys and values of so many tokens, 0."""
        layer = self.model.layers[0]
        assert isinstance(layer, _Layer)
        N = layer.output.in_features // layer.heads
        return [torch.zeros(len(self.model.layers), layer.heads, tokens, N) for _ in range(2)]


def rotate(x: Tensor, rotated: int) -> Tensor:
    """x [..., T, N] of positions from 0, the first `rotated` channels turned by position (arXiv 2104.09864)."""
    return _turned(x, rotated, torch.arange(x.shape[-2], dtype=torch.float32))


def _turned(x: Tensor, rotated: int, positions: Tensor) -> Tensor:
    half = rotated // 2
    rates = _BASE ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = positions[:, None] * rates
    cos, sin = angles.cos(), angles.sin()
    a, b, rest = x[..., :half], x[..., half:rotated], x[..., rotated:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)
