"""wkv and the delta rule over many tokens, without a loop over tokens. Of rrwkv-export, Apache-2.0.

RWKV-4 (arXiv 2305.13048): wkv is a mean of v, weighed by exponentials; here every sum A = Σ exp(p_i) v_i,
B = Σ exp(p_i) is held as p = ln B and the mean a = A / B, so that no exponential of a key is ever taken: right in
float32 for keys and decays of any size.

    joined    (p, a) then (q, b), s tokens later:   ln(exp(p - s d) + exp(q)),  b + σ(p - s d - q) (a - b)
    wkv_t     (p, a) of all tokens before t, joined with (u + k_t, v_t)

RWKV-7 (arXiv 2503.14456): the delta rule over chunks of c tokens, in the WY form (arXiv 2406.06484).

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

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

Sum = tuple[Tensor, Tensor]
"""p = ln B and a = A / B."""
# Below exp(EMPTY) nothing is left of a float32: the sum over no token.
EMPTY = -1e30
CHUNK = 32


def wkv(k: Tensor, v: Tensor, u: Tensor, d: Tensor, state: Sum) -> tuple[Tensor, Sum]:
    """wkv [B, T, D] of k, v [B, T, D], bonus u and decay d [D]; state [B, D] before, and after."""
    found, (p, a) = wkv_sums(k, v, u, d, state)
    return found, (p[:, -1], a[:, -1])


def wkv_sums(k: Tensor, v: Tensor, u: Tensor, d: Tensor, state: Sum) -> tuple[Tensor, Sum]:
    """As `wkv`, with the state before the first token and after each: [B, 1 + T, D]."""
    p, a = (torch.cat([held[:, None], x], dim=1) for held, x in zip(state, (k, v), strict=True))
    sums = _prefixes(p, a, d)
    _, found = _joined(sums[0][:, :-1], sums[1][:, :-1], u + k, v)
    return found, sums


def _prefixes(p: Tensor, a: Tensor, d: Tensor) -> Sum:
    """The sum of each token and all before it: [B, T, D].

    Pairs are joined, prefixes of the pairs found in the same way, and those of the tokens between joined to them:
    2 T joins in 2 log T steps.
    """
    T = p.shape[1]
    if T == 1:
        return p, a
    even = T - T % 2
    first, second = (p[:, 0:even:2], a[:, 0:even:2]), (p[:, 1:even:2], a[:, 1:even:2])
    odd = _prefixes(*_joined(first[0] - d, first[1], *second), 2 * d)  # of tokens 1, 3, 5 …
    later = (T - 1) // 2
    between = _joined(odd[0][:, :later] - d, odd[1][:, :later], p[:, 2::2], a[:, 2::2])  # of tokens 2, 4, 6 …
    return _alternated(p[:, :1], between[0], odd[0]), _alternated(a[:, :1], between[1], odd[1])


def _joined(p: Tensor, a: Tensor, q: Tensor, b: Tensor) -> Sum:
    """Two sums as one; the first is decayed already."""
    ahead = p - q
    return q + softplus(ahead, threshold=40), b + torch.sigmoid(ahead) * (a - b)


def _alternated(first: Tensor, between: Tensor, odd: Tensor) -> Tensor:
    """Token 0's, then those of odd tokens and of even ones by turns."""
    even = torch.cat([first, between], dim=1)
    paired = torch.stack([even[:, : odd.shape[1]], odd], dim=2).flatten(1, 2)
    return torch.cat([paired, even[:, odd.shape[1] :]], dim=1)


def delta(
    r: Tensor, k: Tensor, v: Tensor, κ: Tensor, b: Tensor, ln_w: Tensor, S: Tensor, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """y [B, T, H, N] of r, k, v, κ, b, ln w [B, T, H, N]; S [B, H, N, N] before the first token, and after the last."""
    B, T, H, N = r.shape
    if T == 1:
        return _step(r, k, v, κ, b, ln_w, S)
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


def _step(r: Tensor, k: Tensor, v: Tensor, κ: Tensor, b: Tensor, ln_w: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """One token, as it is defined."""
    r, k, v, κ, b, w = (x[:, 0] for x in (r, k, v, κ, b, ln_w.exp()))
    s = S @ κ[..., None]
    S = S * w[..., None, :] - s * b[..., None, :] + v[..., None] * k[..., None, :]
    return (S @ r[..., None])[..., 0][:, None], S


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
