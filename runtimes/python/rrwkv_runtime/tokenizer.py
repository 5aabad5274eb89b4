"""Text to token ids and back. Two kinds of tokenizer: Hugging Face `tokenizer.json` and the RWKV World vocabulary.

`load_tokenizer` gives the bundle's. `Tokenizer.stream()` turns ids into text one by one and never splits a character.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rrwkv_runtime.common.reading import read_utf8
from rrwkv_runtime.errors import InputError, TokenizerError
from rrwkv_runtime.manifest import resolve_inside
from rrwkv_runtime.text.plain_text import Joined, JsonComposer, Part, no_panic, panics_unsaid
from rrwkv_runtime.text.text_stream import ByteStream, TextStream, WindowStream, byte_of_character
from rrwkv_runtime.text.tokenizer_limits import check_tokenizer_json
from rrwkv_runtime.text.world_vocabulary import load_world_vocabulary

if TYPE_CHECKING:
    from rrwkv_runtime.manifest import Manifest

_LARGEST_FILE = 64 << 20  # bytes


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
    def unknown(self) -> int | None:
        """The id that stands for what has no token of its own; None if there is none such."""

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text. special: special tokens written out in it become their ids, else they are text like any other.

        Raises InputError for text that is not Unicode (lone surrogates), TokenizerError where it has no tokens.
        """

    def compose(self, parts: Sequence[Part], control: Collection[int] = ()) -> list[int]:
        """Ids of parts joined. Special tokens, and the ids of `control`, come out of trusted parts only."""

    def decode(self, ids: Iterable[int]) -> str:
        """Broken UTF-8 becomes U+FFFD; unknown ids and special tokens become nothing."""

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 of one token's text, which may be part of a character; nothing of special and unknown ones."""

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
        with panics_unsaid(), no_panic(f"{path}: not a usable tokenizer.json"):
            return cls(tokenizers.Tokenizer.from_str(text))

    @property
    def unknown(self) -> int | None:
        return next(iter(self._composer.unknown), None)

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
        return ByteStream(self.token_bytes) if self._byte_level else WindowStream(self.decode, after)

    def token_bytes(self, token_id: int) -> bytes:
        if not self._byte_level:
            return self.decode([token_id]).encode("utf-8")
        if not 0 <= token_id < self.vocab_size or token_id in self.special:
            return b""
        # As the package's ByteLevel decoder: a token of other characters than the 256 stands for itself.
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
        self.added: frozenset[int] = frozenset()
        self.unknown: int | None = None
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
        return cls(load_world_vocabulary(path))

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
        return ByteStream(self.token_bytes)

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes.get(token_id, b"")


TOKENIZERS: dict[str, Callable[[Path], Tokenizer]] = {
    "tokenizer.json": JsonTokenizer.from_file,
    "rwkv-world": WorldTokenizer.from_file,
}


def _read(path: Path) -> str:
    try:
        return read_utf8(path, _LARGEST_FILE)
    except InputError as error:
        raise TokenizerError(str(error)) from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the text has a lone surrogate at character {error.start}; it is not valid Unicode") from None
