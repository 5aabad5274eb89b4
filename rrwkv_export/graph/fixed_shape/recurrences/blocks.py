"""Tokens in blocks: sequences [1, T, C] as blocks of rows or columns by head, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.fixed_shape.heads import shaped
from rrwkv_export.onnx.scope import Scope

BLOCK = 8


@dataclass(frozen=True)
class Blocks:
    """T tokens as `count` blocks of `tokens` each, the last filled up with tokens that change nothing: all of theirs is
    0, ln w too.
    """

    T: int
    H: int
    N: int

    @property
    def count(self) -> int:
        return -(-self.T // BLOCK)

    @property
    def tokens(self) -> int:
        return -(-self.T // self.count)

    @property
    def missing(self) -> int:
        return self.count * self.tokens - self.T

    def split(self, scope: Scope, x: ir.Value, name: str) -> ir.Value:
        """[1, T, C] to [n, B, C]"""
        C = self.H * self.N
        if self.missing:
            nothing = scope.common(np.zeros((1, self.missing, C)), np.float32, f"nothing_{self.missing}")
            x = scope.op("Concat", x, nothing, name=f"{name}.filled", axis=1)
        return x if self.count == 1 else shaped(scope, x, [self.count, self.tokens, C], f"{name}.blocks")

    def heads(self, scope: Scope, x: ir.Value, rows: int, name: str) -> ir.Value:
        """[n, rows, C] to [n, rows, H, N]"""
        return shaped(scope, x, [self.count, rows, self.H, self.N], f"{name}.heads")

    def rows(self, scope: Scope, x: ir.Value, rows: int, name: str) -> ir.Value:
        """[n, rows, C] to [n, H, rows, N]"""
        return scope.op("Transpose", self.heads(scope, x, rows, name), name=f"{name}.rows", perm=[0, 2, 1, 3])

    def columns(self, scope: Scope, x: ir.Value, rows: int, name: str) -> ir.Value:
        """[n, rows, C] to [n, H, N, rows]"""
        return scope.op("Transpose", self.heads(scope, x, rows, name), name=f"{name}.columns", perm=[0, 2, 3, 1])

    def joined(self, scope: Scope, y: ir.Value) -> ir.Value:
        """[n, B, H, N] to [T, H, N]"""
        y = shaped(scope, y, [self.T + self.missing, self.H, self.N], "y.heads")
        return scope.slice(y, 0, self.T, 0, name="y.not_filled") if self.missing else y
