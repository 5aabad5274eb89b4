"""Kernels for CUDA against the code without kernels, in float64: with TRITON_INTERPRET=1 in a process of its own."""

from __future__ import annotations

import itertools

import torch

from rrwkv_export.huggingface.model import recurrence_rrwkv as recurrence
from rrwkv_export.train.kernels import triton_delta, triton_wkv


def drawn(*shape, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()


def results(function, inputs):
    """All that a function gives, and the gradients of a weighted sum of it."""
    found = function(*inputs)
    weighted = sum((x * drawn(*x.shape, seed=90 + i).detach()).sum() for i, x in enumerate(found))
    return (*(x.detach() for x in found), *torch.autograd.grad(weighted, inputs))


def check(one, other, inputs):
    for a, b in zip(results(one, inputs), results(other, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def flat(function):
    def call(k, v, u, d, p, a):
        out, (p, a) = function(k, v, u, d, (p, a))
        return out, p, a

    return call


def check_wkv(scale, carried):
    B, T, D = 2, 19, 40
    k, v, u = drawn(B, T, D, seed=0, scale=scale), drawn(B, T, D, seed=1), drawn(D, seed=2)
    d = drawn(D, seed=3).detach().exp().requires_grad_()
    p = drawn(B, D, seed=4) if carried else torch.full((B, D), recurrence.EMPTY, dtype=torch.float64).requires_grad_()
    check(flat(triton_wkv.wkv), flat(recurrence.wkv), (k, v, u, d, p, drawn(B, D, seed=5)))


def check_delta(tokens, size):
    B, H = 2, 2
    r, k, v = (drawn(B, tokens, H, size, seed=i) for i in range(3))
    κ = torch.nn.functional.normalize(drawn(B, tokens, H, size, seed=3).detach(), dim=-1).requires_grad_()
    b = (κ.detach() * torch.rand_like(κ)).requires_grad_()
    ln_w = (-0.6 * torch.rand_like(κ)).detach().requires_grad_()
    inputs = (r, k, v, κ, b, ln_w, drawn(B, H, size, size, seed=6))
    check(triton_delta.delta, recurrence.delta, inputs)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for how in itertools.product((1.0, 60.0), (False, True)):
        check_wkv(*how)
    for how in ((1, 8), (16, 8), (37, 16)):
        check_delta(*how)
