"""RWKV-4's wkv in Triton: a program for some channels of a row, which goes over the tokens.

The state is that of `recurrence_rrwkv`: p = ln B and the mean a = A / B. With q = u + k, s = σ(p - q), e = p - d - k,
and w = σ(e):

    wkv = v + s (a - v);   p ← k + softplus(e);   a ← v + w (a - v)

Backward, from the last token to the first, g of wkv and gp, ga of the state after the token; p and a before each token
are kept:

    gs = g (a - v) s (1 - s);   ge = gp w + ga (a - v) w (1 - w)
    gv = g (1 - s) + ga (1 - w);   gk = gp - ge - gs;   gu = -Σ gs;   gd = -Σ ge;   gp ← ge + gs;   ga ← g s + ga w
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_CHANNELS = 32  # of a program: small models have few rows, and processors are many


@triton.jit
def _forward(
    k: Any, v: Any, u: Any, d: Any, p0: Any, a0: Any, out: Any, ps: Any, as_: Any, T: Any, D: Any, BLOCK: tl.constexpr
) -> None:
    row, c = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = c < D
    U, decay = tl.load(u + c, mask=inside), tl.load(d + c, mask=inside)
    p, a = tl.load(p0 + row * D + c, mask=inside), tl.load(a0 + row * D + c, mask=inside)
    for t in range(T):
        at = (row * T + t) * D + c
        state = (row * (T + 1) + t) * D + c
        tl.store(ps + state, p, mask=inside)
        tl.store(as_ + state, a, mask=inside)
        K, V = tl.load(k + at, mask=inside), tl.load(v + at, mask=inside)
        tl.store(out + at, V + _sigmoid(p - U - K) * (a - V), mask=inside)
        e = p - decay - K
        p = K + tl.maximum(e, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(e)))
        a = V + _sigmoid(e) * (a - V)
    state = (row * (T + 1) + T) * D + c
    tl.store(ps + state, p, mask=inside)
    tl.store(as_ + state, a, mask=inside)


@triton.jit
def _backward(
    k: Any, v: Any, u: Any, d: Any, ps: Any, as_: Any, g: Any, gp1: Any, ga1: Any,
    gk: Any, gv: Any, gu: Any, gd: Any, gp0: Any, ga0: Any, T: Any, D: Any, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    row, c = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = c < D
    U, decay = tl.load(u + c, mask=inside), tl.load(d + c, mask=inside)
    gp, ga = tl.load(gp1 + row * D + c, mask=inside), tl.load(ga1 + row * D + c, mask=inside)
    sum_u, sum_d = gp * 0, gp * 0
    for back in range(T):
        t = T - 1 - back
        at = (row * T + t) * D + c
        state = (row * (T + 1) + t) * D + c
        p, a = tl.load(ps + state, mask=inside), tl.load(as_ + state, mask=inside)
        K, V, G = tl.load(k + at, mask=inside), tl.load(v + at, mask=inside), tl.load(g + at, mask=inside)
        s, w = _sigmoid(p - U - K), _sigmoid(p - decay - K)
        gs = G * (a - V) * s * (1 - s)
        ge = gp * w + ga * (a - V) * w * (1 - w)
        tl.store(gv + at, G * (1 - s) + ga * (1 - w), mask=inside)
        tl.store(gk + at, gp - ge - gs, mask=inside)
        sum_u, sum_d = sum_u - gs, sum_d - ge
        gp, ga = ge + gs, G * s + ga * w
    for place, value in ((gu, sum_u), (gd, sum_d), (gp0, gp), (ga0, ga)):
        tl.store(place + row * D + c, value, mask=inside)


@triton.jit
def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), of any x: no exponential overflows."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


class _WKV(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, k: Tensor, v: Tensor, u: Tensor, d: Tensor, p: Tensor, a: Tensor) -> tuple[Tensor, ...]:
        k, v, u, d, p, a = (x.contiguous() for x in (k, v, u, d, p, a))
        B, T, D = k.shape
        out, ps, as_ = torch.empty_like(k), k.new_empty(B, T + 1, D), k.new_empty(B, T + 1, D)
        _forward[_grid(B, D)](k, v, u, d, p, a, out, ps, as_, T, D, BLOCK=_CHANNELS)
        ctx.save_for_backward(k, v, u, d, ps, as_)
        return out, ps[:, -1].clone(), as_[:, -1].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        k, v, u, d, ps, as_ = ctx.saved_tensors
        B, T, D = k.shape
        g, gp, ga = (x.contiguous() for x in gradients)
        gk, gv = torch.empty_like(k), torch.empty_like(v)
        gu, gd, gp0, ga0 = (k.new_empty(B, D) for _ in range(4))
        _backward[_grid(B, D)](k, v, u, d, ps, as_, g, gp, ga, gk, gv, gu, gd, gp0, ga0, T, D, BLOCK=_CHANNELS)
        return gk, gv, gu.sum(0), gd.sum(0), gp0, ga0


def wkv(
    k: Tensor, v: Tensor, u: Tensor, d: Tensor, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """As `recurrence_rrwkv.wkv`."""
    out, p, a = _WKV.apply(k, v, u, d, *state)  # type: ignore[no-untyped-call]
    return out, (p, a)


def _grid(rows: int, channels: int) -> tuple[int, int]:
    return rows, triton.cdiv(channels, _CHANNELS)
