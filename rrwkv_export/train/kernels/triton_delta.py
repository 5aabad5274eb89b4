"""RWKV-7's delta rule in Triton: a program a head of a row, which goes over the tokens with its S [N, N] in registers.

    s = S κ;   S ← S diag(w) - s bᵀ + v kᵀ;   y = S r           S [i, j]: i of the value, j of the key

Backward, from the last token to the first, gy of y and G of S after the token; S_0 is S before it:

    G += gy rᵀ;   gr = Sᵀ gy;   gs = -G b;   gb = -Gᵀ s;   gv = G k;   gk = Gᵀ v
    g(ln w) = w ⊙ Σ_i G_i ⊙ S_0i;   gκ = S_0ᵀ gs;   G ← G diag(w) + gs κᵀ

S is kept before every STRETCH tokens; those between are computed again, into a place of the program's own. Dividing by
w to go back, as is done elsewhere, would lose digits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_STRETCH = 16
_WARPS = 4


@triton.jit
def _forward(
    r: Any, k: Any, v: Any, kappa: Any, b: Any, ln_w: Any, S0: Any, y: Any, kept: Any, S1: Any, T: Any, H: Any,
    N: tl.constexpr, STRETCH: tl.constexpr,
) -> None:  # fmt: skip
    head, n = tl.program_id(0), tl.arange(0, N)
    square = n[:, None] * N + n[None, :]
    S = tl.load(S0 + head * N * N + square)
    stretches = (T + STRETCH - 1) // STRETCH
    for t in range(T):
        if t % STRETCH == 0:
            tl.store(kept + (head * stretches + t // STRETCH) * N * N + square, S)
        at = (((head // H) * T + t) * H + head % H) * N + n
        S = _stepped(S, tl.load(k + at), tl.load(v + at), tl.load(kappa + at), tl.load(b + at), tl.load(ln_w + at))
        tl.store(y + at, tl.sum(S * tl.load(r + at)[None, :], 1))
    tl.store(S1 + head * N * N + square, S)


@triton.jit
def _backward(
    r: Any, k: Any, v: Any, kappa: Any, b: Any, ln_w: Any, kept: Any, own: Any, gy: Any, gS1: Any,
    gr: Any, gk: Any, gv: Any, gkappa: Any, gb: Any, gln_w: Any, gS0: Any, T: Any, H: Any,
    N: tl.constexpr, STRETCH: tl.constexpr,
) -> None:  # fmt: skip
    head, n = tl.program_id(0), tl.arange(0, N)
    square = n[:, None] * N + n[None, :]
    place, stretches = own + head * STRETCH * N * N + square, (T + STRETCH - 1) // STRETCH
    G = tl.load(gS1 + head * N * N + square)
    for back in range(stretches):
        first = (stretches - 1 - back) * STRETCH
        count = tl.minimum(STRETCH, T - first)
        S = tl.load(kept + (head * stretches + stretches - 1 - back) * N * N + square)
        for t in range(count):
            tl.store(place + t * N * N, S)
            at = (((head // H) * T + first + t) * H + head % H) * N + n
            S = _stepped(S, tl.load(k + at), tl.load(v + at), tl.load(kappa + at), tl.load(b + at), tl.load(ln_w + at))
        tl.debug_barrier()  # what a thread stored, another may load
        for later in range(count):
            t = count - 1 - later
            at = (((head // H) * T + first + t) * H + head % H) * N + n
            K, V, P, B = tl.load(k + at), tl.load(v + at), tl.load(kappa + at), tl.load(b + at)
            W, R, g = tl.exp(tl.load(ln_w + at)), tl.load(r + at), tl.load(gy + at)
            before = tl.load(place + t * N * N)
            s = tl.sum(before * P[None, :], 1)
            G += g[:, None] * R[None, :]
            gs = -tl.sum(G * B[None, :], 1)
            tl.store(gr + at, tl.sum(S * g[:, None], 0))
            tl.store(gb + at, -tl.sum(G * s[:, None], 0))
            tl.store(gv + at, tl.sum(G * K[None, :], 1))
            tl.store(gk + at, tl.sum(G * V[:, None], 0))
            tl.store(gln_w + at, W * tl.sum(G * before, 0))
            tl.store(gkappa + at, tl.sum(before * gs[:, None], 0))
            G = G * W[None, :] + gs[:, None] * P[None, :]
            S = before
        tl.debug_barrier()
    tl.store(gS0 + head * N * N + square, G)


@triton.jit
def _stepped(S: Any, k: Any, v: Any, kappa: Any, b: Any, ln_w: Any) -> Any:
    s = tl.sum(S * kappa[None, :], 1)
    return S * tl.exp(ln_w)[None, :] - s[:, None] * b[None, :] + v[:, None] * k[None, :]


class _Delta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor]:
        *rows, S = (x.contiguous() for x in given)
        B, T, H, N = rows[0].shape
        y, S1 = torch.empty_like(rows[0]), torch.empty_like(S)
        kept = S.new_empty(B * H, triton.cdiv(T, _STRETCH), N, N)
        _forward[(B * H,)](*rows, S, y, kept, S1, T, H, N=N, STRETCH=_STRETCH, num_warps=_WARPS)
        ctx.save_for_backward(*rows, kept)
        return y, S1

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        *rows, kept = ctx.saved_tensors
        B, T, H, N = rows[0].shape
        gy, gS1 = (x.contiguous() for x in gradients)
        own, found, gS0 = (
            kept.new_empty(B * H, _STRETCH, N, N),
            [torch.empty_like(x) for x in rows],
            torch.empty_like(gS1),
        )
        more = {"N": N, "STRETCH": _STRETCH, "num_warps": _WARPS}
        _backward[(B * H,)](*rows, kept, own, gy, gS1, *found, gS0, T, H, **more)
        return (*found, gS0)


def delta(r: Tensor, k: Tensor, v: Tensor, κ: Tensor, b: Tensor, ln_w: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """As `recurrence_rrwkv.delta`; N is a power of two."""
    y, after = _Delta.apply(r, k, v, κ, b, ln_w, S)  # type: ignore[no-untyped-call]
    return y, after
