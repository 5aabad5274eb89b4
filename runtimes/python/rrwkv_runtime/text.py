"""Text to token ids and back. Two kinds of tokenizer: Hugging Face `tokenizer.json` and the RWKV World vocabulary.

`load_tokenizer` gives the bundle's. `Tokenizer.stream()` turns ids into text one by one and never splits a character.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rrwkv_runtime.errors import InputError, TokenizerError
from rrwkv_runtime.manifest import resolve_inside
from rrwkv_runtime.reading import read_utf8
from rrwkv_runtime.world_vocabulary import load_world_vocabulary

if TYPE_CHECKING:
    from rrwkv_runtime.manifest import Manifest

_LARGEST_FILE = 64 << 20  # bytes


class TextStream(Protocol):
    """Ids in, text out: whole characters only, each as soon as its last byte is there."""

    @property
    def pending(self) -> bool:
        """Whether the start of a character is held back."""

    def push(self, token_id: int) -> str:
        """The characters that this token completes, possibly none. An unknown id adds nothing."""

    def flush(self) -> str:
        """What is held back, as replacement characters; the stream is then as new."""


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

    def encode(self, text: str) -> list[int]:
        """Raises InputError for text that is not Unicode (lone surrogates), TokenizerError where it has no tokens."""

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
    """A `tokenizer.json`, by the `tokenizers` package. Special tokens written out in the text become their ids."""

    def __init__(self, tokenizer: Any) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.added = frozenset(added)
        self.special = {i: token.content for i, token in added.items() if token.special}
        self.unknown = _unknown(tokenizer)
        self._byte_level = type(tokenizer.decoder).__name__ == "ByteLevel"
        self.vocab_size = max(tokenizer.get_vocab().values(), default=-1) + 1

    @classmethod
    def from_file(cls, path: Path) -> JsonTokenizer:
        """Raises TokenizerError."""
        import tokenizers

        text = _read(path)
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # the package raises bare Exception
            raise TokenizerError(f"{path}: not a usable tokenizer.json ({_one_line(error)})") from None

    def encode(self, text: str) -> list[int]:
        _utf8(text)
        try:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        except Exception as error:  # the package raises bare Exception
            raise TokenizerError(f"the tokenizer cannot encode this text ({_one_line(error)})") from None
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        text: str = self._tokenizer.decode([i for i in ids if 0 <= i < self.vocab_size], skip_special_tokens=True)
        return text

    def stream(self, after: Sequence[int] = ()) -> TextStream:
        return ByteStream(self._token_bytes) if self._byte_level else WindowStream(self.decode, after)

    def _token_bytes(self, token_id: int) -> bytes:
        """As the package's ByteLevel decoder: a token of other characters than the 256 stands for itself."""
        if not 0 <= token_id < self.vocab_size or token_id in self.special:
            return b""
        token: str = self._tokenizer.id_to_token(token_id) or ""
        table = _byte_of_character()
        try:
            return bytes([table[character] for character in token])
        except KeyError:
            return token.encode("utf-8")


def _unknown(tokenizer: Any) -> int | None:
    token = getattr(tokenizer.model, "unk_token", None)
    found: int | None = tokenizer.token_to_id(token) if token else getattr(tokenizer.model, "unk_id", None)
    return found


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

    def encode(self, text: str) -> list[int]:
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

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(self._bytes.get(i, b"") for i in ids).decode("utf-8", "replace")

    def stream(self, after: Sequence[int] = ()) -> TextStream:
        return ByteStream(lambda token_id: self._bytes.get(token_id, b""))


TOKENIZERS: dict[str, Callable[[Path], Tokenizer]] = {
    "tokenizer.json": JsonTokenizer.from_file,
    "rwkv-world": WorldTokenizer.from_file,
}


class ByteStream:
    """A TextStream for tokens that are bytes."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def pending(self) -> bool:
        return bool(self._decoder.getstate()[0])

    def push(self, token_id: int) -> str:
        return self._decoder.decode(self._token_bytes(token_id))

    def flush(self) -> str:
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


class WindowStream:
    """A TextStream for any decoder: the last token that ended on a whole character, then those since, decoded together.

    The difference to the decoded first part is new text, as in text-generation-inference's `decode_token`. At the start
    the first part is the end of `after`, so that the first new token is not taken for the beginning of a text.
    """

    _LONGEST = 16  # tokens: more than any character takes, so what still looks broken then is broken

    def __init__(self, decode: Callable[[Sequence[int]], str], after: Sequence[int] = ()) -> None:
        self._decode = decode
        before = list(after[-self._LONGEST :])
        self._shown = [] if decode(before).endswith("\ufffd") else before
        self._new: list[int] = []

    @property
    def pending(self) -> bool:
        return bool(self._new)

    def push(self, token_id: int) -> str:
        self._new.append(token_id)
        text = self._text()
        return "" if text.endswith("\ufffd") and len(self._new) < self._LONGEST else self._show(text)

    def flush(self) -> str:
        text = self._show(self._text())
        self._shown = []
        return text

    def _text(self) -> str:
        return self._decode(self._shown + self._new)[len(self._decode(self._shown)) :]

    def _show(self, text: str) -> str:
        if text:  # without text, as special tokens are, what came before stays the context of what comes next
            self._shown = self._new
        self._new = []
        return text


@cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's 256 visible characters for bytes: `bytes_to_unicode` of https://github.com/openai/gpt-2, inverted."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(others)}


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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
