"""A file as the token ids of its passages. What it holds is told by its name's end, in letters of either size:

    .jsonl, .ndjson          a dialogue or a text a line, in the forms of `records`
    .json                    one of them, a list of them, or the same lines
    .ids                     token ids, separated by white space or commas, one passage a line
    .txt .text .md .raw, or no such end   plain text, one passage
    .xz after any of these   the same, compressed

Files are UTF-8; lines end with \\n or \\r\\n and with nothing else. The bundle's beginning-of-text token, where it has
one, stands before each dialogue and each text. Dialogues are written in the bundle's chat format, system text as a
paragraph before it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rrwkv_export.errors import TextError
from rrwkv_export.texts.records import Record, is_dialogue, read_record
from rrwkv_runtime.common.printable import writable
from rrwkv_runtime.common.reading import brief, decode_utf8, read_bounded
from rrwkv_runtime.errors import InputError, NoTokens, TokenizerError
from rrwkv_runtime.manifest import ChatFormat, Manifest
from rrwkv_runtime.terminal.prompt import iterate_ids
from rrwkv_runtime.text.dialogue import control_ids, written
from rrwkv_runtime.text.plain_text import Part
from rrwkv_runtime.tokenizer import Tokenizer, load_tokenizer

Ids = np.ndarray[Any, np.dtype[np.int64]]

_COMPRESSED = ".xz"
_LINES, _JSON, _IDS, _PLAIN = (".jsonl", ".ndjson"), ".json", ".ids", ("", ".txt", ".text", ".md", ".raw")
_LARGEST_FILE = 128 << 20  # bytes
_LARGEST_JSON = 64 << 20  # characters of what is parsed at once, which may take twenty times as much memory


@dataclass(frozen=True)
class Text:
    """One file: its name and sha256, and the ids of its passages (dialogues), in order."""

    name: str
    sha256: str
    passages: tuple[Ids, ...]

    @property
    def ids(self) -> Ids:
        """All passages, one after the other: the state is carried across them."""
        return np.concatenate(self.passages)

    def sample(self, count: int, seed: int) -> Text:
        """`count` passages drawn without replacement, in the order of the file; all of them if there are no more."""
        if count >= len(self.passages):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self.passages))[:count])
        return Text(self.name, self.sha256, tuple(self.passages[i] for i in chosen))


@dataclass(frozen=True)
class Encoding:
    """How a model reads text. owner: what messages call it. tokenizer: None for a model that takes token ids only."""

    owner: str
    tokenizer: Tokenizer | None
    chat: ChatFormat
    vocab_size: int


def read_text(path: Path, bundle: Path) -> Text:
    """A file as ids of the model in `bundle`. Raises TextError, TokenizerError, BundleError."""
    kind, manifest = check_text(path), Manifest.load(bundle)
    tokenizer = None if kind == _IDS else load_tokenizer(bundle, manifest)
    return encode_text(path, Encoding(str(bundle), tokenizer, manifest.chat, manifest.vocab_size))


def encode_text(path: Path, encoding: Encoding) -> Text:
    """A file as ids of a model. Raises TextError, TokenizerError."""
    kind, data, content = _content(path)
    made = _listed_ids(path, content) if kind == _IDS else _encoded(path, kind, content, encoding)
    passages = tuple(ids for ids in made if len(ids))
    tokens = sum(len(ids) for ids in passages)
    if tokens < 2:
        what = "is empty" if not content.strip() else f"has {'only 1 token' if tokens else 'no tokens'}"
        raise TextError(f"{path}: the text {what}; at least 2 tokens are needed")
    _check_ids(path, passages, encoding.vocab_size)
    return Text(writable(path.name), hashlib.sha256(data).hexdigest(), passages)


def written_passages(path: Path, form: ChatFormat) -> Iterator[str]:
    """What a file says, passage by passage, dialogues as this format writes them. Raises TextError, of .ids too."""
    kind, _, content = _content(path)
    if kind == _IDS:
        raise TextError(f"{path}: token ids are of a tokenizer that exists already; give it with --tokenizer")
    for parts in _passages(path, kind, content, form):
        yield "".join(part.text for part in parts)


def check_text(path: Path) -> str:
    """What a file holds, by its name, without reading it. Raises TextError for one that is not there or not read."""
    if (kind := _kind(path)) not in (*_LINES, _JSON, _IDS, *_PLAIN):
        raise TextError(
            f"{path}: {kind} is no text that is read; give .jsonl or .json (dialogues or texts), .ids (token ids), or "
            "plain text as .txt"
        )
    if path.is_dir():
        raise TextError(f"{path}: a folder; give the files in it")
    if not os.path.lexists(path):
        raise TextError(f"{path}: no such file; give a text's path")
    return kind


def _kind(path: Path) -> str:
    name = path.name.lower()
    return Path(name.removesuffix(_COMPRESSED)).suffix


def _content(path: Path) -> tuple[str, bytes, str]:
    """A file's kind, its bytes, and its text. Raises TextError."""
    kind = check_text(path)
    try:
        data = read_bounded(path, _LARGEST_FILE)
        plain = _decompressed(path, data) if path.name.lower().endswith(_COMPRESSED) else data
        return kind, data, decode_utf8(plain, str(path))
    except InputError as error:
        raise TextError(str(error)) from None


def _decompressed(path: Path, data: bytes) -> bytes:
    try:
        import lzma
    except ImportError:
        raise TextError(f"{path}: this Python was built without lzma, which reads it; give it decompressed") from None
    reader = lzma.LZMADecompressor(memlimit=_LARGEST_FILE)
    try:
        plain = reader.decompress(data, _LARGEST_FILE + 1)
    except lzma.LZMAError as error:
        raise TextError(f"{path}: no whole .xz file ({brief(error)}); compress it again") from None
    if len(plain) > _LARGEST_FILE:
        raise TextError(f"{path}: holds more than {_LARGEST_FILE >> 20} MiB of text; give it in several files")
    if not reader.eof:
        raise TextError(f"{path}: cut short; compress it again")
    return plain


def _encoded(path: Path, kind: str, content: str, encoding: Encoding) -> Iterator[Ids]:
    """Each passage's ids, after the beginning of a text."""
    tokenizer, form = encoding.tokenizer, encoding.chat
    if tokenizer is None:
        raise TextError(f"{path}: {encoding.owner} has no tokenizer, so it takes token ids only; give a .ids file")
    bos = [] if form.bos_token_id is None else [form.bos_token_id]
    control = control_ids(tokenizer, form)
    for parts in _passages(path, kind, content, form):
        try:
            ids = tokenizer.compose(parts, control)
        except NoTokens:
            remedy = "give text that it knows, or token ids (.ids)"
            raise TextError(f"{path}: {NoTokens(remedy)}") from None
        except (InputError, TokenizerError) as error:
            raise TextError(f"{path}: {error}") from None
        yield np.array(bos + ids, np.int64)


def _passages(path: Path, kind: str, content: str, form: ChatFormat) -> Iterator[list[Part]]:
    """What is written in each passage; those without any text are left out.

    In a corpus special tokens are tokens: it is its owner's, who may well have written <|endoftext|> between its texts.
    In what is said in a dialogue they are text like any other.
    """
    if kind in _PLAIN:
        records: Iterable[Record] = [content]
    else:
        records = _lines(path, content) if kind in _LINES else _json(path, content)
    for record in records:
        if isinstance(record, str):
            if record.strip():
                yield [Part(record, trusted=True)]
        elif any(turn.text.strip() for turn in record):
            yield written(form, ((turn.role, turn.text) for turn in record))


def _lines(path: Path, content: str) -> Iterator[Record]:
    # Not splitlines: JSON may hold U+2028, U+0085 and the like as they are, and then they end no line.
    for number, line in enumerate(content.split("\n"), 1):
        if line := line.strip().removeprefix("\ufeff"):
            yield _record(path, f"line {number}", _parsed(path, f"line {number}", line))


def _json(path: Path, content: str) -> Iterator[Record]:
    if not content.strip():
        return
    try:
        value = _parsed(path, "it", content)
    except TextError as error:
        if isinstance(error.__cause__, json.JSONDecodeError) and error.__cause__.msg == "Extra data":
            yield from _lines(path, content)
            return
        raise
    records = value if isinstance(value, list) and not is_dialogue(value) else [value]
    for number, record in enumerate(records, 1):
        yield _record(path, f"record {number}", record)


def _parsed(path: Path, where: str, content: str) -> Any:
    if len(content) > _LARGEST_JSON:
        raise TextError(f"{path}: {where} is larger than {_LARGEST_JSON >> 20} MiB; write .jsonl, a record a line")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:  # a number of too many digits is a ValueError
        raise TextError(f"{path}: {where} is not JSON ({brief(error)})") from error


def _record(path: Path, where: str, value: object) -> Record:
    try:
        return read_record(value)
    except ValueError as error:
        raise TextError(f"{path}: {where}: {error}") from None


def _listed_ids(path: Path, content: str) -> Iterator[Ids]:
    for number, line in enumerate(content.split("\n"), 1):
        try:
            yield np.fromiter(iterate_ids(line), np.int64)
        except InputError as error:
            raise TextError(
                f"{path}: line {number}: {error}; .ids has whole numbers, separated by white space or commas"
            ) from None


def _check_ids(path: Path, passages: Sequence[Ids], vocab_size: int) -> None:
    for ids in passages:
        wrong = ids[(ids < 0) | (ids >= vocab_size)]
        if len(wrong):
            raise TextError(
                f"{path}: token id {wrong[0]} is outside 0..{vocab_size - 1}; the text belongs to another tokenizer"
            )
