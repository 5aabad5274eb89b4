"""Values taken apart and laid together along the first axis, in even pieces and never more than MOST at once.

Otherwise onnxruntime's CUDA kernels of Split and Concat take their places from host memory, by copies of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from rrwkv_export.onnx.scope import Scope

MOST = 32


def split(scope: Scope, x: ir.Value, names: Sequence[str]) -> list[ir.Value]:
    """x in as many even pieces as there are names."""
    groups = _groups(len(names))
    if groups == 1:
        return list(scope.ops("Split", x, names=names, axis=0, num_outputs=len(names)))
    size = len(names) // groups
    parts = split(scope, x, [f"{names[0]}.group_{i}" for i in range(groups)])
    return [piece for i, part in enumerate(parts) for piece in split(scope, part, names[size * i : size * (i + 1)])]


def join(scope: Scope, pieces: Sequence[ir.Value], name: str) -> ir.Value:
    """Pieces of one shape, one after the other."""
    groups = _groups(len(pieces))
    if groups > 1:
        size = len(pieces) // groups
        pieces = [join(scope, pieces[size * i : size * (i + 1)], f"{name}.group_{i}") for i in range(groups)]
    return scope.op("Concat", *pieces, name=name, axis=0)


def _groups(count: int) -> int:
    """The fewest groups of one size, at most MOST, or 1 where there are none such."""
    return next((n for n in range(1, count) if count % n == 0 and count // n <= MOST), 1)
