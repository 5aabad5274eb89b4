"""JSON in the one form of RFC 8785 (JSON Canonicalization Scheme), so that every language hashes the same bytes.

Members in the order of their names' UTF-16 code units, no white space, numbers as ECMAScript writes a double, and of a
string's characters only those escaped that must be.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

_EXACT = 2**53  # up to here a double holds every whole number
_PLAIN_DIGITS, _MOST_ZEROS = 21, 6  # ECMAScript's bounds for writing a number without an exponent


def canonical_json(value: Any) -> bytes:
    """The bytes of a value as `json` parses it. Raises ValueError for what has no such form: NaN, half a surrogate."""
    return _text(value).encode("utf-8")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_string(name)}:{_text(value[name])}" for name in names) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return _number(value)
    raise ValueError(f"{type(value).__name__} has no place in JSON")


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # which escapes what RFC 8785 says, as it says


def _number(value: int | float) -> str:
    if isinstance(value, int) or (value.is_integer() and abs(value) < _EXACT):
        if abs(value) <= _EXACT:
            return str(int(value))
        try:
            value = float(value)
        except OverflowError:
            raise ValueError("a number larger than a double holds") from None
    if not math.isfinite(value):
        raise ValueError("a number that is not finite")
    return _double(value)


def _double(value: float) -> str:
    """Number::toString of ECMAScript; Python's repr has the same digits, but other bounds for an exponent."""
    _, figures, exponent = Decimal(repr(abs(value))).as_tuple()
    digits = "".join(map(str, figures))
    point = len(digits) + int(exponent)  # where the decimal point is, counted from the first digit
    digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= _PLAIN_DIGITS:
        return sign + digits.ljust(point, "0")
    if 0 < point <= _PLAIN_DIGITS:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -_MOST_ZEROS < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+d}"
