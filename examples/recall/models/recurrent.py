"""LSTM and GRU, of torch: embedding, layers, LayerNorm, head."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Recurrent(nn.Module):
    """kind: "lstm" or "gru". V tokens, C channels, L layers."""

    def __init__(self, kind: str, V: int, C: int, L: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(V, C)
        self.layers = (nn.LSTM if kind == "lstm" else nn.GRU)(C, C, L, batch_first=True)
        self.norm = nn.LayerNorm(C)
        self.head = nn.Linear(C, V, bias=False)
        if kind == "lstm":
            with torch.no_grad():  # a gate that forgets nothing at first (Jozefowicz et al. 2015)
                for i in range(L):
                    getattr(self.layers, f"bias_hh_l{i}")[C : 2 * C] = 1.0

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]."""
        x, _ = self.layers(self.emb(ids))
        logits: Tensor = self.head(self.norm(x))
        return logits


class RecurrentStep(nn.Module):
    """One token of it, for export: state is h [L, 1, C], and c of an LSTM."""

    def __init__(self, model: Recurrent) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Logits [1, V] of token [1], and the state after it."""
        lstm = isinstance(self.model.layers, nn.LSTM)
        x, after = self.model.layers(self.model.emb(token)[:, None], state if lstm else state[0])
        logits = self.model.head(self.model.norm(x[:, 0]))
        return (logits, *after) if lstm else (logits, after)

    def empty(self) -> list[Tensor]:
        """The state before the first token."""
        layers = self.model.layers
        one = torch.zeros(layers.num_layers, 1, layers.hidden_size)
        return [one, one.clone()] if isinstance(layers, nn.LSTM) else [one]
