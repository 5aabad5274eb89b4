"""Text to token ids and back. Two kinds of tokenizer: Hugging Face `tokenizer.json` and the RWKV World vocabulary.

`load_tokenizer` gives the bundle's. `Tokenizer.stream()` turns ids into text one by one and never splits a character.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rrwkv_runtime.errors import InputError, TokenizerError
from rrwkv_runtime.manifest import resolve_inside
from rrwkv_runtime.plain_text import Joined, JsonComposer, Part, no_panic, one_line
from rrwkv_runtime.text_stream import ByteStream, TextStream, WindowStream, byte_of_character
from rrwkv_runtime.tokenizer_limits import check_tokenizer_json

if TYPE_CHECKING:
    from rrwkv_runtime.manifest import Manifest

_LARGEST_FILE = 64 * 2**20
_LONGEST_LINE = 4096
_LARGEST_ID = 2**24


class Tokenizer(Protocol):
    """Text to ids and back; `encode` adds no beginning or end token."""

    @property
    def vocab_size(self) -> int:
        """Every id that `encode` gives is below this."""

    @property
    def special(self) -> Mapping[int, str]:
        """What special tokens are written as: those that `decode` gives no text for, and `encode` gives if asked to."""

    @property
    def added(self) -> Collection[int]:
        """Ids of tokens that were added to the vocabulary, special or not, and are found before the text is cut."""

    @property
    def unknown(self) -> Collection[int]:
        """The id that stands for what the vocabulary lacks, if there is one."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text. special: special tokens written out in it become their ids, else they are text like any other.

        Raises InputError for text that is not Unicode (lone surrogates), TokenizerError where it has no tokens.
        """

    def compose(self, parts: Sequence[Part], control: Collection[int] = ()) -> list[int]:
        """Ids of parts joined. Special tokens, and the ids of `control`, come out of trusted parts only."""

    def decode(self, ids: Iterable[int]) -> str:
        """Broken UTF-8 becomes U+FFFD; unknown ids and special tokens become nothing."""

    def stream(self, after: Sequence[int] = ()) -> TextStream:
        """A new stream for text that goes on after these ids, which are whole characters.

        Its pieces joined are what `decode` gives for `after` and the ids pushed, less what it gives for `after` alone.
        """


def load_tokenizer(bundle: Path, manifest: Manifest) -> Tokenizer | None:
    """The bundle's tokenizer; None if it has none. Raises DamagedBundle or TokenizerError."""
    if manifest.tokenizer is None:
        return None
    path = resolve_inside(bundle, manifest.tokenizer.file)
    tokenizer = open_tokenizer(manifest.tokenizer.type, path)
    if tokenizer.vocab_size > manifest.vocab_size:
        raise TokenizerError(f"{path}: has {tokenizer.vocab_size} ids, but the model only {manifest.vocab_size}")
    return tokenizer


def open_tokenizer(kind: str, path: Path) -> Tokenizer:
    """A tokenizer file by its type in the manifest. Raises TokenizerError."""
    if kind not in TOKENIZERS:
        raise TokenizerError(f"unknown tokenizer type {kind!r}; known: {', '.join(TOKENIZERS)}")
    return TOKENIZERS[kind](path)


class JsonTokenizer:
    """A `tokenizer.json`, by the `tokenizers` package."""

    def __init__(self, tokenizer: Any) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.added = frozenset(added)
        self.special = {i: token.content for i, token in added.items() if token.special}
        self._composer = JsonComposer(tokenizer)
        self._byte_level = type(tokenizer.decoder).__name__ == "ByteLevel"
        self.vocab_size = max(tokenizer.get_vocab().values(), default=-1) + 1

    @classmethod
    def from_file(cls, path: Path) -> JsonTokenizer:
        """Raises TokenizerError."""
        import tokenizers

        text = _read(path)
        try:
            check_tokenizer_json(text)
        except TokenizerError as error:
            raise TokenizerError(f"{path}: {error}") from None
        with no_panic(f"{path}: not a usable tokenizer.json"):
            return cls(tokenizers.Tokenizer.from_str(text))

    @property
    def unknown(self) -> frozenset[int]:
        return self._composer.unknown

    def encode(self, text: str, special: bool = False) -> list[int]:
        return self.compose([Part(text, trusted=special)])

    def compose(self, parts: Sequence[Part], control: Collection[int] = ()) -> list[int]:
        for part in parts:
            _utf8(part.text)
        return self._composer.encode(parts, control)

    def decode(self, ids: Iterable[int]) -> str:
        known = [i for i in ids if 0 <= i < self.vocab_size]
        with no_panic("the tokenizer cannot decode these ids"):
            text: str = self._tokenizer.decode(known, skip_special_tokens=True)
        return text

    def stream(self, after: Sequence[int] = ()) -> TextStream:
        return ByteStream(self._token_bytes) if self._byte_level else WindowStream(self.decode, after)

    def _token_bytes(self, token_id: int) -> bytes:
        """As the package's ByteLevel decoder: a token of other characters than the 256 stands for itself."""
        if not 0 <= token_id < self.vocab_size or token_id in self.special:
            return b""
        token: str = self._tokenizer.id_to_token(token_id) or ""
        table = byte_of_character()
        try:
            return bytes([table[character] for character in token])
        except KeyError:
            return token.encode("utf-8")


class WorldTokenizer:
    """The RWKV World tokenizer: at each byte, the longest token that matches.

    Source: `TRIE_TOKENIZER` in `rwkv_tokenizer.py` of https://github.com/BlinkDL/ChatRWKV. Here one dictionary holds
    all tokens, and each pair of bytes knows the lengths that tokens starting with it have, the longest first.
    """

    def __init__(self, vocabulary: dict[int, bytes]) -> None:
        self._bytes = vocabulary
        self.special: dict[int, str] = {}
        self.added = self.unknown = frozenset[int]()
        self._ids = {token: i for i, token in vocabulary.items()}
        self.vocab_size = max(vocabulary, default=-1) + 1
        lengths: dict[bytes, set[int]] = {}
        for token in self._ids:
            if len(token) > 1:
                lengths.setdefault(token[:2], set()).add(len(token))
        self._lengths = {pair: sorted(found, reverse=True) for pair, found in lengths.items()}

    @classmethod
    def from_file(cls, path: Path) -> WorldTokenizer:
        """Raises TokenizerError."""
        vocabulary = load_world_vocabulary(path)
        if missing := {bytes([byte]) for byte in range(256)} - set(vocabulary.values()):
            raise TokenizerError(f"{path}: no token for the byte {min(missing)!r}; every byte needs one")
        return cls(vocabulary)

    def encode(self, text: str, special: bool = False) -> list[int]:
        data, ids, at = _utf8(text), [], 0
        known, lengths = self._ids, self._lengths
        while at < len(data):
            for length in lengths.get(data[at : at + 2], ()):
                if (token := known.get(data[at : at + length])) is not None and at + length <= len(data):
                    break
            else:
                length, token = 1, known[data[at : at + 1]]
            ids.append(token)
            at += length
        return ids

    def compose(self, parts: Sequence[Part], control: Collection[int] = ()) -> list[int]:
        text = "".join(part.text for part in parts)
        ids = self.encode(text)
        if not set(control).intersection(ids):
            return ids
        return self._without(control, parts)

    def _without(self, control: Collection[int], parts: Sequence[Part]) -> list[int]:
        """The ids, with shorter tokens in place of those of `control` that are not of trusted parts alone."""
        joined = Joined(Part(_utf8(part.text).decode("latin-1"), part.trusted) for part in parts)  # a byte a character
        data, ids, at = joined.text.encode("latin-1"), list[int](), 0
        while at < len(data):
            for length in (*self._lengths.get(data[at : at + 2], ()), 1):
                token = self._ids.get(data[at : at + length])
                if token is not None and (token not in control or joined.trusts(at, at + length)):
                    ids.append(token)
                    break
            at += length
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(self._bytes.get(i, b"") for i in ids).decode("utf-8", "replace")

    def stream(self, after: Sequence[int] = ()) -> TextStream:
        return ByteStream(lambda token_id: self._bytes.get(token_id, b""))


TOKENIZERS: dict[str, Callable[[Path], Tokenizer]] = {
    "tokenizer.json": JsonTokenizer.from_file,
    "rwkv-world": WorldTokenizer.from_file,
}


def load_world_vocabulary(path: Path) -> dict[int, bytes]:
    """id -> bytes, from lines `<id> <Python literal> <length in bytes>`. Raises TokenizerError naming the line."""
    vocabulary: dict[int, bytes] = {}
    seen: set[bytes] = set()
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line:
            continue
        try:
            token_id, token = _world_line(line)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise TokenizerError(f"{path}: line {number}: {one_line(error)}") from None
        if token_id in vocabulary or token in seen:
            raise TokenizerError(f"{path}: line {number}: the id or the token appears a second time")
        vocabulary[token_id] = token
        seen.add(token)
    return vocabulary


def _world_line(line: str) -> tuple[int, bytes]:
    if len(line) > _LONGEST_LINE or line.count(" ") < 2:
        raise ValueError("not of the form `<id> <literal> <length>`")
    head, rest = line.split(" ", 1)
    literal, length = rest.rsplit(" ", 1)
    quote, inner = literal[:1], literal[1:-1]
    # Most lines: a plain literal stands for what is between its quotes, and parsing it would take ten times as long.
    if quote in ("'", '"') and literal[-1] == quote and len(literal) > 2 and quote not in inner and "\\" not in inner:
        value: Any = inner
    else:
        value = ast.literal_eval(literal)
    token = value.encode("utf-8") if isinstance(value, str) else value
    if not isinstance(token, bytes) or not token or len(token) != int(length):
        raise ValueError(f"the literal is not text or bytes of length {length[:20]}")
    if not 0 <= int(head) < _LARGEST_ID:
        raise ValueError(f"the id {head[:20]} is out of range")
    return int(head), token


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise TokenizerError(f"{path}: larger than {_LARGEST_FILE >> 20} MiB, so not a tokenizer")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise TokenizerError(f"{path}: not UTF-8 text") from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the text has a lone surrogate at character {error.start}; it is not valid Unicode") from None
