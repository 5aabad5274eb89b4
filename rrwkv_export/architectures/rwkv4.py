"""RRWKV in torch, twice: `forward` for a whole sequence at once, `step` for one token. RWKV-4 has no mediums.

This is what every exported graph is held against, so it is written to be read beside the definition, not to be fast.
All arithmetic is float64, whatever the weights are stored in; `forward` can also tell what float32 would cost.

    V vocabulary   C channels   D attention width, mostly C   L layers   F channel-mix width   T tokens of this call
    s interval, tokens per medium     E excitation bottleneck    K slots, mediums a token can read   R key width
    h  a block's LayerNorm output, h' the previous token's       M  what the token recalls from the held mediums
    A, B  numerator and denominator of wkv, d decay, u bonus     S, G  open segment's weighted sum and its weight

Sources: RWKV-4 (arXiv 2305.13048), RRWKV (arXiv 2306.05176), squeeze and excitation (arXiv 1709.01507).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, pad

from rrwkv_export.architectures.config import MediumConfig, ModelConfig

Weights = Mapping[str, Tensor]
Observer = Callable[[str, Tensor], None]
"""Called with a value's name ("blocks.3.time_mix.key") and the value, [T, ...] of the arithmetic's dtype."""


@dataclass
class State:
    """What is carried from call to call, float64, laid out as the exported graph's states are.

    position: tokens seen. shift [L, 2, C]: last LN1 and LN2 outputs. wkv [L, 2, D]: A, B. medium_sum [L, 1, C] and
    medium_weight [L, 1, 1]: S, G. medium_bank [L, K, C], medium_key [L, K, R]: held mediums and their keys, newest
    last, unfilled rows in front.
    """

    position: int
    shift: Tensor
    wkv: Tensor
    medium_sum: Tensor = field(default_factory=lambda: torch.zeros(0))
    medium_weight: Tensor = field(default_factory=lambda: torch.zeros(0))
    medium_bank: Tensor = field(default_factory=lambda: torch.zeros(0))
    medium_key: Tensor = field(default_factory=lambda: torch.zeros(0))

    @classmethod
    def initial(cls, config: ModelConfig, dtype: torch.dtype = torch.float64) -> State:
        """Before the first token. dtype: of all but A and B, which are float64."""
        L, C, medium = config.num_layers, config.hidden_size, config.medium
        zeros = [(L, 2, C), (L, 2, config.attention_width)]
        if medium:
            zeros += [(L, 1, C), (L, 1, 1), (L, medium.slots, C), (L, medium.slots, medium.key_size)]
        shift, wkv, *others = (torch.zeros(shape, dtype=dtype) for shape in zeros)
        return cls(0, shift, wkv.double(), *others)

    def copy(self) -> State:
        tensors = (value.clone() for value in vars(self).values() if isinstance(value, Tensor))
        return State(self.position, *tensors)


class _Layer:
    """One layer's weights by their short names, converted when asked for and not kept."""

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        index: int,
        observe: Observer | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.config, self.weights, self.index, self.observe, self.dtype = config, weights, index, observe, dtype

    def __call__(self, name: str) -> Tensor:
        return self.weights[f"blocks.{self.index}.{name}"].to(self.dtype)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self(f"{name}.weight").T

    def norm(self, x: Tensor, name: str) -> Tensor:
        return _norm(self.config, self.weights, x, f"blocks.{self.index}.{name}")

    def mix(self, block: str, p: str, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
        """mix(p) = h ⊙ time_mix_p + h' ⊙ (1 - time_mix_p) + M ⊙ medium_mix_p"""
        a = self(f"{block}.time_mix_{p}")
        mixed = h * a + h_prev * (1 - a)
        return mixed if M is None else mixed + M * self(f"{block}.medium_mix_{p}")

    def see(self, name: str, value: Tensor) -> None:
        if self.observe:
            self.observe(f"blocks.{self.index}.{name}", value)


def _norm(config: ModelConfig, weights: Weights, x: Tensor, name: str) -> Tensor:
    weight, bias = (weights[f"{name}.{part}"].to(x.dtype) for part in ("weight", "bias"))
    return layer_norm(x, (config.hidden_size,), weight, bias, config.layer_norm_epsilon)


def _embed(config: ModelConfig, weights: Weights, ids: Sequence[int], dtype: torch.dtype = torch.float64) -> Tensor:
    return _norm(config, weights, weights["emb.weight"][torch.tensor(ids)].to(dtype), "blocks.0.ln0")


def _logits(config: ModelConfig, weights: Weights, x: Tensor) -> Tensor:
    return _norm(config, weights, x, "ln_out") @ weights["head.weight"].to(x.dtype).T


def _excite(w: _Layer, z: Tensor) -> Tensor:
    """m = σ(Wup relu(Wdown z)) ⊙ z: [n, C] squeezed segments to [n, C] mediums."""
    return torch.sigmoid(w.linear(torch.relu(w.linear(z, "medium.down")), "medium.up")) * z


def _significance(w: _Layer, medium: MediumConfig, h: Tensor) -> Tensor:
    """g, the weight of each token in its segment: [T, C] to [T, 1]."""
    if medium.squeeze == "mean":
        return torch.ones_like(h[..., :1])
    return (h @ w("medium.squeeze")).clamp(-60, 60).exp()[..., None]


def _channel_mix(w: _Layer, x: Tensor, h: Tensor, h_prev: Tensor, M: Tensor | None) -> Tensor:
    k, r = (w.mix("ffn", p, h, h_prev, M) for p in "kr")
    return x + torch.sigmoid(w.linear(r, "ffn.receptance")) * w.linear(
        torch.relu(w.linear(k, "ffn.key")) ** 2, "ffn.value"
    )


# --- a whole sequence at once ----------------------------------------------------------------------------------------


@torch.inference_mode()
def forward(
    config: ModelConfig,
    weights: Weights,
    ids: Sequence[int],
    state: State | None = None,
    observe: Observer | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, State]:
    """Logits [T, V] of T >= 1 tokens, and the state after them; the given state (of this dtype) is left as it was.

    Everything but the recurrence of A, B is computed in parallel. Weights are asked for one at a time, layer by layer.
    dtype: of the arithmetic. The recurrence is float64 in any, as float32 has not the range of exp(k).
    """
    state = state.copy() if state else State.initial(config, dtype)
    x = _embed(config, weights, ids, dtype)
    for i in range(config.num_layers):
        w = _Layer(config, weights, i, observe, dtype)
        h = w.norm(x, "ln1")
        M = _retrospect(w, config.medium, h, state) if config.medium else None
        x = _time_mix(w, x, h, _shifted(state, i, 0, h), M, state)
        h = w.norm(x, "ln2")
        x = _channel_mix(w, x, h, _shifted(state, i, 1, h), M)
    state.position += len(ids)
    return _logits(config, weights, x), state


def _shifted(state: State, i: int, block: int, h: Tensor) -> Tensor:
    """h': the carried row, then all rows but the last, which is carried on."""
    h_prev = torch.cat([state.shift[i, block][None], h[:-1]])
    state.shift[i, block] = h[-1]
    return h_prev


def _time_mix(w: _Layer, x: Tensor, h: Tensor, h_prev: Tensor, M: Tensor | None, state: State) -> Tensor:
    k, v, r = (
        w.linear(w.mix("att", p, h, h_prev, M), f"att.{n}") for p, n in zip("kvr", ("key", "value", "receptance"))
    )
    w.see("time_mix.key", k)
    k, v, u, d = k.double(), v.double(), w("att.time_first").double(), w("att.time_decay").double().exp()
    A, B = state.wkv[w.index]
    wkv = torch.empty_like(v)
    for t in range(len(k)):
        wkv[t] = (A + (u + k[t]).exp() * v[t]) / (B + (u + k[t]).exp())
        A, B = (-d).exp() * A + k[t].exp() * v[t], (-d).exp() * B + k[t].exp()
    state.wkv[w.index] = torch.stack([A, B])
    return x + w.linear(torch.sigmoid(r) * wkv.to(r.dtype), "att.output")


def _retrospect(w: _Layer, medium: MediumConfig, h: Tensor, state: State) -> Tensor:
    """M [T, C]: every token reads the mediums of the K segments before its own. Squeezes the sequence on the way."""
    T, s, K = len(h), medium.interval, medium.slots
    segment = (state.position % s + torch.arange(T)) // s  # counts from the segment that is open when the call begins
    n = (state.position % s + T) // s  # segments that end in this call
    member = torch.nn.functional.one_hot(segment, n + 1).to(h.dtype).T if T else torch.zeros(n + 1, 0)
    g = _significance(w, medium, h)
    S = member @ (g * h) + pad(state.medium_sum[w.index], (0, 0, 0, n))
    G = member @ g + pad(state.medium_weight[w.index], (0, 0, 0, n))
    m = _excite(w, S[:n] / G[:n])
    held = torch.cat([state.medium_bank[w.index], m])
    keys = torch.cat([state.medium_key[w.index], w.linear(m, "medium.key")])

    row = torch.arange(K + n)
    oldest = segment[:, None]
    visible = (oldest <= row) & (row < oldest + K) & (row >= K - min(state.position // s, K))
    scores = w.linear(h, "medium.query") @ keys.T / math.sqrt(medium.key_size)
    scores = pad(scores.masked_fill(~visible, -math.inf), (1, 0))  # the empty slot: score 0, nothing to recall
    M = torch.softmax(scores, dim=-1)[:, 1:] @ held

    state.medium_sum[w.index], state.medium_weight[w.index] = S[n:], G[n:]
    state.medium_bank[w.index], state.medium_key[w.index] = held[n:], keys[n:]
    return M


# --- one token -------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def step(config: ModelConfig, weights: Weights, token: int, state: State) -> Tensor:
    """Logits [V] float64 of one token; `state` moves on in place. The definition, line by line."""
    x = _embed(config, weights, [token])[0]
    for i in range(config.num_layers):
        w = _Layer(config, weights, i)
        h, h_prev = w.norm(x, "ln1"), state.shift[i, 0].clone()
        M = _read(w, config.medium, h, state) if config.medium else None
        x = x + _time_mix_step(w, h, h_prev, M, state.wkv[i])
        if config.medium:
            _squeeze_step(w, config.medium, h, state)
        state.shift[i, 0] = h
        h, h_prev = w.norm(x, "ln2"), state.shift[i, 1].clone()
        x = _channel_mix(w, x, h, h_prev, M)
        state.shift[i, 1] = h
    state.position += 1
    return _logits(config, weights, x)


def _read(w: _Layer, medium: MediumConfig, h: Tensor, state: State) -> Tensor:
    held = min(state.position // medium.interval, medium.slots)
    m, key = (bank[w.index, medium.slots - held :] for bank in (state.medium_bank, state.medium_key))
    q = w("medium.query.weight") @ h
    a = torch.softmax(torch.cat([torch.zeros(1).double(), key @ q / math.sqrt(medium.key_size)]), dim=0)
    return a[1:] @ m


def _time_mix_step(w: _Layer, h: Tensor, h_prev: Tensor, M: Tensor | None, wkv: Tensor) -> Tensor:
    k = w.linear(w.mix("att", "k", h, h_prev, M), "att.key")
    v = w.linear(w.mix("att", "v", h, h_prev, M), "att.value")
    r = torch.sigmoid(w.linear(w.mix("att", "r", h, h_prev, M), "att.receptance"))
    u, d = w("att.time_first"), w("att.time_decay").exp()
    A, B = wkv
    out = (A + torch.exp(u + k) * v) / (B + torch.exp(u + k))
    wkv[:] = torch.stack([torch.exp(-d) * A + torch.exp(k) * v, torch.exp(-d) * B + torch.exp(k)])
    return w.linear(r * out, "att.output")


def _squeeze_step(w: _Layer, medium: MediumConfig, h: Tensor, state: State) -> None:
    g = _significance(w, medium, h)
    S, G = state.medium_sum[w.index], state.medium_weight[w.index]
    S += g * h
    G += g
    if (state.position + 1) % medium.interval == 0:
        m = _excite(w, S / G)
        for bank, newest in ((state.medium_bank, m), (state.medium_key, w.linear(m, "medium.key"))):
            bank[w.index] = torch.cat([bank[w.index, 1:], newest])
        S.zero_()
        G.zero_()
