r"""The RWKV World vocabulary, in the layouts that people have it in, as id -> bytes.

    1 '\x00' 1                         `<id> <Python literal> <length>` a line: BlinkDL's rwkv_vocab_v20230424.txt
    b'\x00'                            a literal a line, whose number from 0 is the id: Hugging Face's vocab.txt
    {"1": "\u0000", "129": [128]}      id -> text or bytes: the .json of web-rwkv, ai00 and RWKV-Runner
    {"\\x00": 1, "b'\\x80'": 129}      what is between a literal's quotes -> id: Hugging Face's first .json

Told by what the file holds. A bundle has the first. Token 0 ends a text and has none of its own: where a layout names
it (`<s>`), that name is left out, so that no text can write it.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rrwkv_runtime.common.reading import brief, read_utf8
from rrwkv_runtime.errors import InputError, TokenizerError

_LARGEST_FILE = 64 << 20  # bytes
_LONGEST_LINE = 4096
_LARGEST_ID = 2**24
_NUMBERED = re.compile(r"[0-9]{1,8} .+ [0-9]{1,4}\r?")
_LITERAL = re.compile(r"""[bB]?(["']).*\1""")
_ESCAPED = re.compile(r"""\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt\\'"])""")
_MEANING = {"n": "\n", "r": "\r", "t": "\t"}
ORIGINAL = "rwkv_vocab_v20230424.txt"

_Pair = tuple[str, int, bytes]  # where it is, id, token


def load_world_vocabulary(path: Path) -> dict[int, bytes]:
    """id -> bytes, of a file in any of the layouts. Raises TokenizerError naming the line or the entry."""
    try:
        text = read_utf8(path, _LARGEST_FILE)
    except InputError as error:
        raise TokenizerError(str(error)) from None
    return parse_world_vocabulary(text, str(path))


def parse_world_vocabulary(text: str, owner: str) -> dict[int, bytes]:
    """As `load_world_vocabulary`. owner: what messages call the file."""
    vocabulary: dict[int, bytes] = {}
    seen: set[bytes] = set()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes in literals that escape nothing
            for where, token_id, token in _pairs(text):
                if token_id in vocabulary or token in seen:
                    raise ValueError(f"{where}: the id or the token appears a second time")
                if not 0 <= token_id < _LARGEST_ID:
                    raise ValueError(f"{where}: the id {token_id} is out of range")
                if token_id or len(token) == 1:
                    vocabulary[token_id] = token
                    seen.add(token)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise TokenizerError(f"{owner}: {brief(error)}") from None
    if missing := {bytes([byte]) for byte in range(256)} - seen:
        raise TokenizerError(f"{owner}: no token for the byte {min(missing)!r}; every byte needs one")
    if 0 in vocabulary:
        raise TokenizerError(f"{owner}: token 0 is {vocabulary[0]!r}, but it ends a text; the first byte has id 1")
    return vocabulary


def looks_like_world_vocabulary(text: str) -> bool:
    """Whether it begins as one of the layouts does; it may still be damaged."""
    if text.lstrip().startswith("{"):
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return _by_id(fields) or _by_token(fields)
    first = text.lstrip("\n").split("\n", 1)[0][:_LONGEST_LINE]
    return bool(_NUMBERED.fullmatch(first)) or _is_literal(first)


def write_world_vocabulary(vocabulary: Mapping[int, bytes]) -> str:
    """The first layout, which every RWKV runtime reads."""
    return "".join(f"{i} {_written(token)!r} {len(token)}\n" for i, token in sorted(vocabulary.items()))


def _written(token: bytes) -> str | bytes:
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return token


def _pairs(text: str) -> Iterator[_Pair]:
    if text.lstrip().startswith("{"):
        fields = json.loads(text)
        if _by_token(fields):
            yield from _inverted(fields)
        elif _by_id(fields):
            yield from ((f"token {i}", int(i), _token(value)) for i, value in fields.items())
        else:
            raise ValueError("JSON, but no vocabulary: neither ids to tokens nor tokens to ids")
        return
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    read = _unnumbered if _is_literal(next(filter(None, lines), "")) else _numbered
    for number, line in enumerate(lines):
        if line:
            try:
                yield (f"line {number + 1}", *read(number, line))
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
                raise ValueError(f"line {number + 1}: {brief(error)}") from None


def _is_literal(line: str) -> bool:
    return bool(_LITERAL.fullmatch(line.strip()))


def _numbered(_: int, line: str) -> tuple[int, bytes]:
    if len(line) > _LONGEST_LINE or line.count(" ") < 2:
        raise ValueError("not of the form `<id> <literal> <length>`")
    head, rest = line.split(" ", 1)
    literal, length = rest.rsplit(" ", 1)
    token = _literal(literal)
    if len(token) != int(length):
        raise ValueError(f"the literal is not text or bytes of length {length[:20]}")
    return int(head), token


def _unnumbered(number: int, line: str) -> tuple[int, bytes]:
    return number, _literal(line.strip())


def _literal(literal: str) -> bytes:
    plain = literal[1:] if literal[:1] == "b" and literal.isascii() else literal
    quote, inner = plain[:1], plain[1:-1]
    # Most lines: a plain literal stands for what is between its quotes, and parsing it would take ten times as long.
    if quote in ("'", '"') and plain[-1] == quote and len(plain) > 2 and quote not in inner and "\\" not in inner:
        return inner.encode("utf-8")
    if len(literal) > _LONGEST_LINE or not _LITERAL.fullmatch(literal):
        raise ValueError("not a literal of text or bytes")
    return _token(ast.literal_eval(literal))


def _token(value: Any) -> bytes:
    """What JSON or a literal says of a token."""
    if isinstance(value, list) and all(type(byte) is int for byte in value):
        value = bytes(value)
    token = value.encode("utf-8") if isinstance(value, str) else value
    if not isinstance(token, bytes) or not 0 < len(token) <= _LONGEST_LINE:
        raise ValueError("a token is neither text nor bytes, or empty")
    return token


def _by_id(fields: object) -> bool:
    return isinstance(fields, dict) and bool(fields) and all(i.isascii() and i.isdigit() for i in fields)


def _by_token(fields: object) -> bool:
    """Its keys are the tokens, and among them are a byte as a literal has it, or as text."""
    if not isinstance(fields, dict) or not all(type(i) is int for i in fields.values()):
        return False
    return "\\x00" in fields or ("\0" in fields and "\x01" in fields)


def _inverted(fields: Mapping[str, int]) -> Iterator[_Pair]:
    if "\\x00" not in fields:
        raise ValueError(f"tokens that are not UTF-8 were lost when it was made; use {ORIGINAL}")
    for text, token_id in fields.items():
        if len(text) > _LONGEST_LINE:
            raise ValueError(f"token {token_id} is too long")
        yield f"token {token_id}", token_id, _literal(text) if text[:2] in ("b'", 'b"') else _unescaped(text)


def _unescaped(text: str) -> bytes:
    def meant(found: re.Match[str]) -> str:
        escape = found[1]
        return chr(int(escape[1:], 16)) if escape[0] in "xuU" else _MEANING.get(escape, escape)

    return _ESCAPED.sub(meant, text).encode("utf-8")
