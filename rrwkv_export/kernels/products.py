"""The forms of a product that the kernels know, found by the nodes that make its result."""

from __future__ import annotations

import onnx_ir as ir

Parts = dict[str, ir.Value]
_IN_WHOLE_NUMBERS = 4  # MatMulNBits' accuracy_level


def parts_of(result: ir.Value) -> Parts | None:
    """What a product reads, by the kernel's names of its parts; None if its form is none of the kernel's."""
    return next(filter(None, (form(result) for form in _FORMS)), None)


def _columns(result: ir.Value) -> Parts | None:
    """A static product: MatMul(DequantizeLinear(x), DequantizeLinear(weight))."""
    product = _made_by(result, "MatMul")
    x, weight = (_made_by(value, "DequantizeLinear") for value in (product.inputs if product else (None, None)))
    if x is None or weight is None or not (_is(weight.inputs[0], "INT8") and _is(x.inputs[2], "UINT8")):
        return None
    if not _is_zero(weight.inputs[2]):
        return None
    scale, zero_point = x.inputs[1:3]
    own = _named(("weight", weight.inputs[0]), ("scale", weight.inputs[1]))
    return own | _named(("input_scale", scale), ("input_zero_point", zero_point))


def _dynamic_columns(result: ir.Value) -> Parts | None:
    """A dynamic product: Mul(Cast(MatMulInteger(x, weight)), Mul(x's scale, weight's scale))."""
    scaled = _made_by(result, "Mul")
    cast, scales = (_made_by(v, op) for v, op in zip(scaled.inputs, ("Cast", "Mul"))) if scaled else (None, None)
    product = _made_by(cast.inputs[0], "MatMulInteger") if cast else None
    if product is None or scales is None or not (_is(product.inputs[1], "INT8") and _is_zero(product.inputs[3])):
        return None
    return _named(("weight", product.inputs[1]), ("scale", scales.inputs[1]))


def _blocks(result: ir.Value) -> Parts | None:
    """A blockwise product, its zeros in the middle: in whole numbers, or of 8 bits with activations as they are."""
    product = _made_by(result, "MatMulNBits")
    if product is None or len(product.inputs) != 3:
        return None
    bits = product.attributes["bits"].as_int()
    in_whole_numbers = product.attributes.get_int("accuracy_level", 0) == _IN_WHOLE_NUMBERS
    form = f"{'weight' if in_whole_numbers else 'float'}{bits}"
    if form == "float4":
        return None
    return _named((form, product.inputs[1]), ("scale", product.inputs[2]))


def _halves(result: ir.Value) -> Parts | None:
    """A product in float32 of a weight in float16: MatMul(x, Cast(weight))."""
    product = _made_by(result, "MatMul")
    cast = _made_by(product.inputs[1], "Cast") if product else None
    return _named(("half", cast.inputs[0])) if cast and _is(cast.inputs[0], "FLOAT16") else None


def _floats(result: ir.Value) -> Parts | None:
    """A product in float32: MatMul(x, weight)."""
    product = _made_by(result, "MatMul")
    return _named(("single", product.inputs[1])) if product and _is(product.inputs[1], "FLOAT") else None


_FORMS = (_columns, _dynamic_columns, _blocks, _halves, _floats)


def _made_by(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type else None


def _is(value: ir.Value | None, dtype: str) -> bool:
    """Whether it is a constant of this type."""
    return value is not None and value.const_value is not None and value.const_value.dtype == ir.DataType[dtype]


def _is_zero(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and not value.const_value.numpy().any()


def _named(*parts: tuple[str, ir.Value | None]) -> Parts:
    return {name: value for name, value in parts if value is not None}
