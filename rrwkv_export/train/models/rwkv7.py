"""RWKV-7's time-mix (arXiv 2503.14456): the delta rule over chunks of c tokens, in the WY form (arXiv 2406.06484).

    s_t = S_{t-1} κ_t;   S_t = S_{t-1} diag(w_t) - s_t b_tᵀ + v_t k_tᵀ;   y_t = S_t r_t         b = κ ⊙ a

Within a chunk W_t = w_1 ⊙ … ⊙ w_t, and rows, one for each token, κ̃_t = W_{t-1} ⊙ κ_t, r̃_t = W_t ⊙ r_t, b̃_t = b_t / W_t,
k̃_t = k_t / W_t. Of S_0, the state before the chunk:

    (I + tril(κ̃ b̃ᵀ, -1)) s = κ̃ S_0ᵀ + tril(κ̃ k̃ᵀ, -1) v         so   s = E S_0ᵀ + e
    y = r̃ S_0ᵀ - tril(r̃ b̃ᵀ) s + tril(r̃ k̃ᵀ) v
    S = (S_0 - sᵀ b̃ + vᵀ k̃) diag(W)

Everything but S is found for all chunks at once. In float32: w is over 0.5452, so W is over 3.7e-9 in 32 tokens, and a
product of κ̃ and k̃ is as exact as κ, k and W_{t-1} / W_u are. The triangular system is solved by substitution, never by
powers of its matrix, whose binomials cancel where a text repeats itself and κ does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from rrwkv_export.architectures.matrices import HeadsConfig
from rrwkv_export.architectures.reference.layer import Layer
from rrwkv_export.architectures.reference.rwkv7 import channel_mix as channel_mix
from rrwkv_export.architectures.reference.rwkv7 import output, projected
from rrwkv_export.train.models.precision import full, unmixed

CHUNK = 32


def time_mix(
    w: Layer,
    h: Tensor,
    h_prev: Tensor,
    M: Tensor | None,
    before: Mapping[str, Tensor],
    after: dict[str, Tensor],
    crossing: dict[str, Tensor],
) -> Tensor:
    """What is added to x [B, T, C]; the matrix is read in `before` and put into `after`."""
    r, k, v, κ, decay, a, g = projected(w, h, h_prev, M, crossing)
    with unmixed(h):
        r, k, v, κ, decay, a = (full(x) for x in (r, k, v, κ, decay, a))
        y, after["matrix"] = delta(r, k, v, κ, κ * a, decay.log(), before["matrix"])
    return output(w, y, r, k, v, g)


def state_shapes(config: HeadsConfig) -> dict[str, tuple[int, ...]]:
    return {"matrix": (config.heads, config.head_size, config.head_size)}


def state_fills(layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the states that do not begin with 0."""
    return {}


def delta(
    r: Tensor, k: Tensor, v: Tensor, κ: Tensor, b: Tensor, ln_w: Tensor, S: Tensor, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """y [B, T, H, N] of r, k, v, κ, b, ln w [B, T, H, N]; S [B, H, N, N] before the first token, and after the last."""
    B, T, H, N = r.shape
    r, k, v, κ, b, ln_w = _chunks((r, k, v, κ, b, ln_w), chunk)
    ln_W = ln_w.cumsum(-2)
    W, left, right = ln_W.exp(), (ln_W - ln_w).exp() * κ, torch.cat([b, k], dim=-2) * (-torch.cat([ln_W] * 2, -2)).exp()
    b, k = right[:, :, :chunk], right[:, :, chunk:]
    told = (left @ k.mT).tril(-1) @ v
    both = torch.cat([left, told], dim=-1)
    solved = torch.linalg.solve_triangular((left @ b.mT).tril(-1), both, upper=False, unitriangular=True)
    starts, s, last = _carried(solved[..., :N], solved[..., N:], b, k.mT @ v, W[:, :, -1], S.flatten(0, 1).mT)
    r = W * r
    y = r @ starts - (r @ b.mT).tril() @ s + (r @ k.mT).tril() @ v
    return y.reshape(B, H, -1, N)[:, :, :T].transpose(1, 2), last.mT.reshape(B, H, N, N)


def _chunks(of: Sequence[Tensor], chunk: int) -> list[Tensor]:
    """[B, T, H, N] to [B H, T / chunk, chunk, N]; tokens that change nothing fill the last chunk."""
    B, T, H, N = of[0].shape
    missing = -T % chunk
    return [
        pad(x, (0, 0, 0, 0, 0, missing)).transpose(1, 2).reshape(B * H, (T + missing) // chunk, chunk, N) for x in of
    ]


def _carried(E: Tensor, e: Tensor, b: Tensor, told: Tensor, W: Tensor, S: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """S before each chunk [G, n, N, N], s [G, n, c, N], and S after the last; S is transposed, of the key first."""
    starts, stretches = [], []
    for n in range(E.shape[1]):
        starts.append(S)
        s = torch.baddbmm(e[:, n], E[:, n], S)
        S = W[:, n, :, None] * (S + told[:, n] - b[:, n].mT @ s)
        stretches.append(s)
    return torch.stack(starts, 1), torch.stack(stretches, 1), S
