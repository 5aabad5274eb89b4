"""The model in fixed shapes for engines of phones: exactly T tokens, 1 or a whole segment of s from a segment's start.

No control flow, no int64, no Split into more than three, no Concat of more than two; Where is arithmetic. What an
engine cannot work out without whole numbers, the runtime gives it as float inputs, which the manifest describes (see
`mobile_parts`). States go in and out in parts, one for each layer and kind: each is a contiguous piece of a state, so a
runtime binds it in place, no node takes states apart, and each part has a range of its own when it is quantized.

    input_ids int32 [1, T], parts of states, visible, ended   ->   logits float32 [1, T, V], parts

Sequences are [1, T, C]; the two or three mixes of a block are one [roles, T, C]. wkv is in the stable form, without any
value that a float16 does not hold. As no token of a segment reads its own segment's medium, all read the same bank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.graph import names
from rrwkv_export.graph.build import IR_VERSION, OPSET
from rrwkv_export.graph.fixed_shape.parts import ENDED, VISIBLE, derived_inputs, state_parts
from rrwkv_export.graph.fixed_shape.wkv import before_every_token, updated, wkv_of
from rrwkv_export.graph.names import WeightsDtype
from rrwkv_export.graph.prefill.medium import SIGNIFICANCE_LIMIT
from rrwkv_export.graph.weights import GraphWeights, Matrices
from rrwkv_export.onnx.scope import LoadArray, Scope

Parts = dict[str, ir.Value]
# In place of the maximum before the first token, which in float16 would be -infinity and its differences no numbers.
LOWEST_MAXIMUM = -1e4


def build_fixed_shape(
    config: ModelConfig,
    load: LoadArray,
    tokens: int,
    dtype: WeightsDtype = "float32",
    *,
    matrices: Matrices | None = None,
) -> ir.Model:
    """The graph for exactly so many tokens: 1, or the medium interval. matrices: as for `build`."""
    scope, w = Scope(), GraphWeights(config, load, dtype, False, matrices or {})
    specs = state_parts(config, tokens)
    ids = _value(names.INPUT_IDS, ir.DataType.INT32, [1, tokens])
    parts = {part.input: _value(part.input, ir.DataType.FLOAT, part.shape) for part in specs}
    derived = {one.input: _value(one.input, ir.DataType.FLOAT, one.shape) for one in derived_inputs(config, tokens)}
    graph = _Static(config, w, scope, tokens, {**parts, **derived}, {})

    x = w.embedding(scope, ids)
    for index in range(config.num_layers):
        x = graph.layer(index, x)
    head = scope / "head"
    logits = w.matmul(head, w.norm(head, x, "ln_out", name="ln_out"), "head.weight", name="head")
    outputs = [_named(logits, names.LOGITS, [1, tokens, config.vocab_size])]
    outputs += [_named(graph.after[part.input], part.output, part.shape) for part in specs]
    inputs = [ids, *parts.values(), *derived.values()]
    made = ir.Graph(
        inputs,
        outputs,
        nodes=scope.tape.nodes,
        initializers=scope.tape.initializers,
        opset_imports={"": OPSET},
        name=f"{config.architecture}-{tokens}",
    )
    return ir.Model(made, ir_version=IR_VERSION, producer_name="rrwkv-export")


def _value(name: str, dtype: ir.DataType, shape: Sequence[int]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


def _named(value: ir.Value, name: str, shape: Sequence[int]) -> ir.Value:
    value.name, value.type, value.shape = name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
    return value


@dataclass(frozen=True)
class _Static:
    """A graph in the making. before: inputs by name. after: what becomes of a part of a state, by its input's name."""

    config: ModelConfig
    w: GraphWeights
    scope: Scope
    T: int
    before: Parts
    after: Parts

    def layer(self, index: int, x: ir.Value) -> ir.Value:
        """x [1, T, C] to x [1, T, C]."""
        block, scope = f"blocks.{index}", self.scope / f"blocks.{index}"
        h = self.w.norm(scope, x, f"{block}.ln1", name="ln1")
        M = self._retrospect(scope / "medium", index, h) if self.config.medium else None
        mixed = self._time_mix(scope / "time_mix", index, h, M)
        x = scope.op("Add", x, mixed, name="after_time_mix")
        h = self.w.norm(scope, x, f"{block}.ln2", name="ln2")
        return scope.op("Add", x, self._channel_mix(scope / "channel_mix", index, h, M), name="after_channel_mix")

    def _mixes(
        self, scope: Scope, index: int, part: int, roles: str, h: ir.Value, M: ir.Value | None
    ) -> list[ir.Value]:
        """mix(p) = h ⊙ a + h' ⊙ b + M ⊙ c for every role p: [1, T, C] each."""
        a, b, c = self.w.mix(f"blocks.{index}.{('att', 'ffn')[part]}", roles)
        h_prev = self._shifted(scope, f"{names.SHIFT}.{index}.{part}", h)
        mixed = scope.op("Add", self._scaled(scope, h, a, "now"), self._scaled(scope, h_prev, b, "before"), name="mix")
        if M is not None and c is not None:
            mixed = scope.op("Add", mixed, self._scaled(scope, M, c, "recalled"), name="mix_with_medium")
        # Not by Slice: of one token, Qualcomm's HTP then multiplies the first one by every matrix.
        return list(scope.ops("Split", mixed, names=[f"mix_{p}" for p in roles], axis=0, num_outputs=len(roles)))

    @staticmethod
    def _scaled(scope: Scope, x: ir.Value, weight: np.ndarray, name: str) -> ir.Value:
        return scope.op("Mul", x, scope.const(weight[:, None, :], np.float32, f"{name}.weight"), name=name)

    def _shifted(self, scope: Scope, part: str, h: ir.Value) -> ir.Value:
        """h' [1, T, C]; the last row of h is carried on."""
        if self.T == 1:
            self.after[part] = h
            return self.before[part]
        self.after[part] = scope.slice(h, self.T - 1, self.T, 1, name="last")
        rest = scope.slice(h, 0, self.T - 1, 1, name="all_but_last")
        return scope.op("Concat", self.before[part], rest, name="previous", axis=1)

    def _time_mix(self, scope: Scope, index: int, h: ir.Value, M: ir.Value | None) -> ir.Value:
        """Woutput (r ⊙ wkv)"""
        block, w = f"blocks.{index}.att", self.w
        mix_k, mix_v, mix_r = self._mixes(scope, index, 0, "kvr", h, M)
        k = w.matmul(scope, mix_k, f"{block}.key.weight", name="key")
        v = w.matmul(scope, mix_v, f"{block}.value.weight", name="value")
        r = scope.op("Sigmoid", w.matmul(scope, mix_r, f"{block}.receptance.weight", name="receptance"), name="r")
        u, d = w.load(f"{block}.time_first"), np.exp(w.load(f"{block}.time_decay").astype(np.float64))

        inner, sums, maximum = scope / "wkv", f"{names.WKV}.{index}.sums", f"{names.WKV}.{index}.maximum"
        ones = inner.common(np.ones((1, self.T, self.config.attention_width)), np.float32, "ones")
        v_and_one = inner.op("Concat", v, ones, name="v_and_one", axis=0)
        S, p = self.before[sums], inner.op("Max", self.before[maximum], self._floor(inner), name="maximum_before")
        if self.T > 1:
            S, p = before_every_token(inner, S, p, k, v_and_one, d, self.T)
        wkv = wkv_of(inner, S, p, k, v_and_one, u)
        if self.T > 1:
            rows = zip("Spkv", (S, p, k, v_and_one))
            S, p, k, v_and_one = (inner.slice(x, self.T - 1, self.T, 1, name=f"last_{n}") for n, x in rows)
        self.after[sums], self.after[maximum] = updated(inner, S, p, k, v_and_one, d)
        return w.matmul(scope, scope.op("Mul", r, wkv, name="gated"), f"{block}.output.weight", name="output")

    @staticmethod
    def _floor(scope: Scope) -> ir.Value:
        return scope.common(np.full((1, 1, 1), LOWEST_MAXIMUM), np.float32, "lowest_maximum")

    def _channel_mix(self, scope: Scope, index: int, h: ir.Value, M: ir.Value | None) -> ir.Value:
        """σ(Wreceptance mix(r)) ⊙ (Wvalue relu(Wkey mix(k))²)"""
        block, w = f"blocks.{index}.ffn", self.w
        mix_k, mix_r = self._mixes(scope, index, 1, "kr", h, M)
        k = scope.op("Relu", w.matmul(scope, mix_k, f"{block}.key.weight", name="key"), name="relu")
        v = w.matmul(scope, scope.op("Mul", k, k, name="square"), f"{block}.value.weight", name="value")
        r = scope.op("Sigmoid", w.matmul(scope, mix_r, f"{block}.receptance.weight", name="receptance"), name="r")
        return scope.op("Mul", r, v, name="gated")

    def _retrospect(self, scope: Scope, index: int, h: ir.Value) -> ir.Value:
        """M [1, T, C] of the held mediums; and the medium of this segment, held where it ends."""
        M = self._read(scope, index, h)
        z = self._squeeze_segment(scope, index, h) if self.T > 1 else self._squeeze_on(scope, index, h)
        down = self.w.matmul(scope, z, f"blocks.{index}.medium.down.weight", name="down")
        up = self.w.matmul(scope, scope.op("Relu", down, name="relu"), f"blocks.{index}.medium.up.weight", name="up")
        m = scope.op("Mul", scope.op("Sigmoid", up, name="gate"), z, name="excite")
        key = self.w.matmul(scope, m, f"blocks.{index}.medium.key.weight", name="key")
        self._push(scope, f"{names.MEDIUM_BANK}.{index}", m, "bank")
        self._push(scope, f"{names.MEDIUM_KEY}.{index}", key, "bank_keys")
        return M

    def _read(self, scope: Scope, index: int, h: ir.Value) -> ir.Value:
        """softmax([0, q · keys / sqrt(R)]) of the visible slots, times the bank."""
        assert self.config.medium
        scale = 1 / math.sqrt(self.config.medium.key_size)
        q = self.w.matmul(scope, h, f"blocks.{index}.medium.query.weight", name="query", scale=scale)
        keys = scope.op("Transpose", self.before[f"{names.MEDIUM_KEY}.{index}"], name="keys_t", perm=[0, 2, 1])
        scores = scope.op(
            "Add", scope.op("MatMul", q, keys, name="scores"), self.before[VISIBLE], name="visible_scores"
        )
        empty = scope.common(np.zeros((1, self.T, 1)), np.float32, "empty_slot")
        attention = scope.op("Softmax", scope.op("Concat", empty, scores, name="with_empty", axis=2), name="a", axis=2)
        held = scope.slice(attention, 1, 1 + self.config.medium.slots, 2, name="attention")
        return scope.op("MatMul", held, self.before[f"{names.MEDIUM_BANK}.{index}"], name="recalled")

    def _significance(self, scope: Scope, index: int, h: ir.Value) -> ir.Value:
        """The squeeze's exponent [1, T, 1]."""
        column = scope.const(self.w.load(f"blocks.{index}.medium.squeeze")[:, None], np.float32, "squeeze.weight")
        score = scope.op("MatMul", h, column, name="significance")
        return scope.clip(score, SIGNIFICANCE_LIMIT, name="clipped")

    def _squeeze_segment(self, scope: Scope, index: int, h: ir.Value) -> ir.Value:
        """z [1, 1, C] of a whole segment: S / G is a softmax over its tokens."""
        assert self.config.medium
        if self.config.medium.squeeze == "mean":
            share = scope.common(np.full((1, 1, self.T), 1 / self.T), np.float32, "share")
        else:
            row = scope.op("Transpose", self._significance(scope, index, h), name="of_tokens", perm=[0, 2, 1])
            share = scope.op("Softmax", row, name="share", axis=2)
        return scope.op("MatMul", share, h, name="squeeze")

    def _squeeze_on(self, scope: Scope, index: int, h: ir.Value) -> ir.Value:
        """z [1, 1, C] of the open segment up to this token; S and G are carried on, or begin anew."""
        assert self.config.medium
        if self.config.medium.squeeze == "mean":
            g, weighted = scope.common(np.ones((1, 1, 1)), np.float32, "one_token"), h
        else:
            g = scope.op("Exp", self._significance(scope, index, h), name="g")
            weighted = scope.op("Mul", g, h, name="weighted")
        sums = []
        for state, summand in ((names.MEDIUM_SUM, weighted), (names.MEDIUM_WEIGHT, g)):
            part = f"{state}.{index}"
            total = scope.op("Add", self.before[part], summand, name=state)
            self.after[part] = scope.op("Mul", total, self._going_on(), name=f"{state}.open")
            sums.append(total)
        return scope.op("Div", *sums, name="squeeze")

    def _push(self, scope: Scope, part: str, newest: ir.Value, name: str) -> None:
        """The newest row in, the oldest out; of a single token where it ends a segment."""
        assert self.config.medium
        bank, slots = self.before[part], self.config.medium.slots
        pushed = newest
        if slots > 1:
            kept = scope.slice(bank, 1, slots, 1, name=f"{name}.kept")
            pushed = scope.op("Concat", kept, newest, name=f"{name}.pushed", axis=1)
        if self.T == 1:
            new = scope.op("Mul", pushed, self.before[ENDED], name=f"{name}.new")
            old = scope.op("Mul", bank, self._going_on(), name=f"{name}.old")
            pushed = scope.op("Add", new, old, name=name)
        self.after[part] = pushed

    def _going_on(self) -> ir.Value:
        """1 where the segment goes on after this token, 0 where it ends; made once."""
        if "going_on" not in self.after:
            clock = self.scope / "clock"
            one = clock.common(np.ones((1, 1, 1)), np.float32, "one_token")
            self.after["going_on"] = clock.op("Sub", one, self.before[ENDED], name="going_on")
        return self.after["going_on"]
